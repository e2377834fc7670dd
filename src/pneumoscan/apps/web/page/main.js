/**
 * The web viewer.
 *
 *     drop.js ──files──▶ room.js ◀──answers── reader.js ──▶ service.js ──HTTP──▶ the program
 *                          │ "change", once a frame
 *          worklist.js · answer.js · operating.js · figures.js      (each draws its part anew where it differs)
 *          viewer.js ◀── picture.js                                 (the film large)
 *
 * labels.js and curve.js hold the rules, words.js what is said; none of the three touches the page.
 */

import { renderAnswer } from "./answer.js";
import { askClear, askToken, beginDialogs, showHelp } from "./dialogs.js";
import { byId, el, setText, svg } from "./dom.js";
import { listenForFiles } from "./drop.js";
import { csvOf, jsonOf, save } from "./export.js";
import { beginFigures, renderFigures } from "./figures.js";
import { beginTabs, listenForKeys } from "./keys.js";
import { callOf } from "./labels.js";
import { Operating } from "./operating.js";
import { clearPaper, layShown, print } from "./paper.js";
import { forgetPictures, pictureOf } from "./picture.js";
import { Reader } from "./reader.js";
import { Room } from "./room.js";
import { describeModel } from "./service.js";
import { Viewer } from "./viewer.js";
import { films, LABELS, short } from "./words.js";
import { Worklist } from "./worklist.js";

const BANNERS = {
  unreachable: "The pneumoscan program does not answer. Films wait here and are read as soon as it is back.",
  stopping: "The pneumoscan program is stopping. Films wait here; start it again to go on.",
  token: "The program asks for a token. Films wait here until you give one.",
  model: "Another model answers now than the one this page began with. Export what you need, then reload.",
};
const LIVE_PAUSE = 4000;
const RETRY_MODEL = 1500;

const room = new Room();
const reader = new Reader(room);
const viewer = new Viewer(byId("film"));
const worklist = new Worklist(room);
const operating = new Operating(byId("operating"), room);
let tokenRefused = false;
let saidAt = 0;
let tab = "tab-films";

beginDialogs();
beginTabs((id) => {
  tab = id;
});
listenForFiles(take);
listenForKeys({ keys: keysOf(), pan: (dx, dy) => viewer.pan(dx, dy) }, keysAreOn);
listenForButtons();
listenForRoom();
begin();

