/** The viewing tools under the film, and what stands on it: legend, window and level, a word where there is no film. */

import { byId, el, setText, svg } from "../dom.js";
import { regionsOf } from "../viewport/outlines.js";
import { hasNumber } from "../state/labels.js";
import { heatmapCaution, LABELS, regionsInWords, short } from "../state/text.js";

const MISSING = {
  refused: "This file was not read, so there is no film to show.",
  waiting: "This film has not been read yet.",
};

/** Connect the tools with a viewport; returns `begin(model)` and `render()`. */
export function beginToolbar(viewport, store) {
  const render = () => renderToolbar(viewport, store);
  const clicks = {
    "zoom-in": () => viewport.zoom(1),
    "zoom-out": () => viewport.zoom(-1),
    fit: () => viewport.fit(),
    actual: () => viewport.actual(),
    invert: () => viewport.setInvert(!viewport.invert),
    reset: () => viewport.reset(),
    heat: () => viewport.setHeat(!viewport.heat),
    measure: () => viewport.setMeasuring(!viewport.measuring),
    lungs: () => viewport.setOutlined(!viewport.outlined),
    regions: () => viewport.setRegions(!viewport.regions),
    "tool-window": () => {
      viewport.dragWindows = !viewport.dragWindows;
      render();
    },
  };
  for (const [id, act] of Object.entries(clicks)) byId(id).addEventListener("click", act);
  const slide = (id, act) => byId(id).addEventListener("input", (event) => act(Number(event.target.value)));
  slide("window", (value) => viewport.setWindow(value, viewport.level));
  slide("level", (value) => viewport.setWindow(viewport.window, value));
  slide("strength", (value) => {
    viewport.setStrength(value / 100);
    if (!viewport.heat) viewport.setHeat(true);
  });
  viewport.addEventListener("view", render);
  viewport.addEventListener("shown", render);
  return { begin: drawLegend, render };
}

function renderToolbar(viewport, store) {
  const film = viewport.film;
  const has = Boolean(viewport.picture);
  setText(byId("zoom"), has ? `${Math.round(viewport.zoomShare * 100)}%` : "");
  press("invert", viewport.invert);
  press("measure", viewport.measuring);
  press("lungs", viewport.outlined);
  press("regions", viewport.regions);
  press("tool-window", viewport.dragWindows);
  const none = !store.model?.has_heatmap || (film !== null && !hasNumber(film));
  press("heat", viewport.heat && !none);
  byId("heat").disabled = none;
  byId("strength").disabled = none;
  byId("lungs").disabled = !store.model?.has_lungs;
  byId("regions").disabled = !store.model?.has_regions;
  byId("window").value = String(viewport.window);
  byId("level").value = String(viewport.level);
  byId("legend").hidden = !(viewport.heat && viewport.heatmap);
  byId("heat-caution").hidden = byId("legend").hidden;
  byId("film").classList.toggle("windows", viewport.dragWindows || viewport.measuring);
  const changed = has && (viewport.window !== 255 || viewport.level !== 127.5);
  setText(byId("readout"), changed ? `W ${Math.round(viewport.window)}  L ${Math.round(viewport.level)}` : "");
  byId("film").setAttribute("aria-label", labelOf(film, viewport));
  byId("film").dataset.shown = has ? String(film.id) : "";
  renderMissing(store.selected);
}

function labelOf(film, viewport) {
  if (!film?.call) return "No film shown";
  const on = viewport.heat && viewport.heatmap ? ", heatmap on" : "";
  const number = hasNumber(film) ? `, probability ${short(film.row.probability)}` : "";
  const outlined = viewport.regions && regionsOf(film).length ? `, regions: ${regionsInWords(film.regions)}` : "";
  return `Film ${film.name}: ${LABELS[film.call.label]}${number}${viewport.invert ? ", inverted" : ""}${on}${outlined}`;
}

function renderMissing(film) {
  const words = !film || film.state === "read" ? "" : (MISSING[film.state] ?? MISSING.waiting);
  byId("no-film").hidden = !words;
  setText(byId("no-film"), words);
}

function press(id, on) {
  byId(id).setAttribute("aria-pressed", String(on));
}

function drawLegend(model) {
  if (!model.has_heatmap) return;
  setText(byId("heat-caution"), heatmapCaution(model));
  const stops = model.heatmap_scale.anchors.map(([place, colour]) => svg("stop", { offset: place, "stop-color": `rgb(${colour.join(" ")})`, "stop-opacity": Math.max(0.12, place ** 0.8) }));
  byId("legend").replaceChildren(
    el("span", {}, "little"),
    svg("svg", { viewBox: "0 0 120 10", "aria-hidden": "true" }, svg("defs", {}, svg("linearGradient", { id: "legend-colours" }, stops)), svg("rect", { width: 120, height: 10, rx: 2, fill: "url(#legend-colours)" })),
    el("span", {}, "much evidence for pneumonia"),
  );
}
