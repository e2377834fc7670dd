/** What is said in words. Nothing here touches the page. */

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
  UNSURE: "Too near the operating point, or a film unlike those the model knows: a person must decide.",
  NORMAL: "The probability is below the operating point. Other disease is not looked for.",
  NOT_A_CHEST_FILM: "The picture does not look like a frontal chest film; its probability means nothing.",
  REFUSED: "The file could not be read; the reason is told.",
};

const WARNINGS = {
  smaller_than_input: "The film has fewer pixels than the network looks at: fine detail is missing.",
  unusual_shape: "The film is far longer than wide, or wider than long: the chest is distorted for the network.",
  low_contrast: "The film has hardly any contrast.",
  model_of_synthetic_films: "This model was trained on synthetic films, not on patients: its answers are for trying out only.",
  far_from_training_films: "The film looks unlike the films the model was trained on: its probability deserves little trust.",
  near_threshold: "The probability is so near the operating point that the model is often wrong there.",
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
    return "The picture does not look like a frontal chest film, upright and not inverted. The probability means nothing here.";
  }
  return probability >= threshold
    ? `By its number it would be PNEUMONIA, but that number should not be relied on.`
    : `By its number it would be NORMAL, but that number should not be relied on.`;
}

export const HEATMAP_MEANS =
  "The colours show which places of the film raised the model's probability. They mean the same on every film.";
export const HEATMAP_MEANS_NOT =
  "They are coarse, do not outline a lesion or its extent, and do not prove a cause. A film without colour is not a film without disease.";

/** Write a probability or threshold with 4 decimals; the ends of the scale only where it is exactly there. */
export function short(value) {
  const text = value.toFixed(4);
  if (text === "1.0000" && value < 1) return "> 0.9999";
  if (text === "0.0000" && value > 0) return "< 0.0001";
  return text;
}

/** Write a probability or threshold in full. */
export const full = (value) => decimals(value, 6);

const COUNT = new Intl.NumberFormat("en-GB", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 2 });

/** Write a number of films with one decimal. */
export const count = (value) => COUNT.format(value);

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
