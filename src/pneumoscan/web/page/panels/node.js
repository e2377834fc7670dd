/** The tab "Hospital node": what came in, waits and failed; the weeks; and what differs from the reference weeks. */

import { byId, el } from "../dom.js";
import { describeNode } from "../service/client.js";
import { whole } from "../state/text.js";
import { showNodeFilms } from "./node-films.js";

const AGAIN = 30_000;
const STATES = { found: "to be fetched", fetched: "to be read", made: "to be stored", stored: "to be checked", done: "brought to their end", refused: "not to be read", conflict: "same UID, other pixels", parked: "put aside after failures" };
let begun = false;

/** Show the tab where the program watches a node, and keep it fresh while it is looked at. */
export async function beginNode(tab, place) {
  if (begun) return;
  begun = true;
  const look = async () => {
    try {
      const report = await describeNode();
      tab.hidden = report === null;
      if (report) await showNodeFilms(byId("node-films"));
      if (report) place.replaceChildren(...partsOf(report));
    } catch {
      if (!tab.hidden) place.prepend(el("p", { class: "node-stale" }, "The node did not answer; these figures are older."));
    }
  };
  await look();
  tab.addEventListener("click", look);
  setInterval(() => {
    if (!tab.hidden && !byId(tab.getAttribute("aria-controls")).hidden) look();
  }, AGAIN);
}

function partsOf(report) {
  const all = Object.values(report.counts).reduce((sum, count) => sum + count, 0);
  return [
    el("header", {}, el("h2", {}, "Hospital node"), el("p", { class: "lead" }, `${whole(all)} objects were found. Figures of ${report.at}.`)),
    el("div", { class: "cards" }, Object.entries(report.counts).map(([state, count]) => cardOf(state, count))),
    el(
      "section",
      { class: report.differs ? "cautions" : "node-calm", "aria-labelledby": "drift-title" },
      el("h2", { id: "drift-title" }, report.differs ? "Weeks differ from the reference weeks" : "Compared with the reference weeks"),
      el("ul", {}, report.sentences.map((sentence) => el("li", {}, sentence))),
    ),
    report.codes.length > 0 && tableOf("Why", ["State", "Code", "Objects"], report.codes.map(({ state, code, count }) => [state, code, whole(count)])),
    tableOf("Weeks and devices", ["Week", "Device", "Found", "Read", "Refused", "UNSURE", "NOT_A_CHEST_FILM", "Median score", "Seconds, median", "95%"], report.weeks.map(rowOf)),
  ].filter(Boolean);
}

function cardOf(state, count) {
  return el("div", { class: "figure-card" }, el("h3", {}, state), el("p", { class: "figure" }, whole(count)), el("p", { class: "soft" }, STATES[state] ?? ""));
}

function rowOf(week) {
  const share = (value) => (value === null ? "–" : `${(100 * value).toFixed(1)}%`);
  const number = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));
  return [
    week.week, week.device || "all", whole(week.found), whole(week.read), share(week.refused_share), share(week.unsure_share),
    share(week.not_a_chest_film_share), number(week.score_quantiles?.[2], 3), number(week.seconds_median, 1), number(week.seconds_95, 1),
  ];
}

function tableOf(title, head, rows) {
  const cells = (row) => [el("th", { scope: "row" }, row[0]), row.slice(1).map((cell) => el("td", {}, cell))];
  return el(
    "section",
    {},
    el("h2", {}, title),
    el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": title }, el("table", {}, el("thead", {}, el("tr", {}, head.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, rows.map((row) => el("tr", {}, cells(row)))))),
  );
}
