/**
 * The web viewer.
 *
 *     input/files ──files──▶ state/store ◀──rows── service/queue ──▶ service/client ──HTTP──▶ the service
 *                               │ "change", once a frame
 *          panels/: worklist · result · operating-point · performance · progress   (each redraws its part where it differs)
 *          viewport/: one film, drawn from viewport/pictures
 *          output/: what is exported or printed
 *
 * state/labels and state/operating-curve hold the rules, state/text the words; none of the three touches the page.
 */

import { byId, setText } from "./dom.js";
import { listenForFiles } from "./input/files.js";
import { beginTabs, listenForKeys } from "./input/keyboard.js";
import { csvOf, jsonOf, save } from "./output/export.js";
import { clearSheets, layOutShown, print } from "./output/print.js";
import { askClear, askToken, beginDialogs, showHelp } from "./panels/dialogs.js";
import { announce, showBanner } from "./panels/messages.js";
import { beginNode } from "./panels/node.js";
import { OperatingPoint } from "./panels/operating-point.js";
import { beginPerformance, renderPerformance } from "./panels/performance.js";
import { beginJudging } from "./panels/judging.js";
import { beginPrior } from "./panels/prior.js";
import { renderProgress } from "./panels/progress.js";
import { renderResult } from "./panels/result.js";
import { beginToolbar } from "./panels/toolbar.js";
import { Worklist } from "./panels/worklist.js";
import { describeModel, documentOf } from "./service/client.js";
import { ReadQueue } from "./service/queue.js";
import { VerdictKeeper } from "./service/verdicts.js";
import { callOf } from "./state/labels.js";
import { Store } from "./state/store.js";
import { films, LABELS } from "./state/text.js";
import { verdictsFromCsv } from "./state/verdicts.js";
import { forgetPictures, pictureOf } from "./viewport/pictures.js";
import { Viewport } from "./viewport/viewport.js";

const RETRY_MODEL = 1500;

const store = new Store();
const queue = new ReadQueue(store);
const viewport = new Viewport(byId("film"));
const worklist = new Worklist(store);
const operatingPoint = new OperatingPoint(byId("operating-point"), store);
const keeper = new VerdictKeeper(store);
const judging = beginJudging(store, keeper, { save, back: () => byId("worklist").focus({ preventScroll: true }) });
const renderPrior = beginPrior(store);
const toolbar = beginToolbar(viewport, store);
let tokenRefused = false;
let tab = "tab-films";

beginDialogs();
beginTabs((id) => {
  tab = id;
});
listenForFiles(take);
listenForKeys({ keys: keysOf(), pan: (dx, dy) => viewport.pan(dx, dy) }, keysAreOn);
listenForButtons();
listenForMenu();
listenForEvents();
begin();

/** Ask for the model until the service answers. */
async function begin() {
  try {
    const model = await describeModel();
    tokenRefused = false;
    store.begin(model);
    setText(byId("model"), model.model);
    setText(byId("for-whom"), model.shown_to_work);
    toolbar.begin(model);
    operatingPoint.begin();
    beginPerformance(store);
    beginNode(byId("tab-node"), byId("node"));
    keeper.begin();
    queue.go();
    showBanner("");
  } catch (problem) {
    await beginLater(problem);
  }
}

async function beginLater(problem) {
  if (problem.kind === "token") {
    showBanner("token");
    if (await askToken(tokenRefused)) {
      tokenRefused = true;
      begin();
    }
    return;
  }
  if (problem.kind !== "busy") showBanner(problem.kind ?? "unreachable");
  setTimeout(begin, problem.seconds ? problem.seconds * 1000 : RETRY_MODEL);
}

async function take(given) {
  const files = [];
  for (const one of given) if (!(await takeVerdicts(one))) files.push(one);
  if (!files.length) return;
  store.add(files);
  if (tab !== "tab-films") byId("tab-films").click();
  announce(`${films(files.length)} added.`, true);
  queue.pump();
}

/** Take in a file of verdicts that was saved before; returns whether it is one. */
async function takeVerdicts({ file, path }) {
  if (!/\.csv$/i.test(file.name)) return false;
  const records = verdictsFromCsv(await file.text().catch(() => ""));
  if (!records) return false;
  const added = records.filter((record) => store.verdicts.add(record, keeper.file === null)).length;
  if (!store.verdicts.reader && records.length) store.verdicts.rename(records.at(-1).reader);
  announce(`${added} verdicts taken in from ${path}.`, true);
  keeper.send();
  store.changed();
  return true;
}

function listenForEvents() {
  store.addEventListener("change", render);
  queue.addEventListener("read", ({ detail: film }) => checkRow(film));
  queue.addEventListener("state", ({ detail: why }) => onState(why));
  queue.addEventListener("idle", onIdle);
  addEventListener("beforeunload", (event) => {
    if (store.films.length || store.verdicts.unsaved.size) event.preventDefault();
  });
  addEventListener("beforeprint", () => layOutShown(viewport, store));
  addEventListener("afterprint", clearSheets);
}

/** The page's rules must give the service's own label at the service's own threshold. */
function checkRow(film) {
  const { row } = film;
  tokenRefused = false;
  film.disagrees = callOf(store.model, row, row.threshold).label !== row.label;
  if (row.model !== store.model.model) showBanner("model");
}

async function onState(why) {
  showBanner(why);
  if (why !== "token") return;
  if (await askToken(tokenRefused)) {
    tokenRefused = true;
    queue.go();
  }
}

