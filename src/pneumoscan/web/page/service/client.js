/** The program behind the page, asked over HTTP. Addresses are relative: the page talks to where it came from only. */

/** Why there is no answer about the film itself: `kind` is token, busy, stopping or unreachable. */
export class NoAnswer extends Error {
  constructor(kind, seconds = 0) {
    super(kind);
    this.kind = kind;
    this.seconds = seconds;
  }
}

/** A typed refusal: `{code, message, remedy}`. */
export class Refusal extends Error {
  constructor({ code, message, remedy }) {
    super(message);
    Object.assign(this, { code, remedy });
  }

  get problem() {
    return { code: this.code, message: this.message, remedy: this.remedy };
  }
}

// In this page's memory only: a reload asks again.
let token = "";

/** Use a token from now on. */
export function useToken(value) {
  token = value;
}

/** Ask for the model's description. */
export async function describeModel() {
  const answer = await ask("v1/model", {});
  return answer.json();
}

/** Ask what the hospital node has read; null if the program watches none. */
export async function describeNode() {
  const answer = await ask("v1/node", {});
  return (await answer.json()).node;
}

/** Ask for the films that the node has read, newest first, with their verdicts. */
export async function nodeFilms() {
  return (await (await ask("v1/node/verdicts", {})).json()).films;
}

/** Return the picture of one of them. */
export async function nodePicture(number) {
  return (await ask(`v1/node/pictures/${number}`, {})).blob();
}

/** Have a verdict on one of them kept. */
export async function addNodeVerdict(record) {
  await ask("v1/node/verdicts", { method: "POST", body: JSON.stringify(record), headers: { "Content-Type": "application/json" } });
}

/** Ask for all verdicts of the program's file: `{file, verdicts}`; `file` is null if it keeps none. */
export async function describeVerdicts() {
  return (await ask("v1/verdicts", {})).json();
}

/** Have a verdict kept. */
export async function addVerdict(record) {
  await ask("v1/verdicts", { method: "POST", body: JSON.stringify(record), headers: { "Content-Type": "application/json" } });
}

/** Tell whether the program answers and takes films. */
export async function isReady() {
  try {
    return (await fetch("readyz", { cache: "no-store", credentials: "omit" })).ok;
  } catch {
    return false;
  }
}

/**
 * Have a film read.
 *
 * @param {ArrayBuffer} bytes of the file
 * @param {string[]} include any of "heatmap", "picture", "lungs"
 * @returns {{row, heatmap: Blob|null, picture: Blob|null, lungs: object|null, regions: object|null}}
 */
export async function classify(bytes, include, signal) {
  const query = include.length ? `?include=${include.join(",")}` : "";
  const headers = { "Content-Type": mediaTypeOf(bytes) };
  const answer = await ask(`v1/classify${query}`, { method: "PUT", body: bytes, headers, signal });
  const { heatmap = null, picture = null, lungs = null, regions = null, ...row } = await answer.json();
  return { row, heatmap: blobOf(heatmap), picture: blobOf(picture), lungs, regions };
}

/** Return the result for a film as a PDF: `title` is its name on the page, `point` `{operating_point}` or `{threshold}`. */
export async function documentOf(bytes, title, point) {
  const headers = { "Content-Type": mediaTypeOf(bytes), "Pneumoscan-Title": encodeURIComponent(title.slice(-300).toWellFormed?.() ?? title.slice(-300)) };
  const answer = await ask(`v1/classify?${new URLSearchParams({ document: "pdf", ...point })}`, { method: "PUT", body: bytes, headers });
  return answer.blob();
}

/** Tell by its content what a file is: JPEG, PNG, DICOM, or "". */
export function formatOf(bytes) {
  const head = new Uint8Array(bytes, 0, Math.min(132, bytes.byteLength));
  const starts = (values, at = 0) => values.every((value, i) => head[at + i] === value);
  if (starts([0xff, 0xd8, 0xff])) return "JPEG";
  if (starts([0x89, 0x50, 0x4e, 0x47])) return "PNG";
  return starts([0x44, 0x49, 0x43, 0x4d], 128) ? "DICOM" : "";
}

function mediaTypeOf(bytes) {
  const types = { JPEG: "image/jpeg", PNG: "image/png", DICOM: "application/dicom" };
  return types[formatOf(bytes)] ?? "application/octet-stream";
}

async function ask(address, { headers = {}, ...options }) {
  const authorised = token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
  let answer;
  try {
    answer = await fetch(address, {
      ...options,
      headers: authorised,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new NoAnswer("unreachable");
  }
  if (answer.ok) return answer;
  throw await refusalOf(answer);
}

async function refusalOf(answer) {
  let body = {};
  try {
    body = (await answer.json()) ?? {};
  } catch (problem) {
    if (problem.name === "AbortError") return problem;
  }
  if (answer.status === 401) return new NoAnswer("token");
  if (answer.status === 503) {
    const seconds = Number(answer.headers.get("Retry-After")) || 1;
    return new NoAnswer(body.code === "http.stopping" ? "stopping" : "busy", Math.min(seconds, 60));
  }
  return new Refusal({
    code: String(body.code ?? `http.${answer.status}`),
    message: String(body.detail ?? body.title ?? `The program answered ${answer.status}.`),
    remedy: String(body.remedy ?? ""),
  });
}

function blobOf(part) {
  if (!part) return null;
  const text = atob(part.data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return new Blob([bytes], { type: part.media_type });
}
