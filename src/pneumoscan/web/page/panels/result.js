/** The result for the film that is shown: its label, the probability on a scale, for whom the model works, warnings, details. */

import { el, setText, sign } from "../dom.js";
import { hasNumber, unsureBand, warningsOf } from "../state/labels.js";
import { capital, films, full, heatmapCaution, HEATMAP_MEANS, HEATMAP_MEANS_NOT, LABELS, reasonOf, REGIONS_MEAN, regionsInWords, short, warningInWords, whole } from "../state/text.js";
import { regionsOf } from "../viewport/outlines.js";
import { scaleOf } from "./scale.js";

/** Draw the result of the selected film into `node`; `acts` holds what its buttons do. */
export function renderResult(node, store, acts) {
  const film = store.selected;
  const key = film && [film.id, film.state, film.call?.label, store.point.threshold, film.copies.length].join();
  if (node.dataset.key === String(key)) return;
  node.dataset.key = String(key);
  const focused = document.activeElement?.id;
  node.replaceChildren(...contentOf(film, store, acts));
  if (focused && node.querySelector(`[id="${focused}"]`)) document.getElementById(focused).focus();
}

function contentOf(film, store, acts) {
  const title = el("h2", { id: "result-title", class: "unseen" }, "Result");
  if (!film) return [title, el("p", { class: "soft" }, "Choose a film in the worklist.")];
  if (film.state === "refused") return [title, ...refusedContent(film, acts)];
  if (film.state !== "read") return [title, el("p", { class: "soft" }, "This film has not been read yet.")];
  return [title, ...readContent(film, store, acts)];
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

function readContent(film, store, acts) {
  const { row, call } = film;
  const threshold = store.point.threshold;
  return [
    verdict(call.label),
    hasNumber(film) && numberLine(row, acts),
    hasNumber(film) && scaleOf(row.probability, threshold, unsureBand(store.model, threshold), call.label),
    el("p", { class: "reason" }, reasonOf(call, row.probability, threshold)),
    regionsOf(film).length > 0 && el("p", { id: "evidence" }, `${capital(regionsInWords(film.regions))}.`, el("span", { class: "soft" }, ` ${store.model.regions_measured.at(-1)}`)),
    hasNumber(film) && el("p", { class: "soft", id: "for-this-film" }, store.model.shown_to_work),
    warningsOf(film).length > 0 &&
      el("ul", { class: "warnings", "aria-label": "Warnings" }, warningsOf(film).map((word) => el("li", { "data-word": word }, warningInWords(word)))),
    film.disagrees &&
      el("p", { class: "wrong" }, "This page and the program call the film differently at the program's threshold. Reload the page."),
    copies(film),
    more(film, store),
  ].filter(Boolean);
}

function verdict(label) {
  return el("p", { class: "verdict", "data-label": label }, sign(label), el("strong", {}, LABELS[label]));
}

function numberLine(row, acts) {
  const value = full(row.probability);
  const notice = el("span", { class: "copied", role: "status" });
  const copy = async () => setText(notice, (await acts.copy(value)) ? "copied" : "not allowed here");
  return el(
    "p",
    { class: "chance" },
    el("span", { class: "chance-name" }, "Probability"),
    el("output", { class: "chance-value", id: "probability", title: value }, short(row.probability)),
    el("button", { type: "button", class: "link", id: "copy", title: `Copy ${value}`, onclick: copy }, "Copy in full"),
    notice,
  );
}

function copies(film) {
  if (!film.copies.length) return null;
  const names = film.copies.join(", ");
  return el("p", { class: "soft" }, `Copies of this film, shown once: ${names}.`);
}

function more(film, store) {
  const { row } = film;
  const facts = [
    ["File", film.path],
    ...(film.header ? [["Patient", patientOf(film.header)], ["Study date", film.header.date || "not in the header"]] : []),
    ["Film", `${row.format}, ${row.width} × ${row.height} pixels`],
    ...(hasNumber(film) ? [["Probability", full(row.probability)], ["Log-odds before the temperature", row.logit === null ? "not known" : row.logit.toFixed(4)]] : []),
    ["Distance from the training films", row.distance === null ? "not measured" : distanceText(row.distance, store.model.guard)],
    ["SHA-256", row.sha256],
    ["Model", row.model],
  ];
  return el(
    "details",
    { class: "more" },
    el("summary", {}, "Details"),
    store.model.has_heatmap && el("p", {}, el("strong", {}, "Heatmap. "), `${HEATMAP_MEANS} ${HEATMAP_MEANS_NOT} ${heatmapCaution(store.model)}`),
    store.model.has_regions && el("p", {}, el("strong", {}, "Regions. "), `${REGIONS_MEAN} ${store.model.regions_measured.join(" ")}`),
    el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    el("p", { class: "soft" }, `The model was trained on ${films(store.model.training.n_films ?? 0)}${store.model.training.n_patients ? ` of ${whole(store.model.training.n_patients)} patients` : ""}.`),
  );
}

function patientOf({ name, id, born, sex }) {
  return [name, id && `ID ${id}`, born && `born ${born}`, sex].filter(Boolean).join(", ") || "not in the header";
}

function distanceText(distance, guard) {
  const limits = guard ? ` (unusual from ${guard.unusual.toFixed(3)}, not a chest film from ${guard.not_a_chest_film.toFixed(3)})` : "";
  return `${distance.toFixed(4)}${limits}`;
}
