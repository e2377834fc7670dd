/** A printed page per film: the film, the film with its heatmap, the answer, the operating point, model, time and notice. */

import { scaleOf } from "./answer.js";
import { byId, el, sign } from "./dom.js";
import { unsureBand } from "./labels.js";
import { pointInWords } from "./operating.js";
import { pictureOf } from "./picture.js";
import { heatmapOf, paint, plain } from "./viewer.js";
import { full, HEATMAP_MEANS, HEATMAP_MEANS_NOT, LABELS, reasonOf, short, warningInWords } from "./words.js";

const SIDE = 1000;

/** Print a page for each of these films that was read. */
export async function print(films, room, strength) {
  const sheets = [];
  for (const film of films.filter((one) => one.state === "read")) {
    const [picture, heatmap] = [await pictureOf(film), await heatmapOf(film)];
    const made = sheet(film, room, picture && plain(picture), heatmap, strength);
    heatmap?.close();
    for (const canvas of made.querySelectorAll("canvas")) await compress(canvas);
    sheets.push(made);
  }
  lay(sheets);
  window.print();
}

/** Lay out what the viewer shows, at once: for the browser's own print command. */
export function layShown(viewer, room) {
  const film = viewer.film;
  if (byId("paper").childElementCount || film?.state !== "read" || !viewer.picture) return;
  lay([sheet(film, room, plain(viewer.picture), viewer.heatmap, viewer.strength)]);
}

/** Put a compressed picture in a canvas's place: a hundred sheets of canvases would take a gigabyte. */
async function compress(canvas) {
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
  const image = el("img", { src: URL.createObjectURL(blob), alt: "" });
  await image.decode();
  canvas.replaceWith(image);
}

/** Take the sheets away again. */
export function clearPaper() {
  for (const image of byId("paper").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  byId("paper").replaceChildren();
}

function lay(sheets) {
  byId("paper").replaceChildren(...sheets);
}

function sheet(film, room, grey, heatmap, strength) {
  const { row, call } = film;
  const { threshold } = room.point;
  const band = unsureBand(room.model, threshold);
  const facts = [
    ["Operating point", pointInWords(room)],
    ["Unsure band", band ? `${short(band[0])} to ${short(band[1])}` : "none"],
    ["Film", `${row.format}, ${row.width} × ${row.height} pixels`],
    ["SHA-256 of the file", row.sha256],
    ["Model", `${row.model}, pneumoscan ${room.model.version}`],
    ["Printed", new Date().toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" })],
  ];
  return el(
    "article",
    { class: "sheet" },
    el("header", {}, el("p", { class: "sheet-kind" }, "pneumoscan web viewer"), el("p", { class: "sheet-notice" }, "Research use only, not a medical device")),
    el("h1", {}, film.path),
    el("div", { class: "sheet-films" }, picture("The film", grey && paint(grey, null, 1, SIDE)), heatmap && picture("With the heatmap", grey && paint(grey, heatmap, strength, SIDE))),
    el("p", { class: "sheet-verdict" }, sign(call.label), el("strong", {}, LABELS[call.label]), el("span", {}, ` probability of pneumonia ${short(row.probability)} (${full(row.probability)})`)),
    scaleOf(row.probability, threshold, band, call.label),
    el("p", {}, reasonOf(call, row.probability, threshold)),
    call.warnings.length > 0 && el("ul", {}, call.warnings.map((word) => el("li", {}, warningInWords(word)))),
    heatmap && el("p", { class: "sheet-small" }, `${HEATMAP_MEANS} ${HEATMAP_MEANS_NOT}`),
    el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
  );
}

function picture(words, canvas) {
  return el("figure", {}, canvas ?? el("p", {}, "This browser cannot draw the film."), el("figcaption", {}, words));
}
