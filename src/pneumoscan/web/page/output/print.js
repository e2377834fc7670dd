/** A printed page per film: the film, the result, the operating point, model, time and notice. It has no heatmap, because on paper its caution is lost. */

import { patientInWords } from "../state/dicom.js";
import { scaleOf } from "../panels/scale.js";
import { byId, el, sign } from "../dom.js";
import { hasNumber, unsureBand, warningsOf } from "../state/labels.js";
import { pointInWords } from "../panels/operating-point.js";
import { paint, plain } from "../viewport/greyscale.js";
import { drawOutlines, regionsOf } from "../viewport/outlines.js";
import { pictureOf } from "../viewport/pictures.js";
import { capital, full, LABELS, reasonOf, REGIONS_MEAN, regionsInWords, short, warningInWords } from "../state/text.js";

const SIDE = 1000;

/** Print a page for each of these films that was read. */
export async function print(films, store) {
  const sheets = [];
  for (const film of films.filter((one) => one.state === "read")) {
    const picture = await pictureOf(film);
    const made = sheet(film, store, picture && plain(picture));
    for (const canvas of made.querySelectorAll("canvas")) await compress(canvas);
    sheets.push(made);
  }
  layOut(sheets);
  window.print();
}

/** Lay out what the viewport shows, at once: for the browser's own print command. */
export function layOutShown(viewport, store) {
  const film = viewport.film;
  if (byId("sheets").childElementCount || film?.state !== "read" || !viewport.picture) return;
  layOut([sheet(film, store, plain(viewport.picture))]);
}

/** Put a compressed picture in a canvas's place: a hundred sheets of canvases would take a gigabyte. */
async function compress(canvas) {
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
  const image = el("img", { src: URL.createObjectURL(blob), alt: "" });
  await image.decode();
  canvas.replaceWith(image);
}

/** Take the sheets away again. */
export function clearSheets() {
  for (const image of byId("sheets").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  byId("sheets").replaceChildren();
}

function layOut(sheets) {
  byId("sheets").replaceChildren(...sheets);
}

function outlined(canvas, film) {
  drawOutlines(canvas.getContext("2d"), film, [0, 0, canvas.width, canvas.height], { lungs: true, regions: true, line: 2 });
  return canvas;
}

function sheet(film, store, grey) {
  const { row, call } = film;
  const { threshold } = store.point;
  const band = unsureBand(store.model, threshold);
  const facts = [
    ["Operating point", pointInWords(store)],
    ["Unsure band", band ? `${short(band[0])} to ${short(band[1])}` : "none"],
    ["Film", `${row.format}, ${row.width} × ${row.height} pixels`],
    ...(patientInWords(film.header) ? [["Patient, study date", patientInWords(film.header)]] : []),
    ["SHA-256 of the file", row.sha256],
    ["Model", `${row.model}, pneumoscan ${store.model.version}`],
    ["Printed", new Date().toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" })],
  ];
  return el(
    "article",
    { class: "sheet" },
    el("header", {}, el("p", { class: "sheet-kind" }, "pneumoscan web viewer"), el("p", { class: "sheet-notice" }, "Research use only, not a medical device")),
    el("h1", {}, film.path),
    el("div", { class: "sheet-films" }, grey ? outlined(paint(grey, null, 1, SIDE), film) : el("p", {}, "This browser cannot draw the film.")),
    el("p", { class: "sheet-verdict" }, sign(call.label), el("strong", {}, LABELS[call.label]), hasNumber(film) && el("span", {}, ` probability of pneumonia ${short(row.probability)} (${full(row.probability)})`)),
    hasNumber(film) && scaleOf(row.probability, threshold, band, call.label),
    el("p", {}, reasonOf(call, row.probability, threshold)),
    regionsOf(film).length > 0 && el("p", {}, `${capital(regionsInWords(film.regions))}. ${REGIONS_MEAN} ${store.model.regions_measured.join(" ")}`),
    hasNumber(film) && el("p", {}, store.model.shown_to_work),
    warningsOf(film).length > 0 && el("ul", {}, warningsOf(film).map((word) => el("li", {}, warningInWords(word)))),
    el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
  );
}
