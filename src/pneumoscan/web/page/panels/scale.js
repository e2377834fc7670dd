/** The probability on its scale, with the operating point and the band in which films are UNSURE. */

import { svg } from "../dom.js";
import { placeOf } from "../state/labels.js";
import { short } from "../state/text.js";

const TICKS = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999];

/**
 * Draw the probability, the operating point and the band around it. The scale is even in log-odds: the band is as wide
 * everywhere, and 0.99 stands apart from 0.999.
 */
export function scaleOf(probability, threshold, band, label) {
  const [left, width] = [18, 284];
  const at = (share) => left + placeOf(share) * width;
  const cut = at(threshold);
  const words = `Scale from 0 to 1, even in log-odds: probability ${short(probability)}, operating point ${short(threshold)}${
    band ? `, unsure from ${short(band[0])} to ${short(band[1])}` : ""
  }.`;
  const anchor = cut < 80 ? "start" : cut > 240 ? "end" : "middle";
  return svg(
    "svg",
    { class: "scale", viewBox: "0 0 320 66", role: "img", "aria-label": words },
    svg("rect", { class: "scale-low", x: left, y: 27, width: cut - left, height: 10 }),
    svg("rect", { class: "scale-high", x: cut, y: 27, width: left + width - cut, height: 10 }),
    band && svg("rect", { class: "scale-band", x: at(band[0]), y: 27, width: Math.max(1, at(band[1]) - at(band[0])), height: 10 }),
    band && hatches(at(band[0]), at(band[1]), 27, 10),
    svg("line", { class: "scale-cut", x1: cut, x2: cut, y1: 19, y2: 41 }),
    svg("text", { class: "scale-word", x: anchor === "start" ? left : anchor === "end" ? left + width : cut, y: 13, "text-anchor": anchor }, `operating point ${short(threshold)}`),
    TICKS.map((tick) => svg("line", { class: "scale-step", x1: at(tick), x2: at(tick), y1: 37, y2: 41 })),
    TICKS.map((tick) => svg("text", { class: "scale-tick", x: at(tick), y: 63, "text-anchor": "middle" }, String(tick))),
    svg("path", { class: "scale-film", "data-label": label, d: `M${at(probability)} 35l6.5 13h-13z` }),
  );
}

function hatches(from, to, y, height) {
  let path = "";
  for (let x = Math.ceil(from / 5) * 5; x < to; x += 5) {
    const end = Math.min(x + 5, to);
    path += `M${x} ${y + height}L${end} ${y + height - ((end - x) / 5) * height}`;
  }
  return svg("path", { class: "scale-hatch", d: path });
}
