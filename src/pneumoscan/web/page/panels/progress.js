/** How far the reading is, above the worklist; which exports there is something for. */

import { byId, setText } from "../dom.js";
import { films } from "../state/text.js";
import { announce } from "./messages.js";

/** Draw the progress of all films. */
export function renderProgress(store) {
  const { all, read, refused, stopped, waiting, reading } = store.counts();
  const left = waiting + reading;
  const bar = byId("progress-bar");
  bar.max = Math.max(1, all);
  bar.value = read + refused;
  const parts = [left ? `Read ${read} of ${all}` : `${films(read)} read`];
  if (refused) parts.push(`${refused} not read`);
  if (stopped) parts.push(`${stopped} left out`);
  setText(byId("progress-text"), `${parts.join(" · ")}${left ? "" : "."}`);
  byId("progress").classList.toggle("busy", left > 0);
  byId("cancel").hidden = !left;
  byId("resume").hidden = left > 0 || !stopped;
  for (const id of ["export-csv", "export-json"]) byId(id).disabled = read + refused === 0;
  byId("pdf-one").hidden = !store.model?.has_pdf;
  byId("pdf-one").disabled = store.selected?.state !== "read";
  byId("print-one").disabled = store.selected?.state !== "read";
  byId("print-all").disabled = read === 0;
  const twice = store.films.reduce((sum, film) => sum + film.copies.length, 0);
  byId("list-note").hidden = twice === 0;
  setText(byId("list-note"), twice === 1 ? "1 file is a copy of a film in the list: it is shown once." : `${twice} files are copies of films in the list: each film is shown once.`);
  if (left) announce(`${read + refused} of ${all} films read.`, false);
}
