/** "Do you agree?": the reader's verdict on the film that is shown, a note, and where verdicts are kept. */

import { byId, el, setText } from "../dom.js";
import { SORTS } from "../state/store.js";
import { FILTERS, verdictsToCsv, WORDS } from "../state/verdicts.js";
import { announce } from "./messages.js";

/** Connect the panel; returns `{give, note, render}`. `save` has the browser save a file, `back` leads from the note to the list. */
export function beginJudging(store, keeper, { save, back }) {
  const note = byId("note");
  let drawn = null;
  const give = (verdict, text = note.value.trim()) => {
    const film = store.selected;
    const said = store.verdicts.of(film);
    if (film?.state !== "read" || (said?.verdict === verdict && said.note === text)) return;
    store.touched = true;
    store.verdicts.give(film, verdict, text, store.point.threshold);
    announce(verdict === "none" ? "No verdict." : `${film.name}: ${WORDS[verdict]}.`, true);
    keep();
  };
  const keep = () => {
    keeper.send();
    store.changed();
  };
  const giveNote = () => {
    const film = store.selected;
    if (film?.state !== "read" || note.value.trim() === (store.verdicts.of(film)?.note ?? "")) return;
    give(store.verdicts.of(film)?.verdict ?? "none", note.value.trim());
    // As it is kept: on one line.
    note.value = store.verdicts.of(film).note;
  };
  for (const word of Object.keys(WORDS)) {
    byId(word).addEventListener("click", () => give(store.verdicts.wordOf(store.selected) === word ? "none" : word));
  }
  note.addEventListener("change", giveNote);
  note.addEventListener("keydown", (event) => {
    if (event.key === "Escape") note.value = store.verdicts.of(store.selected)?.note ?? "";
    if (event.key === "Enter") giveNote();
    if (event.key === "Enter" || event.key === "Escape") back();
  });
  byId("reader").addEventListener("change", () => {
    store.verdicts.rename(byId("reader").value);
    keep();
  });
  byId("show").append(...Object.entries(FILTERS).map(([name, [words]]) => el("option", { value: name }, words)));
  byId("sort").append(...Object.entries(SORTS).map(([name, [words]]) => el("option", { value: name }, words)));
  byId("sort").addEventListener("change", () => {
    store.sort = byId("sort").value;
    store.changed();
  });
  byId("show").addEventListener("change", () => {
    store.filter = byId("show").value;
    store.changed();
  });
  byId("save-verdicts").addEventListener("click", () => saveAll(store, keeper, save));

  const render = () => {
    const film = store.selected;
    byId("judging").hidden = film?.state !== "read";
    const word = store.verdicts.wordOf(film);
    for (const name of Object.keys(WORDS)) byId(name).setAttribute("aria-pressed", String(name === word));
    const said = store.verdicts.of(film);
    // What is being typed stays, unless another film is shown.
    if (film !== drawn || document.activeElement !== note) note.value = said?.note ?? "";
    if (document.activeElement !== byId("reader")) byId("reader").value = store.verdicts.reader;
    drawn = film;
    setText(byId("judging-state"), stateOf(store, keeper));
    byId("save-verdicts").hidden = keeper.file !== null || !store.verdicts.unsaved.size;
    byId("export-verdicts").disabled = !store.verdicts.all.length;
  };
  return { give, note: () => note.focus(), render, saveAll: () => saveAll(store, keeper, save) };
}

function saveAll(store, keeper, save) {
  save(verdictsToCsv(store.verdicts), "verdicts.csv", "text/csv;charset=utf-8");
  if (keeper.file === null) store.verdicts.unsaved.clear();
  store.changed();
}

function stateOf({ films, verdicts }, keeper) {
  const read = films.filter((film) => film.state === "read");
  const judged = read.filter((film) => verdicts.wordOf(film)).length;
  const left = verdicts.unsaved.size;
  const kept = keeper.file === null
    ? left ? `${keeper.problem} Not saved yet:` : keeper.problem
    : left ? `${left} not yet in ${keeper.file}. ${keeper.problem}` : `Kept in ${keeper.file}.`;
  return `${judged} of ${read.length} judged. ${kept}`.replace(/ +/g, " ").trim();
}
