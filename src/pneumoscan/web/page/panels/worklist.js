/** The worklist: a listbox of films in groups, most suspicious first. */

import { byId, el, setText, sign } from "../dom.js";
import { hasNumber } from "../state/labels.js";
import { patientInWords } from "../state/dicom.js";
import { groupOf } from "../state/store.js";
import { WORDS } from "../state/verdicts.js";
import { thumbnailOf } from "../viewport/pictures.js";
import { full, LABELS, short } from "../state/text.js";

const HEADINGS = {
  PNEUMONIA: "PNEUMONIA",
  UNSURE: "UNSURE: a person must decide",
  NORMAL: "NORMAL",
  NOT_A_CHEST_FILM: "NOT A CHEST FILM",
  REFUSED: "Not read",
  WAITING: "Not read yet",
  ALL: "All films",
};

// The heading of a group stays above its films.
const HEADING = 34;
const MARGIN = 10;

/** Keep the list like the store. */
export class Worklist {
  constructor(store) {
    this.store = store;
    this.list = byId("worklist");
    this.entries = new Map();
    this.groups = new Map();
    this.list.addEventListener("click", (event) => this.#clicked(event));
    this.list.addEventListener("pointerdown", (event) => {
      // A press on an entry must not take the focus away from the list itself.
      if (event.target.closest(".film")) this.list.focus({ preventScroll: true });
    });
  }

  /** Draw what changed. */
  render() {
    const worklist = this.store.worklist(false);
    const groups = worklist.map(([name, films]) => this.#group(name, films));
    follow(this.list, groups);
    const there = new Set(this.store.films);
    for (const film of this.entries.keys()) if (!there.has(film)) this.entries.delete(film);
    const selected = this.store.selected;
    if (selected) this.list.setAttribute("aria-activedescendant", `film-${selected.id}`);
    else this.list.removeAttribute("aria-activedescendant");
  }

  /** Bring the selected film into sight in the list; the page itself stays where it is. */
  reveal() {
    const node = this.entries.get(this.store.selected)?.node;
    if (!node) return;
    const [list, film] = [this.list.getBoundingClientRect(), node.getBoundingClientRect()];
    const above = film.top - list.top - HEADING;
    const below = film.bottom - list.bottom + MARGIN;
    if (above < 0) this.list.scrollTop += above;
    else if (below > 0) this.list.scrollTop += below;
  }

  /** Select the film so many places on; beyond the ends nothing happens. */
  step(places) {
    const films = this.store.shown();
    if (!films.length) return;
    const at = films.indexOf(this.store.selected);
    this.#choose(films[Math.min(films.length - 1, Math.max(0, at < 0 ? 0 : at + places))]);
  }

  /** Select the next film without a verdict, from the top again after the last; returns whether there is one. */
  toNextUnjudged() {
    const films = this.store.filter === "all" ? this.store.shown() : this.store.ordered();
    const at = films.indexOf(this.store.selected) + 1;
    const next = [...films.slice(at), ...films.slice(0, at)].find((film) => film.state === "read" && !this.store.verdicts.wordOf(film));
    if (next) this.#choose(next);
    return Boolean(next);
  }

  #choose(film) {
    this.store.select(film);
    this.render();
    this.reveal();
  }

  #group(name, films) {
    let group = this.groups.get(name);
    if (!group) {
      const heading = el("div", { class: "group-head", id: `group-${name}`, role: "presentation" });
      const node = el("div", { class: "group", role: "group", "aria-labelledby": heading.id, "data-group": name }, heading);
      group = { node, heading };
      this.groups.set(name, group);
    }
    setText(group.heading, `${HEADINGS[name]} · ${films.length}`);
    follow(group.node, [group.heading, ...films.map((film) => this.#entry(film))]);
    return group.node;
  }

  #entry(film) {
    let entry = this.entries.get(film);
    if (!entry) {
      entry = makeEntry(film);
      this.entries.set(film, entry);
    }
    fillEntry(entry, film, film === this.store.selected, this.store.verdicts.wordOf(film));
    if (film.state === "read" && !entry.asked) {
      entry.asked = true;
      thumbnailOf(film).then((canvas) => canvas && entry.thumb.replaceChildren(canvas));
    }
    return entry.node;
  }

  #clicked(event) {
    const id = event.target.closest(".film")?.id;
    const film = this.store.films.find((one) => `film-${one.id}` === id);
    if (!film) return;
    this.store.select(film);
    // On a phone the film and its result stand above the list.
    if (matchMedia("(max-width: 720px)").matches) byId("film-name").scrollIntoView({ block: "start" });
  }
}

function makeEntry(film) {
  const thumb = el("span", { class: "thumb", "aria-hidden": "true" });
  const name = el("span", { class: "name", title: film.path }, film.name);
  const note = el("span", { class: "note" });
  const mark = el("span", { class: "mark-of" });
  const word = el("span", { class: "word" });
  const judged = el("span", { class: "judged" });
  const number = el("span", { class: "number" });
  const node = el(
    "div",
    { class: "film", role: "option", id: `film-${film.id}`, "aria-selected": "false" },
    thumb,
    el("span", { class: "who" }, el("span", { class: "named" }, name, judged), el("span", { class: "said" }, mark, word, number), note),
  );
  return { node, thumb, note, mark, word, judged, number, asked: false, label: null };
}

function fillEntry(entry, film, selected, verdict) {
  const label = groupOf(film);
  if (entry.label !== label) {
    entry.label = label;
    entry.node.dataset.label = label;
    entry.mark.replaceChildren(sign(label));
    if (!entry.asked) entry.thumb.replaceChildren(sign(label));
  }
  setText(entry.word, film.state === "reading" ? "reading" : film.state === "stopped" ? "stopped" : LABELS[label]);
  setText(entry.number, hasNumber(film) ? short(film.row.probability) : "");
  entry.number.title = hasNumber(film) ? full(film.row.probability) : "";
  setText(entry.judged, verdict && WORDS[verdict]);
  setText(entry.note, noteOf(film));
  entry.node.setAttribute("aria-selected", String(selected));
}

function noteOf(film) {
  const also = film.copies.length ? `same film: ${film.copies.join(", ")}` : "";
  const patient = patientInWords(film.header);
  const why = film.state === "refused" ? film.problem.message.replaceAll("<bytes>", "The file") : "";
  return [why, patient, also].filter(Boolean).join(" · ");
}

/** Make a node's children exactly these, moving only those that stand elsewhere. */
function follow(parent, wanted) {
  const keep = new Set(wanted);
  for (const child of [...parent.children]) if (!keep.has(child)) child.remove();
  wanted.forEach((child, at) => {
    if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] ?? null);
  });
}
