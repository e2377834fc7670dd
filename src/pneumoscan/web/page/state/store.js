/** What the page knows: films, the model, the operating point. It lives in memory and goes with the page. */

import { callOf } from "./labels.js";
import { FILTERS, Verdicts } from "./verdicts.js";

export const GROUPS = ["PNEUMONIA", "UNSURE", "NORMAL", "NOT_A_CHEST_FILM", "REFUSED", "WAITING"];

/**
 * A film:
 *   id        number, in the order of arrival
 *   name      its file's name, path its path in a dropped folder; text only, never a path for anybody
 *   file      the File
 *   state     waiting | reading | read | refused | stopped
 *   row       what the service said (nine columns and facts), where it was read
 *   problem   {code, message, remedy}, where it was refused
 *   call      {label, warnings} at the operating point now chosen
 *   heatmap, picture   Blobs (PNG) from the service, or null
 *   lungs      {box, outlines, sides, quality} from the service, or null
 *   regions    {regions, right_lung_with_evidence, left_lung_with_evidence} from the service, or null
 *   header    what a DICOM header tells of patient and date, or null
 *   copies    names of files with the same bytes
 *   thumb     a small canvas, or null
 */
export class Store extends EventTarget {
  constructor() {
    super();
    this.films = [];
    this.model = null;
    this.point = { id: "", threshold: 0.5 };
    this.prevalence = 0.1;
    this.selected = null;
    this.touched = false;
    this.verdicts = new Verdicts();
    this.filter = "all";
    this.sort = "suspicion";
    this.byHash = new Map();
    this.lastId = 0;
    this.waitingForFrame = false;
  }

  /** Tell everybody, once a frame at most, that something changed. */
  changed() {
    if (this.waitingForFrame) return;
    this.waitingForFrame = true;
    const tell = () => {
      if (!this.waitingForFrame) return;
      this.waitingForFrame = false;
      this.dispatchEvent(new Event("change"));
    };
    requestAnimationFrame(tell);
    // A page in the background gets no frames.
    setTimeout(tell, 250);
  }

  /** Begin with the model that the service described. */
  begin(model) {
    this.model = model;
    const name = model.default_operating_point;
    this.choose(`own-${name}`, model.operating_points[name].threshold);
  }

  /** Choose an operating point: every film that was read is called anew; nothing is read again. */
  choose(id, threshold) {
    this.point = { id, threshold };
    for (const film of this.films) this.#call(film);
    this.changed();
  }

  /** Add files as films that wait; returns them. */
  add(files) {
    const added = files.map(({ file, path }) => ({
      id: ++this.lastId,
      name: file.name || "pasted film",
      path: path || file.name || "pasted film",
      file,
      state: "waiting",
      row: null,
      problem: null,
      call: null,
      heatmap: null,
      picture: null,
      lungs: null,
      regions: null,
      header: null,
      copies: [],
      thumb: null,
    }));
    this.films.push(...added);
    this.changed();
    return added;
  }

  /** Note a film's SHA-256. Where its bytes are there already, drop it, note its name with the first, return false. */
  isNew(film, sha256) {
    const first = this.byHash.get(sha256);
    if (!first) this.byHash.set(sha256, film);
    if (!first || first === film) return true;
    first.copies.push(film.path);
    this.films = this.films.filter((other) => other !== film);
    if (this.selected === film) this.selected = first;
    this.changed();
    return false;
  }

  /** Note what the service said about a film. */
  read(film, { row, heatmap, picture, lungs, regions }) {
    Object.assign(film, { state: "read", row, heatmap, picture, lungs, regions, problem: null });
    this.#call(film);
    if (this.selected === null) this.selected = film;
    this.changed();
  }

  /** Note why a film was not read. */
  refuse(film, problem) {
    Object.assign(film, { state: "refused", problem, row: null, call: null });
    this.changed();
  }

  /** Forget all films. */
  clear() {
    this.films = [];
    this.byHash.clear();
    this.selected = null;
    this.touched = false;
    this.changed();
  }

  /** Select a film; `by` a person, or by the page itself. */
  select(film, byPerson = true) {
    this.selected = film;
    this.touched ||= byPerson;
    this.changed();
  }

  /** Return the films by group, most suspicious first: `[[group, films], …]`, without empty groups; all, or those that the filter lets through. */
  worklist(all = true) {
    const groups = new Map(GROUPS.map((name) => [name, []]));
    for (const film of this.films) if (all || this.#passes(film)) groups.get(groupOf(film)).push(film);
    if (!all && this.sort !== "suspicion") {
      const films = [...groups.values()].flat();
      return films.length ? [["ALL", films.sort(SORTS[this.sort][1])]] : [];
    }
    for (const films of groups.values()) films.sort(bySuspicion);
    return [...groups].filter(([, films]) => films.length);
  }

  /** Return the films in the order of the worklist. */
  ordered() {
    return this.worklist().flatMap(([, films]) => films);
  }

  /** Return the films that the filter lets through, in the order of the worklist. */
  shown() {
    return this.worklist(false).flatMap(([, films]) => films);
  }

  /** A film that is selected stays in the list until another one is, so that its verdict can be seen, and changed. */
  #passes(film) {
    if (this.filter === "all" || film === this.selected) return true;
    return film.state === "read" && FILTERS[this.filter][1](this.verdicts.wordOf(film));
  }

  /** Return how many films are in which state. */
  counts() {
    const counts = { all: this.films.length, read: 0, refused: 0, stopped: 0, waiting: 0, reading: 0 };
    for (const film of this.films) counts[film.state] += 1;
    return counts;
  }

  #call(film) {
    if (film.state === "read") film.call = callOf(this.model, film.row, this.point.threshold);
  }
}

const TEXT = new Intl.Collator("en", { numeric: true });

/** The orders of the worklist: words, and how two films compare. */
export const SORTS = {
  suspicion: ["Most suspicious", bySuspicion],
  patient: ["Patient", (a, b) => TEXT.compare(patientOf(a), patientOf(b)) || TEXT.compare(a.header?.date ?? "", b.header?.date ?? "") || a.id - b.id],
  date: ["Latest study", (a, b) => TEXT.compare(b.header?.date ?? "", a.header?.date ?? "") || a.id - b.id],
  name: ["File name", (a, b) => TEXT.compare(a.path, b.path) || a.id - b.id],
  arrival: ["As added", (a, b) => a.id - b.id],
};

/** Films without a patient come last. */
function patientOf(film) {
  return film.header ? film.header.name || film.header.id || "\uffff" : "\uffff";
}

/** Return the group of the worklist that a film stands in. */
export function groupOf(film) {
  if (film.state === "read") return film.call.label;
  return film.state === "refused" ? "REFUSED" : "WAITING";
}

function bySuspicion(a, b) {
  return (b.row?.probability ?? 0) - (a.row?.probability ?? 0) || a.id - b.id;
}
