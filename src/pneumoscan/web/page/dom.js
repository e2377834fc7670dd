/** Elements made without a line of HTML text: what came from a file only ever becomes text. */

const SVG = "http://www.w3.org/2000/svg";

/** Make an element. `attributes`: `class`, any attribute, `on…` for a listener; children: nodes, text, or nothing. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Make an SVG element in the same way. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Return the element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/** Set text only where it differs, so that nothing is laid out, or read out, again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const SIGNS = {
  PNEUMONIA: ["M8 1.5 15 14H1z", true],
  UNSURE: ["M8 1 15 8 8 15 1 8z", false],
  NORMAL: ["M8 2a6 6 0 1 0 .01 0z", false],
  NOT_A_CHEST_FILM: ["M3 3l10 10M13 3 3 13", false],
  REFUSED: ["M8 2v7.5M8 12.5v1.2", false],
  WAITING: ["M3 8h.01M8 8h.01M13 8h.01", false],
};

/** Draw the shape that goes with a label: each has one of its own, so that colour is never needed. */
export function sign(label) {
  const [path, full] = SIGNS[label] ?? SIGNS.WAITING;
  const node = svg("svg", { viewBox: "0 0 16 16", class: "label-sign", "aria-hidden": "true", "data-label": label });
  node.append(svg("path", { d: path, class: full ? "full" : "line" }));
  return node;
}
