/** What readers say of the answers: agree, disagree, cannot say. The last verdict of a reader on a film counts; earlier ones are kept. */

import { decimals } from "./labels.js";

export const COLUMNS = ["time", "reader", "path", "sha256", "model", "probability", "label", "threshold", "verdict", "note", "id"];
export const WORDS = { agree: "agree", disagree: "disagree", cannot_say: "cannot say" };
export const FILTERS = {
  all: ["All films", () => true],
  left: ["Not judged", (verdict) => !verdict],
  disagree: ["Disagree", (verdict) => verdict === "disagree"],
  cannot_say: ["Cannot say", (verdict) => verdict === "cannot_say"],
  agree: ["Agree", (verdict) => verdict === "agree"],
};
// What a spreadsheet takes for a formula, and what was one before it got an apostrophe.
const FORMULA = /^'*\s*[=+\-@]/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** All verdicts of this page: `unsaved` holds the identifiers of those that are in no file yet, `own` of those given here. */
export class Verdicts {
  constructor() {
    this.all = [];
    this.byId = new Map();
    this.last = new Map();
    this.unsaved = new Set();
    this.own = new Set();
    this.reader = "";
  }

  /** Take a verdict in, unless it is there; `saved` tells that it comes from the file that keeps them. */
  add(record, saved = false) {
    if (this.byId.has(record.id)) return false;
    this.all.push(record);
    this.byId.set(record.id, record);
    this.last.set(keyOf(record.reader, record.sha256), record);
    if (!saved) this.unsaved.add(record.id);
    return true;
  }

  /** Note what the reader says of a film that was read, at the operating point now chosen. */
  give(film, verdict, note, threshold) {
    const { row, call, path } = film;
    const probability = call.label === "NOT_A_CHEST_FILM" ? null : row.probability;
    const facts = { path: cut(path), sha256: row.sha256, model: row.model, probability, label: call.label, threshold };
    this.#own({ reader: this.reader, ...facts, verdict, note: cut(note) });
  }

  /** Return the verdict that counts for a film: its record, or undefined. */
  of(film) {
    return film?.row ? this.last.get(keyOf(this.reader, film.row.sha256)) : undefined;
  }

  /** Return the word of the verdict that counts: "agree", "disagree", "cannot_say", or "". */
  wordOf(film) {
    const word = this.of(film)?.verdict ?? "none";
    return word === "none" ? "" : word;
  }

  /** Give verdicts a name. Those that were given on this page without one become that reader's. */
  rename(reader) {
    const before = this.reader;
    this.reader = cut(reader.trim()).slice(0, 100);
    if (before || !this.reader) return;
    for (const record of [...this.last.values()]) {
      if (record.reader || !this.own.has(record.id) || record.verdict === "none") continue;
      this.#own({ ...record, reader: this.reader });
      this.#own({ ...record, verdict: "none", note: "" });
    }
  }

  #own(facts) {
    const record = { ...facts, time: new Date().toISOString(), id: newId() };
    this.own.add(record.id);
    this.add(record);
  }
}

/** Return all verdicts as CSV, in the form of `serve --verdicts`; the column `counts` tells which are the last of a reader on a film. */
export function verdictsToCsv(verdicts) {
  const counts = new Set([...verdicts.last.values()].filter((record) => record.verdict !== "none"));
  const lines = verdicts.all.map((record) => {
    const numbers = { probability: record.probability === null ? "" : decimals(record.probability, 6), threshold: decimals(record.threshold, 2) };
    return [...COLUMNS.map((name) => numbers[name] ?? field(record[name])), counts.has(record) ? "yes" : "no"].join(",");
  });
  return [[...COLUMNS, "counts"].join(","), ...lines].map((line) => `${line}\n`).join("");
}

/** Return the verdicts in the text of a CSV file; null if it is no file of verdicts. Lines that are none are left out. */
export function verdictsFromCsv(text) {
  const [head, ...lines] = text.replace(/^\uFEFF/, "").split(/\r?\n/);
  if (!head.startsWith(COLUMNS.join(","))) return null;
  return lines.map(recordOf).filter(Boolean);
}

function recordOf(line) {
  const cells = cellsOf(line);
  if (cells.length < COLUMNS.length) return null;
  const record = Object.fromEntries(COLUMNS.map((name, i) => [name, cells[i][0] === "'" && FORMULA.test(cells[i].slice(1)) ? cells[i].slice(1) : cells[i]]));
  record.probability = record.probability === "" ? null : Number(record.probability);
  record.threshold = Number(record.threshold);
  const legal = UUID.test(record.id) && /^[0-9a-f]{64}$/.test(record.sha256) && (record.verdict === "none" || record.verdict in WORDS);
  return legal && Number.isFinite(record.threshold) && !Number.isNaN(record.probability) ? record : null;
}

function cellsOf(line) {
  const cells = [];
  for (const [, quoted, plain] of line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^",]*))/g)) cells.push(quoted?.replaceAll('""', '"') ?? plain);
  return cells;
}

function field(text) {
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Texts are kept on one line, so that a file of verdicts has one line for each. */
function cut(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, " ").slice(0, 1000);
}

function keyOf(reader, sha256) {
  return `${sha256} ${reader}`;
}

/** Return a random UUID; `crypto.randomUUID` needs a secure context. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const text = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return text.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
