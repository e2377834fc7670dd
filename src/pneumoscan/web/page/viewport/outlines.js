/** Thin outlines over a film: its lungs, named R and L, and the regions of evidence in them. */

const LUNG = "rgb(255 214 64)";
const REGION = "rgb(94 234 255)";
const SHADE = "rgb(0 0 0 / 0.55)";

/** Return the regions that are shown for a film: none where its label is NORMAL, or the picture no chest film. */
export function regionsOf(film) {
  return ["PNEUMONIA", "UNSURE"].includes(film?.call?.label) ? (film.regions?.regions ?? []) : [];
}

/** Draw on a canvas: `place` is left, top, width, height of the film there; `lungs` and `regions` say what to draw. */
export function drawOutlines(context, film, place, { lungs, regions, line = 1 }) {
  context.save();
  context.lineJoin = "round";
  if (lungs && film.lungs) {
    film.lungs.outlines.forEach((outline) => trace(context, outline, place, LUNG, line));
    film.lungs.outlines.forEach((outline, i) => name(context, outline, place, film.lungs.sides?.[i], line));
  }
  if (regions) for (const region of regionsOf(film)) trace(context, region.outline, place, REGION, line * 1.5);
  context.restore();
}

function trace(context, outline, [left, top, width, height], colour, line) {
  context.beginPath();
  outline.forEach(([x, y], i) => context[i ? "lineTo" : "moveTo"](left + x * width, top + y * height));
  context.closePath();
  // A dark line below, so that the outline is seen on white too.
  context.strokeStyle = SHADE;
  context.lineWidth = line + 2;
  context.stroke();
  context.strokeStyle = colour;
  context.lineWidth = line;
  context.stroke();
}

/** Write R or L beside the upper outer part of a lung; the patient's right is on the left of the film. */
function name(context, outline, [left, top, width, height], side, line) {
  if (!side) return;
  const outer = side === "right" ? -1 : 1;
  const highest = Math.min(...outline.map(([, y]) => y));
  const lowest = Math.max(...outline.map(([, y]) => y));
  const upper = outline.filter(([, y]) => y <= highest + (lowest - highest) / 4);
  const x = Math.max(...upper.map(([at]) => outer * at)) * outer;
  const size = Math.max(11, Math.min(28, width / 28)) * Math.max(1, line / 1.5);
  const at = [left + x * width + outer * size * 0.9, top + (highest + (lowest - highest) / 8) * height];
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = size / 5;
  context.strokeStyle = SHADE;
  context.strokeText(side === "right" ? "R" : "L", ...at);
  context.fillStyle = LUNG;
  context.fillText(side === "right" ? "R" : "L", ...at);
}
