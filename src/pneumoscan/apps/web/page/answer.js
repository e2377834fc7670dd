/** What is said about the film that is shown: the word, the number on its scale, warnings, facts. */

import { el, setText, sign, svg } from "./dom.js";
import { placeOf, unsureBand } from "./labels.js";
import { films, full, HEATMAP_MEANS, HEATMAP_MEANS_NOT, LABELS, reasonOf, short, warningInWords, whole } from "./words.js";

/** Draw the answer to the selected film into `node`; `acts` holds what its buttons do. */
export function renderAnswer(node, room, acts) {
  const film = room.selected;
  const key = film && [film.id, film.state, film.call?.label, room.point.threshold, film.copies.length].join();
  if (node.dataset.key === String(key)) return;
  node.dataset.key = String(key);
  const focused = document.activeElement?.id;
  node.replaceChildren(...contentOf(film, room, acts));
  if (focused && node.querySelector(`[id="${focused}"]`)) document.getElementById(focused).focus();
}

function contentOf(film, room, acts) {
  const title = el("h2", { id: "answer-title", class: "unseen" }, "Answer");
  if (!film) return [title, el("p", { class: "soft" }, "Choose a film in the worklist.")];
  if (film.state === "refused") return [title, ...refusedContent(film, acts)];
  if (film.state !== "read") return [title, el("p", { class: "soft" }, "This film has not been read yet.")];
  return [title, ...readContent(film, room, acts)];
}

function refusedContent(film, acts) {
  const { code, message, remedy } = film.problem;
  return [
    verdict("REFUSED"),
    el("p", {}, message.replaceAll("<bytes>", "The file")),
    remedy && el("p", {}, remedy),
    el("p", { class: "soft" }, `Code ${code}`),
    copies(film),
    el("p", { class: "acts" }, el("button", { type: "button", id: "again", onclick: () => acts.again(film) }, "Read again")),
  ].filter(Boolean);
}

function readContent(film, room, acts) {
  const { row, call } = film;
  const threshold = room.point.threshold;
  return [
    verdict(call.label),
    numberLine(row, acts),
    scaleOf(row.probability, threshold, unsureBand(room.model, threshold), call.label),
    el("p", { class: "reason" }, reasonOf(call, row.probability, threshold)),
    call.warnings.length > 0 &&
      el("ul", { class: "warnings", "aria-label": "Warnings" }, call.warnings.map((word) => el("li", { "data-word": word }, warningInWords(word)))),
    film.disagrees &&
      el("p", { class: "wrong" }, "This page and the program call the film differently at the program's threshold. Reload the page."),
    copies(film),
    more(film, room),
  ].filter(Boolean);
}

function verdict(label) {
  return el("p", { class: "verdict", "data-label": label }, sign(label), el("strong", {}, LABELS[label]));
}

function numberLine(row, acts) {
  const value = full(row.probability);
  const told = el("span", { class: "copied", role: "status" });
  const copy = async () => setText(told, (await acts.copy(value)) ? "copied" : "not allowed here");
  return el(
    "p",
    { class: "chance" },
    el("span", { class: "chance-name" }, "Probability"),
    el("output", { class: "chance-value", id: "probability", title: value }, short(row.probability)),
    el("button", { type: "button", class: "link", id: "copy", title: `Copy ${value}`, onclick: copy }, "Copy in full"),
    told,
  );
}

const TICKS = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999];

/**
 * Draw the probability, the operating point and the band around it. The scale is even in log-odds: the band is as wide
 * everywhere, and 0.99 stands apart from 0.999.
 */
export function scaleOf(probability, threshold, band, label) {
  const [left, width] = [18, 284];
  const at = (share) => left + placeOf(share) * width;
  const cut = at(threshold);
  const words = `Scale from 0 to 1, even in log-odds: probability ${short(probability)}, operating point ${short(threshold)}${
    band ? `, unsure from ${short(band[0])} to ${short(band[1])}` : ""
  }.`;
  const anchor = cut < 80 ? "start" : cut > 240 ? "end" : "middle";
  return svg(
    "svg",
    { class: "scale", viewBox: "0 0 320 66", role: "img", "aria-label": words },
    svg("rect", { class: "scale-low", x: left, y: 27, width: cut - left, height: 10 }),
    svg("rect", { class: "scale-high", x: cut, y: 27, width: left + width - cut, height: 10 }),
    band && svg("rect", { class: "scale-band", x: at(band[0]), y: 27, width: Math.max(1, at(band[1]) - at(band[0])), height: 10 }),
    band && hatches(at(band[0]), at(band[1]), 27, 10),
    svg("line", { class: "scale-cut", x1: cut, x2: cut, y1: 19, y2: 41 }),
    svg("text", { class: "scale-word", x: anchor === "start" ? left : anchor === "end" ? left + width : cut, y: 13, "text-anchor": anchor }, `operating point ${short(threshold)}`),
    TICKS.map((tick) => svg("line", { class: "scale-step", x1: at(tick), x2: at(tick), y1: 37, y2: 41 })),
    TICKS.map((tick) => svg("text", { class: "scale-tick", x: at(tick), y: 63, "text-anchor": "middle" }, String(tick))),
    svg("path", { class: "scale-film", "data-label": label, d: `M${at(probability)} 35l6.5 13h-13z` }),
  );
}

function hatches(from, to, y, height) {
  let path = "";
  for (let x = Math.ceil(from / 5) * 5; x < to; x += 5) {
    const end = Math.min(x + 5, to);
    path += `M${x} ${y + height}L${end} ${y + height - ((end - x) / 5) * height}`;
  }
  return svg("path", { class: "scale-hatch", d: path });
}

function copies(film) {
  if (!film.copies.length) return null;
  const names = film.copies.join(", ");
  return el("p", { class: "soft" }, `The same film came again and is shown once: ${names}.`);
}

function more(film, room) {
  const { row } = film;
  const facts = [
    ["File", film.path],
    ["Film", `${row.format}, ${row.width} × ${row.height} pixels`],
    ["Probability", full(row.probability)],
    ["Log-odds before the temperature", row.logit === null ? "not told" : row.logit.toFixed(4)],
    ["Distance from the training films", row.distance === null ? "not measured" : distanceText(row.distance, room.model.guard)],
    ["Resembles the films of", siteInWords(row.site, room.model.sites)],
    ["SHA-256", row.sha256],
    ["Model", row.model],
  ];
  return el(
    "details",
    { class: "more" },
    el("summary", {}, "What this rests on"),
    room.model.has_heatmap && el("p", {}, el("strong", {}, "Heatmap. "), `${HEATMAP_MEANS} ${HEATMAP_MEANS_NOT}`),
    el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    el("p", { class: "soft" }, `The model learnt from ${films(room.model.training.n_films ?? 0)}${room.model.training.n_patients ? ` of ${whole(room.model.training.n_patients)} patients` : ""}. ${room.model.shown_to_work ?? ""}`),
  );
}

/** Say in words whose films a film resembles. */
function siteInWords(site, sites) {
  if (!site) return "not told";
  return site === "none" ? "none that the model is shown to work for" : `${sites?.[site] ?? site}`;
}

function distanceText(distance, guard) {
  const limits = guard ? ` (unusual from ${guard.unusual.toFixed(3)}, not a chest film from ${guard.not_a_chest_film.toFixed(3)})` : "";
  return `${distance.toFixed(4)}${limits}`;
}
