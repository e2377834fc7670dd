/** The tab "How good is it?": the model's own records, with the chosen operating point in them. */

import { byId, el } from "../dom.js";
import { precisionRecall, reliability } from "./charts.js";
import { nameInWords } from "../state/operating-curve.js";
import { short, whole } from "../state/text.js";

const VIEWS = { roc_auc: "area under ROC", accuracy: "accuracy", sensitivity: "sensitivity", specificity: "specificity" };

/** Build the tab once the model is known. */
export function beginPerformance(store) {
  const { model } = store;
  const { records } = model;
  byId("performance").replaceChildren(
    el("header", {}, el("h2", {}, "How good is it?"), el("p", { class: "lead" }, leadOf(model))),
    el("p", { class: "shown-to-work" }, model.shown_to_work),
    ...(records ? recorded(records, model.stress_views ?? {}) : [withoutRecords()]),
    pointsOf(model),
    el("section", { class: "card", "aria-labelledby": "card-title" }, el("h2", { id: "card-title" }, "The model card"), el("div", { class: "card-text" }, ...elementsOf(model.card ?? ""))),
  );
  renderPerformance(store);
}

/** Return the elements of the card, which the service has made from Markdown. A parsed document runs and loads nothing. */
function elementsOf(html) {
  return new DOMParser().parseFromString(html, "text/html").body.children;
}

/** Draw what goes with the operating point. */
export function renderPerformance(store) {
  const node = byId("curve");
  if (!node || node.dataset.threshold === String(store.point.threshold)) return;
  node.dataset.threshold = String(store.point.threshold);
  const { records } = store.model;
  const share = records.held_out.n_positive / records.held_out.n;
  node.replaceChildren(precisionRecall(records.precision_recall, markAt(store), share));
}

/** Return the point of the precision-recall curve that a threshold has: that of the next threshold at or above it. */
function markAt(store) {
  const { threshold, recall, precision } = store.model.records.precision_recall;
  const cut = store.point.threshold;
  const at = threshold.findIndex((value) => value >= cut);
  if (at < 0) return null;
  const words = `threshold ${short(cut)}; recall ${recall[at].toFixed(3)}; precision ${precision[at].toFixed(3)}`;
  return { recall: recall[at], precision: precision[at], words };
}

function leadOf(model) {
  const { training } = model;
  const learnt = training.n_films ? `It was trained on ${whole(training.n_films)} films${training.n_patients ? ` of ${whole(training.n_patients)} patients` : ""}. ` : "";
  const drawn = training.synthetic ? "These films are synthetic, not of patients. " : "";
  return `${model.name}, ${whole(model.parameters)} parameters. ${learnt}${drawn}On films from another hospital expect worse figures, and measure them before you rely on the model.`;
}

function withoutRecords() {
  return el(
    "section",
    { class: "no-records" },
    el("h2", {}, "No records"),
    el("p", {}, "This model has no records of its evaluation: there are no graphs, no stress table, and no operating points but its own."),
    el("p", {}, "A model exported with this release has them. To evaluate this one on films of your own, run:"),
    el("pre", {}, el("code", {}, "pneumoscan evaluate BUNDLE --data DIR --split test --out OUT")),
  );
}

function recorded(records, views) {
  const { held_out: held } = records;
  const patients = held.n_patients ? ` of ${whole(held.n_patients)} patients` : "";
  return [
    records.cautions.length &&
      el("section", { class: "cautions", "aria-labelledby": "cautions-title" }, el("h2", { id: "cautions-title" }, "Before you rely on these figures"), el("ul", {}, records.cautions.map((text) => el("li", {}, text)))),
    el(
      "section",
      { "aria-labelledby": "held-title" },
      el("h2", { id: "held-title" }, "On held-out films"),
      el("p", { class: "soft" }, `${held.source[0].toUpperCase()}${held.source.slice(1)}: ${whole(held.n)} films${patients}, ${whole(held.n_positive)} with pneumonia, at the threshold ${short(held.threshold)}. The 95% interval stands below each figure.`),
      el("div", { class: "cards" }, cardsOf(held)),
    ),
    el(
      "div",
      { class: "graphs" },
      el("figure", { class: "graph" }, el("figcaption", {}, el("h2", {}, "Precision and recall"), el("p", { class: "soft" }, "The mark shows the chosen operating point.")), el("div", { id: "curve" })),
      el("figure", { class: "graph" }, el("figcaption", {}, el("h2", {}, "Reliability"), el("p", { class: "soft" }, "Do 8 in 10 films with a probability of 0.8 have pneumonia? Bars are 95% intervals.")), reliability(records.reliability.bins)),
    ),
    records.stress ? stressOf(records.stress, views) : el("p", { class: "soft" }, "No stress test is recorded for this model."),
  ].filter(Boolean);
}

