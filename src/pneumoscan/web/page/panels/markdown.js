/** The model card's Markdown as elements: headings, paragraphs, lists, tables, code. Links become text; nothing else is read. */

import { el } from "../dom.js";

/** Return the elements of a card; its headings begin at `level`. */
export function cardOf(text, level = 3) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    const kind = KINDS.find((one) => one.begins(lines[at], lines[at + 1]));
    const [block, next] = kind.take(lines, at, level);
    if (block) blocks.push(block);
    at = next;
  }
  return blocks;
}

const isItem = (line) => /^\s*([-*+]|\d+[.)])\s+/.test(line);
const isTable = (line, next) => /^\s*\|/.test(line ?? "") && /^\s*\|[\s:|-]+\|?\s*$/.test(next ?? "");
const isHeading = (line) => /^#{1,6}\s/.test(line);

const KINDS = [
  { begins: (line) => !line.trim(), take: (lines, at) => [null, at + 1] },
  { begins: isHeading, take: takeHeading },
  { begins: (line) => line.startsWith("```"), take: takeFence },
  { begins: (line) => /^( {4}|\t)/.test(line), take: takeIndented },
  { begins: isTable, take: takeTable },
  { begins: isItem, take: takeList },
  { begins: () => true, take: takeParagraph },
];

function takeHeading(lines, at, level) {
  const [, marks, text] = /^(#+)\s+(.*?)\s*#*$/.exec(lines[at]) ?? [null, "#", lines[at]];
  return [el(`h${Math.min(6, level + marks.length - 1)}`, {}, inline(text)), at + 1];
}

function takeFence(lines, at) {
  const end = lines.findIndex((line, i) => i > at && line.startsWith("```"));
  const last = end < 0 ? lines.length : end;
  return [code(lines.slice(at + 1, last)), last + 1];
}

function takeIndented(lines, at) {
  const last = until(lines, at, (line) => !/^( {4}|\t)/.test(line));
  return [code(lines.slice(at, last).map((line) => line.replace(/^( {4}|\t)/, ""))), last];
}

function takeTable(lines, at) {
  const last = until(lines, at, (line) => !/^\s*\|/.test(line));
  const [head, , ...body] = lines.slice(at, last).map(cellsOf);
  const table = el(
    "table",
    {},
    el("thead", {}, el("tr", {}, head.map((cell) => el("th", { scope: "col" }, inline(cell))))),
    el("tbody", {}, body.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, inline(cell)))))),
  );
  return [el("div", { class: "wide", role: "region", tabindex: "0", "aria-label": "Table of the model card" }, table), last];
}

function takeList(lines, at) {
  const last = until(lines, at, (line) => !line.trim() || isHeading(line));
  const items = [];
  for (const line of lines.slice(at, last)) {
    if (isItem(line)) items.push(line.replace(/^\s*([-*+]|\d+[.)])\s+/, ""));
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  return [el(/^\s*\d/.test(lines[at]) ? "ol" : "ul", {}, items.map((item) => el("li", {}, inline(item)))), last];
}

function takeParagraph(lines, at) {
  const ends = (line, next) => !line.trim() || isHeading(line) || isItem(line) || isTable(line, next);
  const last = until(lines, at + 1, (line, i) => ends(line, lines[i + 1]));
  return [el("p", {}, inline(lines.slice(at, last).join(" "))), last];
}

function until(lines, from, ends) {
  const found = lines.findIndex((line, i) => i >= from && ends(line, i));
  return found < 0 ? lines.length : found;
}

function code(lines) {
  return el("pre", { tabindex: "0", role: "region", "aria-label": "Code of the model card" }, el("code", {}, lines.join("\n")));
}

function cellsOf(line) {
  return line.trim().replace(/^\|/, "").replace(/\|$/, "").split("|").map((cell) => cell.trim());
}

/** Return the nodes of a line: code, bold, emphasis; a link is its text and its address, as text. */
function inline(text) {
  const parts = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|!?\[([^\]]*)\]\(([^)\s]*)[^)]*\)/g;
  const nodes = [];
  let last = 0;
  for (const found of text.matchAll(parts)) {
    nodes.push(text.slice(last, found.index));
    const [all, mono, strong, emphasis, words, address] = found;
    if (mono !== undefined) nodes.push(el("code", {}, mono));
    else if (strong !== undefined) nodes.push(el("strong", {}, strong));
    else if (emphasis !== undefined) nodes.push(el("em", {}, emphasis));
    else nodes.push(address && address !== words ? `${words} (${address})` : words);
    last = found.index + all.length;
  }
  nodes.push(text.slice(last));
  return nodes.filter((node) => node !== "");
}
