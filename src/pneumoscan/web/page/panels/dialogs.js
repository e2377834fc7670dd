/** The dialogs: help, token, and the question before the list is cleared. */

import { byId, el, setText, sign } from "../dom.js";
import { useToken } from "../service/client.js";
import { LABELS, MEANINGS, whereFilmsGo } from "../state/text.js";

/** Make the dialogs' own buttons work; fill the help. */
export function beginDialogs() {
  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  byId("help-open").addEventListener("click", showHelp);
  const light = byId("light");
  light.checked = matchMedia("(prefers-color-scheme: light)").matches;
  light.addEventListener("change", () => {
    document.documentElement.dataset.theme = light.checked ? "light" : "dark";
  });
  byId("help-labels").append(
    ...Object.entries(MEANINGS).flatMap(([label, words]) => [el("dt", {}, sign(label), ` ${LABELS[label]}`), el("dd", {}, words)]),
  );
  const where = whereFilmsGo(location.hostname);
  setText(byId("promise-where"), where);
  setText(byId("help-where"), `${where} Nothing is written to disk unless you export it; a reload removes all films.`);
}

/** Show the help. */
export function showHelp() {
  if (!byId("help").open) byId("help").showModal();
}

/** Ask for the token; `wrong` tells that one was refused. Returns whether one was given. */
export function askToken(wrong) {
  const [dialog, form, value] = [byId("token"), byId("token-form"), byId("token-value")];
  if (dialog.open) return Promise.resolve(false);
  setText(byId("token-wrong"), wrong ? "The program does not know this token." : "");
  byId("token-wrong").hidden = !wrong;
  value.value = "";
  dialog.showModal();
  value.focus();
  return new Promise((answer) => {
    let given = false;
    form.onsubmit = (event) => {
      event.preventDefault();
      given = true;
      useToken(value.value.trim());
      value.value = "";
      dialog.close();
    };
    dialog.onclose = () => answer(given);
  });
}

/** Ask whether so many films are to be cleared. */
export function askClear(words) {
  const dialog = byId("clear-dialog");
  setText(byId("clear-text"), words);
  dialog.showModal();
  return new Promise((answer) => {
    let yes = false;
    byId("clear-yes").onclick = () => {
      yes = true;
      dialog.close();
    };
    dialog.onclose = () => answer(yes);
  });
}
