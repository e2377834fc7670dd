/** The operating point in clinical terms, the prevalence, and what both mean in numbers of films. */

import { el } from "../dom.js";
import { choicesOf, consequences, curveOf, ratesAt } from "../state/operating-curve.js";
import { ENDS, logOdds, ratesHold, shareOf, unsureBand } from "../state/labels.js";
import { count, full, percent, RATES_OF_OTHERS, short, whole, withInterval } from "../state/text.js";

const GROUPS = {
  miss: "Miss at most 1 pneumonia in",
  alarm: "At most 1 false alarm in … without it",
  own: "The model's own points",
};

/** Builds the controls once the model is known; draws the consequences whenever the store changes. */
export class OperatingPoint {
  constructor(node, store) {
    this.node = node;
    this.store = store;
  }

  /** Build the controls for the store's model. */
  begin() {
    const choices = choicesOf(this.store.model);
    this.chips = new Map();
    this.slider = el("input", {
      type: "range", id: "threshold-slider", min: -ENDS, max: ENDS, step: "0.05", "aria-label": "Threshold", title: "Even in log-odds, as the scale above",
      oninput: () => this.#own(String(Number(shareOf(Number(this.slider.value)).toPrecision(4)))),
    });
    this.exact = el("input", {
      type: "number", id: "threshold", min: "0", max: "1", step: "any", inputmode: "decimal", onchange: () => this.#own(this.exact.value),
    });
    this.share = el("input", {
      type: "number", id: "prevalence", min: "0.01", max: "99.99", step: "any", inputmode: "decimal", title: "How many of the films you take: an assumption of yours", value: whole(this.store.prevalence * 100), oninput: () => this.#prevalence(),
    });
    this.meaning = el("div", { class: "meaning", id: "meaning", role: "region", "aria-label": "What it means" });
    this.node.replaceChildren(
      el("h2", { id: "operating-point-title" }, "Operating point"),
      ...Object.entries(GROUPS).map(([group, words]) => this.#chips(group, words, choices)).filter(Boolean),
      el("div", { class: "own" }, el("label", { for: "threshold" }, "Threshold"), this.exact, this.slider),
      el("p", { class: "prevalence" }, el("label", { for: "prevalence" }, "Of 100 films"), this.share, el("span", {}, "show pneumonia")),
      this.meaning,
    );
    this.render();
  }

  /** Draw what follows from the point and the prevalence. */
  render() {
    if (!this.chips) return;
    const { id, threshold } = this.store.point;
    for (const [name, input] of this.chips) input.checked = name === id;
    if (document.activeElement !== this.exact) this.exact.value = String(Number(threshold.toFixed(4)));
    this.exact.title = full(threshold);
    if (document.activeElement !== this.slider) this.slider.value = String(logOdds(threshold));
    this.slider.setAttribute("aria-valuetext", short(threshold));
    const { selected } = this.store;
    const holds = selected?.state !== "read" || ratesHold(selected);
    const key = `${threshold} ${this.store.prevalence} ${holds}`;
    if (this.drawn === key) return;
    this.drawn = key;
    this.meaning.replaceChildren(...meaningOf(this.store, holds));
  }

  #chips(group, words, choices) {
    const mine = choices.filter((choice) => choice.group === group);
    if (!mine.length) return null;
    return el("fieldset", { class: "chips" }, el("legend", {}, words), mine.map((choice) => this.#chip(choice)));
  }

  #chip(choice) {
    const input = el("input", {
      type: "radio", name: "point", value: choice.id, onchange: () => this.store.choose(choice.id, choice.threshold),
    });
    this.chips.set(choice.id, input);
    return el("label", { class: "chip", title: choice.hint }, input, el("span", {}, choice.text));
  }

  #own(text) {
    const value = Number(text);
    const legal = text.trim() !== "" && value >= 0 && value <= 1;
    this.exact.setAttribute("aria-invalid", String(!legal));
    if (!legal) return;
    const near = Number(this.store.point.threshold.toFixed(4)) === value;
    if (!near) this.store.choose("threshold", value);
  }

  #prevalence() {
    const value = Number(this.share.value) / 100;
    const legal = value > 0 && value < 1;
    this.share.setAttribute("aria-invalid", String(!legal));
    if (!legal) return;
    this.store.prevalence = value;
    this.store.changed();
  }
}

function meaningOf(store, holds) {
  const { model, prevalence } = store;
  const { threshold } = store.point;
  const band = unsureBand(model, threshold);
  const unsure = band ? `UNSURE from ${short(band[0])} to ${short(band[1])}.` : "No film is UNSURE by its probability: the model has no band here.";
  const head = el("p", { class: "soft" }, unsure);
  if (!holds) return [el("p", { class: "caution", id: "rates-of-others" }, RATES_OF_OTHERS), head];
  const rates = ratesAt(model, threshold);
  if (!rates) return [head, el("p", {}, noRates(model))];
  return [tableOf(consequences(rates, prevalence)), ...sentencesOf(rates, consequences(rates, prevalence)), head];
}

function noRates(model) {
  return curveOf(model).length
    ? "The model's records do not include this threshold."
    : "The model's rates are known at its own points only, not at this threshold.";
}

function tableOf(result) {
  const line = (name, part, kind) => {
    // No miss, or no alarm, among all films: the resampled interval has no width.
    const sure = part.low === null || part.low === part.high ? "" : `${count(part.low)} to ${count(part.high)}`;
    return el("tr", { "data-kind": kind }, el("th", { scope: "row" }, name), el("td", { class: "figure" }, count(part.value)), el("td", { class: "range" }, sure));
  };
  return el(
    "table",
    { class: "consequences" },
    el("caption", {}, `Of ${whole(result.films)} films, ${whole(result.ill)} with pneumonia`),
    el("thead", { class: "unseen-head" }, el("tr", {}, ["Films that are", "films", "95% interval"].map((name) => el("th", { scope: "col" }, name)))),
    el(
      "tbody",
      {},
      line("labelled PNEUMONIA", result.called, "called"),
      line("… correctly", result.found, "found"),
      line("… wrongly", result.alarms, "alarms"),
      line("pneumonia missed", result.missed, "missed"),
      result.unsure !== null && line("UNSURE, of all films", { value: result.unsure, low: null, high: null }, "unsure"),
    ),
  );
}

function sentencesOf(rates, result) {
  const sure = (part) => withInterval(part.value, part.low, part.high, (value) => percent(value));
  const films = rates.n ? ` (${whole(rates.n)} films, ${whole(rates.n_positive)} with pneumonia)` : "";
  return [
    el("p", { id: "worth" }, `Of films labelled PNEUMONIA, ${sure(result.ppv)} show it; of films labelled NORMAL, ${sure(result.npv)} do not.`),
    el("p", { class: "soft" }, "Counted as if no film were UNSURE."),
    el(
      "details",
      { class: "more" },
      el("summary", {}, "Where these rates come from"),
      el("p", {}, `Sensitivity ${percent(rates.recall)}, specificity ${percent(rates.specificity)}: ${rates.source}${films}.`),
    ),
    el("p", { class: "caution" }, "On films from another hospital the rates differ. The prevalence does not change the probabilities."),
  ];
}

/** Name the chosen point in words, for paper and exports. */
export function pointInWords(store) {
  const { id, threshold } = store.point;
  const choice = choicesOf(store.model).find((one) => one.id === id);
  const names = { miss: "misses at most 1 pneumonia in", alarm: "at most 1 false alarm in", own: "the model's own:" };
  return choice ? `${names[choice.group]} ${choice.text} (threshold ${short(threshold)})` : `threshold ${short(threshold)}, set by hand`;
}

