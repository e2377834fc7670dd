/** What can be taken away: CSV and JSON with the very rows of the command line, called at the operating point now chosen. */

import { decimals, unsureBand } from "../state/labels.js";

export const COLUMNS = ["path", "status", "probability", "label", "threshold", "warnings", "error_code", "error", "model"];
const EXTRA = ["sha256", "logit", "distance", "width", "height", "format"];
// The command line quotes what a spreadsheet may take for a formula; here an apostrophe keeps it from doing so.
const FORMULA = /^\s*[=+\-@\t\r]/;

/** Return a film's row, nine columns in their order, as JSON types; null for one that was not read. */
export function rowOf(film, store) {
  const { threshold } = store.point;
  const { model } = store.model;
  if (film.state === "read") {
    const { row, call } = film;
    return { path: film.path, status: "ok", probability: row.probability, label: call.label, threshold, warnings: call.warnings, error_code: "", error: "", model: row.model };
  }
  if (film.state !== "refused") return null;
  const { code, message, remedy } = film.problem;
  const error = `${message} ${remedy}`.trim().replaceAll("<bytes>", film.path);
  return { path: film.path, status: "refused", probability: null, label: "", threshold, warnings: [], error_code: code, error, model };
}

/** Return all films that have an answer as CSV. */
export function csvOf(store) {
  const rows = store.ordered().map((film) => rowOf(film, store)).filter(Boolean);
  return [COLUMNS.join(","), ...rows.map(lineOf)].map((line) => `${line}\n`).join("");
}

function lineOf(row) {
  const values = {
    ...row,
    probability: row.probability === null ? "" : decimals(row.probability, 6),
    threshold: decimals(row.threshold, 2),
    warnings: row.warnings.join(";"),
  };
  return COLUMNS.map((name) => field(values[name])).join(",");
}

function field(text) {
  const safe = FORMULA.test(text) ? `'${text}` : text;
  const quoted = safe !== text || /^ |[",\r\n]/.test(safe);
  return quoted ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Return the same as JSON, with the facts of each film and of the operating point. */
export function jsonOf(store, now = new Date()) {
  const { threshold, id } = store.point;
  const band = unsureBand(store.model, threshold);
  const rows = store.ordered().map((film) => {
    const row = rowOf(film, store);
    return row && { ...row, ...Object.fromEntries(EXTRA.map((name) => [name, film.row?.[name] ?? null])), same_film: film.copies };
  });
  const all = {
    notice: "Research use only, not a medical device.",
    model: store.model.model,
    version: store.model.version,
    exported: now.toISOString(),
    operating_point: { chosen: id, threshold, unsure_band: band && { low: band[0], high: band[1] } },
    rows: rows.filter(Boolean),
  };
  return `${JSON.stringify(all, null, 2)}\n`;
}

/** Have the browser save text, or a Blob, as a file. */
export function save(content, name, type) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