/** Ask for the model until it is told. */
async function begin() {
  try {
    const model = await describeModel();
    tokenRefused = false;
    room.begin(model);
    setText(byId("model"), model.model);
    legend(model);
    operating.begin();
    beginFigures(room);
    reader.go();
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

function take(files) {
  if (!files.length) return;
  room.add(files);
  if (tab !== "tab-films") byId("tab-films").click();
  say(`${films(files.length)} added.`, true);
  reader.pump();
}

function listenForRoom() {
  room.addEventListener("change", render);
  reader.addEventListener("read", ({ detail: film }) => checkAnswer(film));
  reader.addEventListener("state", ({ detail: why }) => onState(why));
  reader.addEventListener("idle", onIdle);
  viewer.addEventListener("view", renderTools);
  viewer.addEventListener("shown", renderTools);
  addEventListener("beforeunload", (event) => {
    if (room.films.length) event.preventDefault();
  });
  addEventListener("beforeprint", () => layShown(viewer, room));
  addEventListener("afterprint", clearPaper);
}

/** The page's rules must give the program's own label at the program's own threshold. */
function checkAnswer(film) {
  const { row } = film;
  tokenRefused = false;
  film.disagrees = callOf(room.model, row, row.threshold).label !== row.label;
  if (row.model !== room.model.model) showBanner("model");
}

async function onState(why) {
  showBanner(why);
  if (why !== "token") return;
  if (await askToken(tokenRefused)) {
    tokenRefused = true;
    reader.go();
  }
}

function onIdle() {
  const { all, read, refused } = room.counts();
  if (!all || room.saidDone === read + refused) return;
  room.saidDone = read + refused;
  // Whoever has chosen a film keeps it; for others the most suspicious one is shown.
  if (!room.touched) room.select(room.ordered()[0], false);
  say(`Done: ${films(read)} read, ${refused} not read. ${room.worklist().map(([name, list]) => `${LABELS[name]} ${list.length}`).join(", ")}.`, true);
}

function render() {
  const empty = room.films.length === 0;
  byId("welcome").hidden = !empty;
  byId("desk").hidden = empty;
  worklist.render();
  renderProgress();
  renderFilm();
  operating.render();
  if (room.model) {
    renderAnswer(byId("answer"), room, { again: (film) => reader.again(film), copy });
    renderFigures(room);
  }
}

function renderProgress() {
  const { all, read, refused, stopped, waiting, reading } = room.counts();
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
  byId("print-one").disabled = room.selected?.state !== "read";
  byId("print-all").disabled = read === 0;
  const twice = room.films.reduce((sum, film) => sum + film.copies.length, 0);
  byId("list-note").hidden = twice === 0;
  setText(byId("list-note"), twice === 1 ? "1 file holds a film that is here already: shown once." : `${twice} files hold films that are here already: shown once.`);
  if (left) say(`${read + refused} of ${all} films read.`, false);
}

function renderFilm() {
  const film = room.selected;
  const ordered = room.ordered();
  const at = ordered.indexOf(film);
  setText(byId("film-name"), film ? film.path : "No film chosen");
  byId("film-name").title = film?.path ?? "";
  setText(byId("film-place"), film ? `${at + 1} of ${ordered.length}` : "");
  byId("previous").disabled = at <= 0;
  byId("next").disabled = at < 0 || at === ordered.length - 1;
  viewer.show(film?.state === "read" ? film : null).then(() => prefetch(ordered, at));
  renderTools();
}

/** Have the neighbours' pictures ready, once nothing else is to be done. */
function prefetch(ordered, at) {
  if (reader.running.size || ordered[at] !== room.selected) return;
  for (const film of [ordered[at - 1], ordered[at + 1]]) if (film?.state === "read" && viewer.picture) pictureOf(film);
}

function renderTools() {
  const film = viewer.film;
  const has = Boolean(viewer.picture);
  setText(byId("zoom"), has ? `${Math.round(viewer.zoomShare * 100)}%` : "");
  press("invert", viewer.invert);
  press("heat", viewer.heat);
  press("tool-window", viewer.dragWindows);
  byId("heat").disabled = !room.model?.has_heatmap;
  byId("strength").disabled = !room.model?.has_heatmap;
  byId("window").value = String(viewer.window);
  byId("level").value = String(viewer.level);
  byId("legend").hidden = !(viewer.heat && viewer.heatmap);
  byId("film").classList.toggle("windows", viewer.dragWindows);
  const changed = has && (viewer.window !== 255 || viewer.level !== 127.5);
  setText(byId("readout"), changed ? `W ${Math.round(viewer.window)}  L ${Math.round(viewer.level)}` : "");
  byId("film").setAttribute("aria-label", labelOf(film));
  byId("film").dataset.shown = has ? String(film.id) : "";
  renderStageWord();
}

function labelOf(film) {
  if (!film?.call) return "No film shown";
  const on = viewer.heat && viewer.heatmap ? ", heatmap on" : "";
  return `Film ${film.name}: ${LABELS[film.call.label]}, probability ${short(film.row.probability)}${viewer.invert ? ", inverted" : ""}${on}`;
}

function renderStageWord() {
  const film = room.selected;
  const words = !film || film.state === "read" ? "" : film.state === "refused" ? "This file was not read, so there is no film to show." : "This film has not been read yet.";
  byId("stage-word").hidden = !words;
  setText(byId("stage-word"), words);
}

function press(id, on) {
  byId(id).setAttribute("aria-pressed", String(on));
}

function legend(model) {
  if (!model.has_heatmap) return;
  const stops = model.heatmap_scale.anchors.map(([place, colour]) => svg("stop", { offset: place, "stop-color": `rgb(${colour.join(" ")})`, "stop-opacity": Math.max(0.12, place ** 0.8) }));
  byId("legend").replaceChildren(
    el("span", {}, "little"),
    svg("svg", { viewBox: "0 0 120 10", "aria-hidden": "true" }, svg("defs", {}, svg("linearGradient", { id: "legend-colours" }, stops)), svg("rect", { width: 120, height: 10, rx: 2, fill: "url(#legend-colours)" })),
    el("span", {}, "much evidence for pneumonia"),
  );
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
    "+": () => viewer.zoom(1),
    "=": () => viewer.zoom(1),
    "-": () => viewer.zoom(-1),
    0: () => viewer.fit(),
    h: () => viewer.setHeat(!viewer.heat && Boolean(room.model?.has_heatmap)),
    i: () => viewer.setInvert(!viewer.invert),
    r: () => viewer.reset(),
    "?": showHelp,
  };
}

function keysAreOn(key) {
  if (key.length === 1 && !byId("keys-on").checked) return false;
  return key === "?" || (tab === "tab-films" && room.films.length > 0);
}

function listenForButtons() {
  const clicks = {
    previous: () => worklist.step(-1),
    next: () => worklist.step(1),
    "zoom-in": () => viewer.zoom(1),
    "zoom-out": () => viewer.zoom(-1),
    fit: () => viewer.fit(),
    actual: () => viewer.actual(),
    invert: () => viewer.setInvert(!viewer.invert),
    reset: () => viewer.reset(),
    heat: () => viewer.setHeat(!viewer.heat),
    "tool-window": toggleDrag,
    cancel: () => reader.cancel(),
    resume: () => reader.resume(),
    clear,
    "export-csv": () => closing(() => save(csvOf(room), "pneumoscan.csv", "text/csv;charset=utf-8")),
    "export-json": () => closing(() => save(jsonOf(room), "pneumoscan.json", "application/json")),
    "print-one": () => closing(() => print([room.selected], room, viewer.strength)),
    "print-all": () => closing(() => print(room.ordered(), room, viewer.strength)),
    "banner-retry": retry,
  };
  for (const [id, act] of Object.entries(clicks)) byId(id).addEventListener("click", act);
  byId("window").addEventListener("input", (event) => viewer.setWindow(Number(event.target.value), viewer.level));
  byId("level").addEventListener("input", (event) => viewer.setWindow(viewer.window, Number(event.target.value)));
  byId("strength").addEventListener("input", (event) => {
    viewer.setStrength(Number(event.target.value) / 100);
    if (!viewer.heat) viewer.setHeat(true);
  });
  addEventListener("click", (event) => {
    if (!event.target.closest("#export")) byId("export").open = false;
  });
  byId("export").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !byId("export").open) return;
    byId("export").open = false;
    byId("export").querySelector("summary").focus();
  });
}

function closing(act) {
  byId("export").open = false;
  return act();
}

function toggleDrag() {
  viewer.dragWindows = !viewer.dragWindows;
  renderTools();
}

async function clear() {
  if (!(await askClear(`${films(room.films.length)} and the answers go from this page's memory. What you did not export is gone.`))) return;
  reader.forget();
  forgetPictures();
  room.clear();
  room.saidDone = undefined;
  viewer.show(null);
  say("The worklist is empty.", true);
}

function retry() {
  if (!room.model) begin();
  else if (reader.paused === "token") onState("token");
  else if (reader.paused) reader.knockNow();
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

function showBanner(why) {
  byId("banner").hidden = !why;
  setText(byId("banner-text"), BANNERS[why] ?? "");
  setText(byId("banner-retry"), why === "token" ? "Give the token" : why === "model" ? "Reload" : "Try again now");
}

/** Tell screen readers; what is not `urgent` at most every few seconds. */
function say(words, urgent) {
  const now = performance.now();
  if (!urgent && now - saidAt < LIVE_PAUSE) return;
  saidAt = now;
  setText(byId("live"), words);
}
