/**
 * The labels, by the rules of the Python package: `classifier.py`, `bundle/spec.py`, `predict/prevalence.py`.
 * Nothing here touches the page. A test holds every function to Python's over thousands of values.
 */

export const FAR = "far_from_training_films";
export const NEAR = "near_threshold";
/** Warnings about the lungs: they do not depend on the threshold, and each makes a film at least UNSURE. */
const ABOUT_LUNGS = ["no_lungs", "one_lung", "lungs_cut", "unusual_lungs"];
const NO_CHEST = "NOT_A_CHEST_FILM";
const FARTHEST = 40;

/** Return log(p / (1 - p)) of a probability in [0, 1], kept within ±40. */
export function logOdds(probability) {
  if (probability === 0 || probability === 1) return probability ? FARTHEST : -FARTHEST;
  return Math.log(probability) - Math.log1p(-probability);
}

/** Return the probability of log-odds. */
export function shareOf(value) {
  const small = Math.exp(-Math.abs(value));
  return value >= 0 ? 1 / (1 + small) : small / (1 + small);
}

/**
 * Return [low, high] between which films are UNSURE at a threshold; null if the model knows no band.
 * A point's band goes with its threshold; any other threshold gets the default point's, moved along in log-odds.
 */
export function unsureBand(model, threshold) {
  const first = model.operating_points[model.default_operating_point];
  for (const point of [first, ...Object.values(model.operating_points)]) {
    if (point.threshold === threshold && point.unsure_band) return [point.unsure_band.low, point.unsure_band.high];
  }
  if (!first.unsure_band || !(threshold > 0 && threshold < 1)) return null;
  const half = first.unsure_band.half_width;
  const middle = logOdds(threshold);
  return [shareOf(middle - half), shareOf(middle + half)];
}

/** The log-odds at which a scale or a slider ends: 0.0009 and 0.9991. */
export const ENDS = 7;

/** Return the place of a probability on a scale that is even in log-odds, from 0 to 1; what lies beyond is put at its end. */
export function placeOf(probability) {
  return (Math.min(ENDS, Math.max(-ENDS, logOdds(probability))) + ENDS) / (2 * ENDS);
}

/** Return why the model abstains: a label that takes the class's place ("" if none does) and warnings. */
export function abstention(model, probability, distance, threshold) {
  const guard = distance === null || distance === undefined ? null : model.guard;
  const band = unsureBand(model, threshold);
  const warnings = [];
  if (guard && distance >= guard.unusual) warnings.push(FAR);
  if (guard && distance >= guard.not_a_chest_film) return { label: NO_CHEST, warnings };
  if (band && band[0] <= probability && probability <= band[1]) warnings.push(NEAR);
  return { label: warnings.length ? "UNSURE" : "", warnings };
}

/** Call a film that was read, at a threshold: its label and all its warnings in their order. */
export function callOf(model, row, threshold) {
  const held = abstention(model, row.probability, row.distance, threshold);
  const called = model.class_names[Number(row.probability >= threshold)];
  const own = row.warnings.filter((word) => word !== FAR && word !== NEAR);
  const warnings = [...own, ...held.warnings];
  // The service tells by the lungs, too, that a picture is no chest film; no threshold changes that.
  if (row.label === NO_CHEST) return { label: NO_CHEST, warnings };
  const unsure = own.some((word) => ABOUT_LUNGS.includes(word)) ? "UNSURE" : "";
  return { label: held.label || unsure || called, warnings };
}

/** Return whether a film that was read has a number and a heatmap: what is no chest film has neither. */
export function hasNumber(film) {
  return film?.state === "read" && film.call.label !== NO_CHEST;
}

/** Return the warnings to show for a film that was read: those about its number only where there is one. */
export function warningsOf(film) {
  return film.call.warnings.filter((word) => hasNumber(film) || (word !== FAR && word !== NEAR));
}

/** Return whether the model's rates hold for a film that was read: it is like the films they were measured on. */
export function ratesHold(film) {
  return hasNumber(film) && !film.call.warnings.some((word) => word === FAR || ABOUT_LUNGS.includes(word));
}

/** Return the predictive values by Bayes' theorem, as shares of all films; `ppv`, `npv` are null where undefined. */
export function predictiveValues(sensitivity, specificity, prevalence) {
  const found = sensitivity * prevalence;
  const missed = (1 - sensitivity) * prevalence;
  const passed = specificity * (1 - prevalence);
  const alarms = (1 - specificity) * (1 - prevalence);
  return {
    ppv: found + alarms ? found / (found + alarms) : null,
    npv: passed + missed ? passed / (passed + missed) : null,
    called: found + alarms,
    found,
    alarms,
    missed,
  };
}

/** Write a float64 without exponent, with at least so many decimals and as many as it takes to read it again. */
export function decimals(value, least) {
  const [digits, exponent = "0"] = String(Math.abs(value)).split("e");
  const [whole, part = ""] = digits.split(".");
  const shift = Number(exponent);
  const all = whole + part;
  const point = whole.length + shift;
  const padded = point <= 0 ? "0".repeat(1 - point) + all : all.padEnd(point, "0");
  const at = Math.max(point, 1);
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  return `${sign}${padded.slice(0, at)}.${padded.slice(at).padEnd(least, "0")}`;
}
