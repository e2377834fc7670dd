/** The films that the node has read, one at a time: picture, answer, and the reader's verdict, which is kept beside the queue. */

import { el, setText, sign } from "../dom.js";
import { addNodeVerdict, nodeFilms, nodePicture } from "../service/client.js";
import { LABELS, short, warningInWords } from "../state/text.js";
import { newId, WORDS } from "../state/verdicts.js";
import { announce } from "./messages.js";

const state = { films: [], at: 0, reader: "", leftOnly: false, shown: null, address: "" };
let parts = null;

/** Draw the films into `place`; drawn again, what is typed stays. */
export async function showNodeFilms(place) {
  const current = state.films[state.at]?.id;
  state.films = await nodeFilms();
  state.at = Math.max(0, state.films.findIndex((film) => film.id === current));
  place.hidden = !state.films.length;
  if (!parts) {
    parts = make();
    place.replaceChildren(...parts.all);
  }
  draw();
}

function make() {
  const button = (word, words) => el("button", { type: "button", "data-verdict": word, "aria-pressed": "false", onclick: () => give(word) }, words);
  const named = {
    place: el("p", { class: "soft" }),
    picture: el("img", { class: "node-picture", alt: "" }),
    answer: el("p", { class: "verdict" }),
    facts: el("p", { class: "soft" }),
    warnings: el("ul", { class: "warnings" }),
    buttons: Object.entries(WORDS).map(([word, words]) => button(word, words[0].toUpperCase() + words.slice(1))),
    note: el("input", { type: "text", maxlength: 1000, autocomplete: "off", onchange: () => give(wordOf(state.films[state.at])) }),
    reader: el("input", { type: "text", maxlength: 100, autocomplete: "off", placeholder: "initials", onchange: (event) => rename(event.target.value) }),
    others: el("ul", { class: "soft" }),
    problem: el("p", { class: "wrong", role: "alert" }),
  };
  const left = el("input", { type: "checkbox", onchange: (event) => { state.leftOnly = event.target.checked; } });
  const all = [
    el("h2", { id: "node-films-title" }, "Films to judge"),
    el("div", { class: "node-film" },
      named.picture,
      el("div", { class: "node-said" },
        named.place, named.answer, named.facts, named.warnings,
        el("div", { class: "verdicts", role: "group", "aria-label": "Do you agree?" }, named.buttons),
        el("label", { class: "note-line" }, "Note ", named.note),
        el("label", { class: "note-line" }, "Reader ", named.reader),
        named.others, named.problem,
        el("p", { class: "node-steps" },
          el("button", { type: "button", onclick: () => step(-1) }, "Newer"), el("button", { type: "button", onclick: () => step(1) }, "Older"),
          el("label", { class: "check" }, left, "only those that I have not judged")),
      )),
  ];
  return { ...named, all };
}

function mine(film) {
  return film.verdicts.find((said) => said.reader === state.reader);
}

function wordOf(film) {
  return mine(film)?.verdict ?? "none";
}

function rename(reader) {
  state.reader = reader.trim();
  draw();
}

function step(places) {
  const fits = (film) => !state.leftOnly || wordOf(film) === "none";
  let at = state.at + places;
  while (state.films[at] && !fits(state.films[at])) at += places;
  if (state.films[at]) state.at = at;
  else announce("There is no further film.", true);
  draw();
}

/** Keep a verdict; pressing the one that is given takes it back. */
async function give(word) {
  const film = state.films[state.at];
  const note = parts.note.value.trim();
  const before = mine(film);
  const verdict = before?.verdict === word && before.note === note ? "none" : word;
  const record = { object: film.id, reader: state.reader, verdict, note, time: new Date().toISOString(), id: newId() };
  setText(parts.problem, "");
  try {
    await addNodeVerdict(record);
  } catch (problem) {
    setText(parts.problem, `Not kept: ${problem.kind ? "the program does not answer. Try again." : `${problem.message} ${problem.remedy ?? ""}`}`);
    return;
  }
  film.verdicts = [...film.verdicts.filter((said) => said !== before), ...(verdict === "none" ? [] : [record])];
  announce(verdict === "none" ? "No verdict." : `Object ${film.id}: ${WORDS[verdict]}.`, true);
  draw();
}

function draw() {
  const film = state.films[state.at];
  if (!film) return;
  const said = mine(film);
  setText(parts.place, `Object ${film.id}, ${state.at + 1} of ${state.films.length}${film.study_date ? `, study of ${film.study_date}` : ""}${film.device ? `, ${film.device}` : ""}`);
  parts.answer.dataset.label = film.label;
  parts.answer.replaceChildren(sign(film.label), el("strong", {}, LABELS[film.label] ?? film.label));
  setText(parts.facts, `${film.probability === null ? "" : `Probability ${short(film.probability)}, threshold ${short(film.threshold)} (${film.operating_point}). `}${film.model}`);
  parts.warnings.hidden = !film.warnings.length;
  parts.warnings.replaceChildren(...film.warnings.map((word) => el("li", {}, warningInWords(word))));
  for (const button of parts.buttons) button.setAttribute("aria-pressed", String(button.dataset.verdict === (said?.verdict ?? "")));
  if (state.shown !== film.id || document.activeElement !== parts.note) parts.note.value = said?.note ?? "";
  const others = film.verdicts.filter((one) => one !== said);
  parts.others.replaceChildren(...others.map((one) => el("li", {}, `${one.reader || "no name"}: ${WORDS[one.verdict]}${one.note ? `, ${one.note}` : ""}`)));
  if (state.shown !== film.id) showPicture(film);
  state.shown = film.id;
}

async function showPicture(film) {
  URL.revokeObjectURL(state.address);
  state.address = "";
  parts.picture.hidden = true;
  if (!film.picture) return;
  const blob = await nodePicture(film.id).catch(() => null);
  if (!blob || state.shown !== film.id) return;
  state.address = URL.createObjectURL(blob);
  parts.picture.src = state.address;
  parts.picture.alt = `Film of object ${film.id} with the answer`;
  parts.picture.hidden = false;
}
