/** Two graphs, drawn as SVG. */

import { svg } from "../dom.js";

const BOX = { left: 56, top: 16, right: 16, bottom: 46, width: 560, height: 380 };
const INNER = { width: BOX.width - BOX.left - BOX.right, height: BOX.height - BOX.top - BOX.bottom };

/**
 * Precision by recall, the chosen threshold marked.
 *
 * @param curve {recall, precision, threshold}, as long as each other
 * @param mark {recall, precision, words} or null
 * @param share of the films that are PNEUMONIA: what calling every film gives
 */
export function precisionRecall(curve, mark, share) {
  const low = Math.min(share ?? 1, ...curve.precision, mark?.precision ?? 1);
  const from = Math.max(0, Math.floor(low * 10) / 10);
  const y = scale(from, 1, BOX.top + INNER.height, BOX.top);
  const x = scale(0, 1, BOX.left, BOX.left + INNER.width);
  const points = curve.recall.map((recall, i) => [recall, curve.precision[i]]).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  const line = points.map(([recall, precision], i) => `${i ? "L" : "M"}${x(recall).toFixed(2)} ${y(precision).toFixed(2)}`).join("");
  const words = `Precision by recall. ${mark ? `At the operating point: ${mark.words}.` : ""}`;
  return svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${BOX.width} ${BOX.height}`, role: "img", "aria-label": words },
    axes(x, y, ticks(0, 1, 0.2), ticks(from, 1, from >= 0.7 ? 0.05 : 0.1), "recall: share of films with pneumonia that are found", "precision: share of PNEUMONIA labels that are right"),
    share && [
      svg("line", { class: "chart-base", x1: x(0), x2: x(1), y1: y(share), y2: y(share) }),
      svg("text", { class: "chart-word", x: x(0.01), y: y(share) - 6 }, `every film labelled PNEUMONIA: ${share.toFixed(3)}`),
    ],
    svg("path", { class: "chart-line", d: line }),
    mark && marked(x(mark.recall), y(mark.precision), mark.words),
  );
}

function marked(x, y, words) {
  const lines = words.split("; ");
  const right = x > BOX.width / 2;
  const at = { x: right ? x - 16 : x + 16, "text-anchor": right ? "end" : "start", class: "chart-mark-word" };
  return [
    svg("line", { class: "chart-guide", x1: x, x2: x, y1: y, y2: BOX.top + INNER.height }),
    svg("line", { class: "chart-guide", x1: BOX.left, x2: x, y1: y, y2: y }),
    svg("circle", { class: "chart-mark", cx: x, cy: y, r: 6 }),
    lines.map((line, i) => svg("text", { ...at, y: y + 34 + 16 * i }, line)),
  ];
}

/** Share of PNEUMONIA among films by the probability given by the model, with intervals; the diagonal is perfect. */
export function reliability(bins) {
  const x = scale(0, 1, BOX.left, BOX.left + INNER.width);
  const y = scale(0, 1, BOX.top + INNER.height, BOX.top);
  const words = bins.map((bin) => `${bin.mean_probability.toFixed(2)}: ${bin.share_positive.toFixed(2)}`).join(", ");
  return svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${BOX.width} ${BOX.height}`, role: "img", "aria-label": `Share of pneumonia by probability. ${words}.` },
    axes(x, y, ticks(0, 1, 0.2), ticks(0, 1, 0.2), "probability given by the model (mean of the bin)", "share of these films with pneumonia"),
    svg("line", { class: "chart-base", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }),
    svg("text", { class: "chart-word", x: x(0.63), y: y(0.42) }, "dashed: perfect calibration"),
    bins.map((bin) => {
      const cx = x(bin.mean_probability);
      return svg(
        "g",
        {},
        svg("title", {}, `${bin.low.toFixed(2)} to ${bin.high.toFixed(2)}: ${bin.n} films`),
        svg("line", { class: "chart-bar", x1: cx, x2: cx, y1: y(bin.ci95[0]), y2: y(bin.ci95[1]) }),
        [0, 1].map((end) => svg("line", { class: "chart-bar", x1: cx - 4, x2: cx + 4, y1: y(bin.ci95[end]), y2: y(bin.ci95[end]) })),
        svg("circle", { class: "chart-dot", cx, cy: y(bin.share_positive), r: 4.5 }),
      );
    }),
  );
}

function axes(x, y, xTicks, yTicks, xWords, yWords) {
  const [bottom, left] = [BOX.top + INNER.height, BOX.left];
  const middle = BOX.top + INNER.height / 2;
  return [
    xTicks.map((tick) => [
      svg("line", { class: "chart-grid", x1: x(tick), x2: x(tick), y1: BOX.top, y2: bottom }),
      svg("text", { class: "chart-tick", x: x(tick), y: bottom + 17, "text-anchor": "middle" }, tick.toFixed(1)),
    ]),
    yTicks.map((tick) => [
      svg("line", { class: "chart-grid", x1: left, x2: left + INNER.width, y1: y(tick), y2: y(tick) }),
      svg("text", { class: "chart-tick", x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, tick.toFixed(2)),
    ]),
    svg("text", { class: "chart-axis", x: left + INNER.width / 2, y: BOX.height - 6, "text-anchor": "middle" }, xWords),
    svg("text", { class: "chart-axis", x: 0, y: 0, transform: `translate(14 ${middle}) rotate(-90)`, "text-anchor": "middle" }, yWords),
  ];
}

const scale = (from, to, a, b) => (value) => a + ((value - from) / (to - from)) * (b - a);

function ticks(from, to, step) {
  const number = Math.round((to - from) / step);
  return Array.from({ length: number + 1 }, (_, i) => from + i * step);
}
