/** Operating points in clinical terms, and what they mean in numbers of films. Nothing here touches the page. */

import { predictiveValues } from "./labels.js";

const MISSES = [10, 20, 50, 100, 200, 500];
const ALARMS = [10, 20, 50, 100];

/** Return the points of the model's operating curve, thresholds rising; empty where it brings no records. */
export function curveOf(model) {
  return model?.records?.operating_curve?.points ?? [];
}

/**
 * Return what can be chosen: `{id, group, text, hint, threshold}`. "Miss at most 1 in N" is the highest threshold that
 * does, "call wrongly at most 1 in N" the lowest, on the films that the curve was measured on.
 */
export function choicesOf(model) {
  return [...missChoices(model), ...alarmChoices(model), ...ownChoices(model)];
}

function missChoices(model) {
  const points = curveOf(model).filter((point) => point.threshold > 0);
  return MISSES.map((films) => {
    const found = points.findLast((point) => point.recall >= 1 - 1 / films - 1e-12);
    return found && choice("miss", films, found, `misses at most 1 pneumonia in ${films}`);
  }).filter(Boolean);
}

function alarmChoices(model) {
  const points = curveOf(model).filter((point) => point.threshold < 1);
  return ALARMS.map((films) => {
    const found = points.find((point) => point.specificity >= 1 - 1 / films - 1e-12);
    return found && choice("alarm", films, found, `gives at most 1 false alarm in ${films} films without pneumonia`);
  }).filter(Boolean);
}

function choice(group, films, point, what) {
  return { id: `${group}-${films}`, group, text: String(films), hint: `On the films it was measured on: ${what}`, threshold: point.threshold };
}

function ownChoices(model) {
  const first = model.default_operating_point;
  const names = [first, ...Object.keys(model.operating_points).filter((name) => name !== first)];
  return names.map((name) => ({
    id: `own-${name}`,
    group: "own",
    text: nameInWords(name),
    hint: `${name}: ${model.operating_points[name].source}`,
    threshold: model.operating_points[name].threshold,
  }));
}

/** Write the name of a point in words: `sensitivity_98` → "sensitivity 98%". */
export function nameInWords(name) {
  return name.replace(/_(\d+)$/, " $1%").replaceAll("_", " ").replace(/\bf1\b/, "F1");
}

/**
 * Return the rates at a threshold: of the named point that has it, else of the curve (between two of its points: in
 * proportion); null where the model tells none.
 */
export function ratesAt(model, threshold) {
  const named = Object.values(model.operating_points).find((point) => point.threshold === threshold && isRate(point));
  const points = curveOf(model);
  const above = points.findIndex((point) => point.threshold >= threshold);
  const same = above >= 0 && points[above].threshold === threshold ? points[above] : null;
  if (named) return ratesOf({ unsure_films: named.unsure_band?.films, ...same, ...named }, named);
  if (same) return ratesOf(same, model.records.operating_curve);
  if (above <= 0) return null;
  const [low, high] = [points[above - 1], points[above]];
  const share = (threshold - low.threshold) / (high.threshold - low.threshold);
  return ratesOf(between(low, high, share), model.records.operating_curve);
}

const isRate = (point) => typeof point.recall === "number" && typeof point.specificity === "number";

function ratesOf(point, measured) {
  return {
    recall: point.recall,
    specificity: point.specificity,
    recall_ci95: point.recall_ci95 ?? null,
    specificity_ci95: point.specificity_ci95 ?? null,
    unsure_films: point.unsure_films ?? null,
    unsure_pneumonia: point.unsure_pneumonia ?? null,
    unsure_normal: point.unsure_normal ?? null,
    source: measured.source ?? "",
    n: measured.n ?? null,
    n_positive: measured.n_positive ?? null,
  };
}

function between(low, high, share) {
  const mix = (a, b) => (typeof a === "number" && typeof b === "number" ? a + (b - a) * share : null);
  const ends = (a, b) => (a && b ? [mix(a[0], b[0]), mix(a[1], b[1])] : null);
  const rates = ["recall", "specificity", "unsure_films", "unsure_pneumonia", "unsure_normal"];
  return {
    ...Object.fromEntries(rates.map((name) => [name, mix(low[name], high[name])])),
    recall_ci95: ends(low.recall_ci95, high.recall_ci95),
    specificity_ci95: ends(low.specificity_ci95, high.specificity_ci95),
  };
}

/** Return the share of films that are UNSURE at a prevalence; among the films of the records where no more is told. */
export function unsureShare(rates, prevalence) {
  if (rates.unsure_pneumonia === null || rates.unsure_normal === null) return rates.unsure_films;
  return rates.unsure_pneumonia * prevalence + rates.unsure_normal * (1 - prevalence);
}

/** Return in how many films to count: so many that at least five are ill, 100 at least. */
export function filmsFor(prevalence) {
  let films = 100;
  while (films * prevalence < 5 && films < 1_000_000) films *= 10;
  return films;
}

/**
 * Return what rates mean at a prevalence, in numbers of `films` films: each `{value, low, high}`, with low and high null
 * where there is no interval. Both predictive values grow with both rates: the ends of the intervals give the ends.
 */
export function consequences(rates, prevalence) {
  const films = filmsFor(prevalence);
  const at = (recall, specificity) => predictiveValues(recall, specificity, prevalence);
  const middle = at(rates.recall, rates.specificity);
  const [r, s] = [rates.recall_ci95, rates.specificity_ci95];
  const least = r && s ? at(r[0], s[0]) : null;
  const most = r && s ? at(r[1], s[1]) : null;
  const unsure = unsureShare(rates, prevalence);
  const counted = (value, low, high) => ({
    value: value * films,
    low: least ? low * films : null,
    high: least ? high * films : null,
  });
  return {
    films,
    ill: films * prevalence,
    called: counted(middle.called, least && least.found + most.alarms, least && most.found + least.alarms),
    found: counted(middle.found, least?.found, most?.found),
    alarms: counted(middle.alarms, most?.alarms, least?.alarms),
    missed: counted(middle.missed, most?.missed, least?.missed),
    unsure: unsure === null ? null : unsure * films,
    ppv: { value: middle.ppv, low: least?.ppv ?? null, high: most?.ppv ?? null },
    npv: { value: middle.npv, low: least?.npv ?? null, high: most?.npv ?? null },
  };
}