function cardsOf(held) {
  const { tp, fp, fn, tn } = held.confusion;
  const cards = [
    ["Area under ROC", held.roc_auc, held.roc_auc_ci95, "how well films with pneumonia are ranked above others"],
    ["Accuracy", held.accuracy, held.accuracy_ci95, `${whole(tp + tn)} of ${whole(held.n)} films labelled correctly`],
    ["Sensitivity", held.sensitivity, held.sensitivity_ci95, `${whole(tp)} of ${whole(tp + fn)} films with pneumonia found, ${whole(fn)} missed`],
    ["Specificity", held.specificity, held.specificity_ci95, `${whole(tn)} of ${whole(tn + fp)} other films labelled NORMAL, ${whole(fp)} wrongly PNEUMONIA`],
    ["Precision", held.precision, held.precision_ci95, "at the share of pneumonia among these films"],
    ["Calibration error", held.expected_calibration_error, null, `Brier score ${held.brier_score.toFixed(3)}`],
  ];
  return cards.map(([name, value, sure, note]) =>
    el(
      "div",
      { class: "figure-card" },
      el("h3", {}, name),
      el("p", { class: "figure" }, value.toFixed(3)),
      el("p", { class: "interval" }, sure ? `${sure[0].toFixed(3)} to ${sure[1].toFixed(3)}` : "\u00a0"),
      el("p", { class: "soft" }, note),
    ),
  );
}

function stressOf(stress, views) {
  const named = (name) => views[name] ?? name.replaceAll("_", " ");
  const row = (name, part, kind) =>
    el("tr", { class: kind }, el("th", { scope: "row" }, name), Object.keys(VIEWS).map((key) => el("td", {}, cell(part[key], key === "roc_auc" ? part.roc_auc_ci95 : null))));
  const worst = (part) => (part ? `${part.value.toFixed(3)} (${named(part.perturbation)})` : "not defined");
  return el(
    "section",
    { "aria-labelledby": "stress-title" },
    el("h2", { id: "stress-title" }, "Under stress"),
    el("p", { class: "soft" }, `The same films with the defects that films have in practice, at the threshold ${short(stress.threshold)}.`),
    el(
      "div",
      { class: "wide", role: "region", tabindex: "0", "aria-label": "Stress table" },
      el(
        "table",
        { class: "stress" },
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "films"), Object.values(VIEWS).map((name) => el("th", { scope: "col" }, name)))),
        el(
          "tbody",
          {},
          row("as they are", stress.plain, "plain"),
          stress.table.map((part) => row(named(part.perturbation), part, "")),
          row("mean over the defects", stress.mean, "sum"),
          el("tr", { class: "sum" }, el("th", { scope: "row" }, "worst in each column"), Object.keys(VIEWS).map((key) => el("td", {}, worst(stress.worst[key])))),
        ),
      ),
    ),
  );
}

function cell(value, sure) {
  if (value === null || value === undefined) return "not defined";
  return sure ? `${value.toFixed(3)} (${sure[0].toFixed(3)} to ${sure[1].toFixed(3)})` : value.toFixed(3);
}

function pointsOf(model) {
  const names = Object.keys(model.operating_points);
  const orUnknown = (value, sure) => (typeof value === "number" ? cell(value, sure) : "not known");
  return el(
    "section",
    { "aria-labelledby": "points-title" },
    el("h2", { id: "points-title" }, "The model's own operating points"),
    el(
      "div",
      { class: "wide", role: "region", tabindex: "0", "aria-label": "Operating points" },
      el(
        "table",
        { class: "points" },
        el("thead", {}, el("tr", {}, ["point", "threshold", "sensitivity", "specificity", "unsure band", "how it was chosen"].map((name) => el("th", { scope: "col" }, name)))),
        el(
          "tbody",
          {},
          names.map((name) => {
            const point = model.operating_points[name];
            const band = point.unsure_band ? `${short(point.unsure_band.low)} to ${short(point.unsure_band.high)}` : "none";
            return el(
              "tr",
              {},
              el("th", { scope: "row" }, nameInWords(name), name === model.default_operating_point ? " (default)" : ""),
              [short(point.threshold), orUnknown(point.recall, point.recall_ci95), orUnknown(point.specificity, point.specificity_ci95), band, point.source ?? ""].map((text) => el("td", {}, text)),
            );
          }),
        ),
      ),
    ),
    el("p", { class: "soft" }, model.guard ? `A film is UNSURE at a distance of ${model.guard.unusual.toFixed(3)} or more from the training films, and NOT A CHEST FILM from ${model.guard.not_a_chest_film.toFixed(3)} on.` : "This model does not measure how far a film is from its training films."),
  );
}