function onIdle() {
  const { all, read, refused } = store.counts();
  if (!all || store.saidDone === read + refused) return;
  store.saidDone = read + refused;
  // Whoever has chosen a film keeps it; for others the most suspicious one is shown.
  if (!store.touched) store.select(store.ordered()[0], false);
  announce(`Done: ${films(read)} read, ${refused} not read. ${store.worklist().map(([name, list]) => `${LABELS[name]} ${list.length}`).join(", ")}.`, true);
}

function render() {
  const empty = store.films.length === 0;
  byId("welcome").hidden = !empty;
  byId("workspace").hidden = empty;
  worklist.render();
  renderProgress(store);
  renderFilm();
  operatingPoint.render();
  if (store.model) {
    renderResult(byId("result"), store, { again: (film) => queue.again(film), copy });
    renderPerformance(store);
    judging.render();
    renderPrior();
  }
}

function renderFilm() {
  const film = store.selected;
  const ordered = store.shown();
  const at = ordered.indexOf(film);
  setText(byId("film-name"), film ? film.path : "No film chosen");
  byId("film-name").title = film?.path ?? "";
  setText(byId("film-place"), film ? `${at + 1} of ${ordered.length}` : "");
  byId("previous").disabled = at <= 0;
  byId("next").disabled = at < 0 || at === ordered.length - 1;
  viewport.show(film?.state === "read" ? film : null).then(() => prefetch(ordered, at));
  toolbar.render();
}

/** Have the neighbours' pictures ready, once nothing else is to be done. */
function prefetch(ordered, at) {
  if (queue.running.size || ordered[at] !== store.selected) return;
  for (const film of [ordered[at - 1], ordered[at + 1]]) if (film?.state === "read" && viewport.picture) pictureOf(film);
}

function keysOf() {
  const step = (places) => () => worklist.step(places);
  return {
    j: step(1),
    ArrowDown: step(1),
    ArrowRight: step(1),
    k: step(-1),
    ArrowUp: step(-1),
    ArrowLeft: step(-1),
    Home: step(-Infinity),
    End: step(Infinity),
    PageDown: step(8),
    PageUp: step(-8),
    "+": () => viewport.zoom(1),
    "=": () => viewport.zoom(1),
    "-": () => viewport.zoom(-1),
    0: () => viewport.fit(),
    h: () => byId("heat").click(),
    l: () => byId("lungs").click(),
    e: () => byId("regions").click(),
    a: () => judging.give("agree"),
    d: () => judging.give("disagree"),
    c: () => judging.give("cannot_say"),
    n: judging.note,
    u: () => worklist.toNextUnjudged() || announce("No film is left to judge.", true),
    m: () => byId("measure").click(),
    p: () => byId("prior").hidden || byId("prior").click(),
    i: () => viewport.setInvert(!viewport.invert),
    r: () => viewport.reset(),
    "?": showHelp,
  };
}

function keysAreOn(key) {
  if (key.length === 1 && !byId("keys-on").checked) return false;
  return key === "?" || (tab === "tab-films" && store.films.length > 0);
}

function listenForButtons() {
  const clicks = {
    previous: () => worklist.step(-1),
    next: () => worklist.step(1),
    cancel: () => queue.cancel(),
    resume: () => queue.resume(),
    clear,
    "banner-retry": retry,
  };
  for (const [id, act] of Object.entries(clicks)) byId(id).addEventListener("click", act);
}

/** The menu of exports closes with what is chosen in it, with a click elsewhere, and with Escape. */
function listenForMenu() {
  const menu = byId("export");
  const clicks = {
    "export-csv": () => save(csvOf(store), "pneumoscan.csv", "text/csv;charset=utf-8"),
    "export-json": () => save(jsonOf(store), "pneumoscan.json", "application/json"),
    "export-verdicts": judging.saveAll,
    "open-verdicts": () => byId("verdict-chooser").click(),
    "pdf-one": () => savePdf(store.selected),
    "print-one": () => print([store.selected], store),
    "print-all": () => print(store.ordered(), store),
  };
  for (const [id, act] of Object.entries(clicks)) {
    byId(id).addEventListener("click", () => {
      menu.open = false;
      act();
    });
  }
  addEventListener("click", (event) => {
    if (!event.target.closest("#export")) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

/** Have the program make a PDF of what is shown, at the operating point now chosen. */
async function savePdf(film) {
  const { id, threshold } = store.point;
  const point = id.startsWith("own-") ? { operating_point: id.slice(4) } : { threshold };
  try {
    const pdf = await documentOf(await film.file.arrayBuffer(), film.path, point);
    save(pdf, `${film.name.replace(/\.[^.]*$/, "")}.pdf`, "application/pdf");
  } catch (problem) {
    if (problem.kind) showBanner(problem.kind === "busy" ? "busy" : problem.kind);
    else showBanner("", `No PDF of ${film.name}: ${problem.message} ${problem.remedy ?? ""}`);
  }
}

async function clear() {
  if (!(await askClear(`${films(store.films.length)} and their results will be removed from this page's memory. What you did not export is lost.`))) return;
  queue.forget();
  forgetPictures();
  store.clear();
  store.saidDone = undefined;
  viewport.show(null);
  announce("The worklist is empty.", true);
}

function retry() {
  if (!store.model) begin();
  else if (queue.paused === "token") onState("token");
  else if (queue.paused) queue.knockNow();
  else location.reload();
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
