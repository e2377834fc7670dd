/** Everything that is said in words, and how numbers are written. Nothing here touches the page. */

import { decimals } from "./labels.js";

export const LABELS = {
  PNEUMONIA: "PNEUMONIA",
  UNSURE: "UNSURE",
  NORMAL: "NORMAL",
  NOT_A_CHEST_FILM: "NOT A CHEST FILM",
  REFUSED: "NOT READ",
  WAITING: "waiting",
};

export const MEANINGS = {
  PNEUMONIA: "The probability reaches the operating point.",
  UNSURE: "The probability is too near the operating point, or the film is unlike those that the model knows: a person must decide.",
  NORMAL: "The probability is below the operating point. Other disease is not looked for.",
  NOT_A_CHEST_FILM: "The picture is certainly no upright frontal chest film, so it has no probability.",
  REFUSED: "The file could not be read; the page says why.",
};

const WARNINGS = {
  smaller_than_input: "The film has fewer pixels than the network uses: fine detail is missing.",
  unusual_shape: "The film is much longer than wide, or much wider than long: the network sees a distorted chest.",
  low_contrast: "The film has hardly any contrast.",
  model_of_synthetic_films: "This model was trained on synthetic films, not on patients: use its results for trying the program only.",
  no_lungs: "No lungs were found in the picture.",
  one_lung: "Only one lung was found, or one is much smaller than the other.",
  lungs_cut: "The edge of the film cuts the lungs.",
  unusual_lungs: "The outline of the lungs is one that hardly any chest film has.",
  far_from_training_films: "The film looks unlike the films the model was trained on: do not rely on its probability.",
  near_threshold: "The probability is near the operating point, where the model is often wrong.",
};

/** Say a warning in a sentence. */
export function warningInWords(word) {
  return WARNINGS[word] ?? `The program warns: ${word.replaceAll("_", " ")}.`;
}

/** Say why the film has its label. */
export function reasonOf(call, probability, threshold) {
  const t = short(threshold);
  if (call.label === "PNEUMONIA") return `The model's probability reaches the operating point ${t}.`;
  if (call.label === "NORMAL") {
    return `The model's probability is below the operating point ${t}. It looks for pneumonia and for nothing else.`;
  }
  if (call.label === "NOT_A_CHEST_FILM") {
    return "The picture is no frontal chest film, or it is turned or inverted. There is no probability for it.";
  }
  return `The probability alone would mean ${probability >= threshold ? "PNEUMONIA" : "NORMAL"}, but it should not be relied on here.`;
}

export const HEATMAP_MEANS =
  "The colours show which parts of the film raised the probability. They mean the same on every film.";
export const HEATMAP_MEANS_NOT =
  "They are coarse: they do not outline a lesion and do not prove a cause. A film without colour may still show disease.";

/** Return whether a model sees nothing but the lungs, so that its heatmap lies in them. */
export function readsLungs(model) {
  return model?.preprocessing?.input === "lungs";
}

/** Say how far the colours of a model's heatmap can be relied on. */
export function heatmapCaution(model) {
  return readsLungs(model)
    ? "The model sees the lungs alone, so all colours lie around them. The strongest one is often, but not always, where a radiologist would mark an opacity."
    : "On most films with pneumonia the colours lie on the spine or the mediastinum, not on the disease. Do not look for the pneumonia where they are.";
}

/** Say what the regions of a film cover: the share of each lung field with evidence. */
export function regionsInWords({ right_lung_with_evidence: right, left_lung_with_evidence: left }) {
  const parts = [
    ["right", right],
    ["left", left],
  ].filter(([, share]) => share !== null);
  return parts.map(([side, share]) => `share of the ${side} lung field with evidence ${Math.round(100 * share)}%`).join(", ");
}

/** Begin a sentence with a text. */
export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export const REGIONS_MEAN = "Share of a lung field with evidence means the area inside the outlines of regions, and nothing more. A region is not the outline of a disease.";

export const RATES_OF_OTHERS =
  "This film resembles none of the films that the rates were measured on. They are not known for films like this one.";

/** Write a probability or threshold with 4 decimals; the ends of the scale only where it is exactly there. */
export function short(value) {
  const text = value.toFixed(4);
  if (text === "1.0000" && value < 1) return "> 0.9999";
  if (text === "0.0000" && value > 0) return "< 0.0001";
  return text;
}

/** Write a probability or threshold in full. */
export const full = (value) => decimals(value, 6);

const SMALL = new Intl.NumberFormat("en", { maximumSignificantDigits: 1 }); // else an interval would read 0.0 to 0.0
const COUNT = new Intl.NumberFormat("en-GB", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 2 });

/** Write a number of films with one decimal. */
export const count = (value) => (value > 0 && value < 0.05 ? SMALL : COUNT).format(value);

/** Write a number without needless decimals. */
export const whole = (value) => WHOLE.format(value);

/** Write a share as per cent. */
export function percent(value, digits = 1) {
  return `${(value * 100).toFixed(digits)}%`;
}

/** Write `value (low to high)`, each by `write`. */
export function withInterval(value, low, high, write) {
  if (value === null || value === undefined) return "not defined";
  const sure = low !== null && low !== undefined && high !== null && high !== undefined;
  return sure ? `${write(value)} (${write(low)} to ${write(high)})` : write(value);
}

/** Write "1 film", "2 films". */
export function films(number) {
  return `${WHOLE.format(number)} ${number === 1 ? "film" : "films"}`;
}

/** Say where films go. */
export function whereFilmsGo(host) {
  const here = host === "localhost" || host === "[::1]" || /^127\./.test(host);
  return here
    ? "Films are read by the program on this machine and never leave it."
    : `Films are sent to ${host}, where the program runs, and nowhere else.`;
}
