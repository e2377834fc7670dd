/** Films go to the program, a few at once; what could not be asked waits and is asked again. */

import { headerOf } from "../state/dicom.js";
import { classify, formatOf, isReady, NoAnswer, Refusal } from "./client.js";

const AT_ONCE = 4;
// More than the program takes in any setting; such a file is not even brought into memory.
const MOST_BYTES = 256 * 1024 * 1024;
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 8000;

/**
 * The queue. Events: `state` when it pauses or goes on (`detail`: "", "token", "unreachable", "stopping"), `read` after
 * each film, `idle` when nothing is left to do.
 */
export class ReadQueue extends EventTarget {
  constructor(store) {
    super();
    this.store = store;
    this.running = new Map();
    this.notBefore = 0;
    this.paused = "";
    this.pause = FIRST_PAUSE;
  }

  /** Begin as many films as may be read at once. */
  pump() {
    if (this.paused || !this.store.model) return;
    const wait = this.notBefore - performance.now();
    if (wait > 0) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.pump(), wait);
      return;
    }
    for (const film of this.store.films) {
      if (this.running.size >= AT_ONCE) break;
      if (film.state === "waiting") this.#begin(film);
    }
    if (!this.running.size) this.dispatchEvent(new Event("idle"));
  }

  /** Stop: films not yet answered stay unread until `resume`. */
  cancel() {
    for (const film of this.store.films) if (film.state === "waiting" || film.state === "reading") film.state = "stopped";
    this.forget();
    this.store.changed();
  }

  /** Abort what is under way. */
  forget() {
    for (const controller of this.running.values()) controller.abort();
    this.running.clear();
    clearTimeout(this.timer);
    this.notBefore = 0;
  }

  /** Read on with the films that were stopped. */
  resume() {
    for (const film of this.store.films) if (film.state === "stopped") film.state = "waiting";
    this.store.changed();
    this.pump();
  }

  /** Read a refused film once more. */
  again(film) {
    film.state = "waiting";
    film.problem = null;
    this.store.changed();
    this.pump();
  }

  /** Pause until `go`; listeners receive `why`. */
  hold(why) {
    if (this.paused === why) return;
    this.paused = why;
    this.dispatchEvent(new CustomEvent("state", { detail: why }));
    if (why === "unreachable" || why === "stopping") this.#knock();
  }

  /** Go on after a pause. */
  go() {
    clearTimeout(this.knocking);
    this.pause = FIRST_PAUSE;
    if (this.paused) {
      this.paused = "";
      this.dispatchEvent(new CustomEvent("state", { detail: "" }));
    }
    this.pump();
  }

  /** Ask now whether the program is back. */
  async knockNow() {
    clearTimeout(this.knocking);
    if (await isReady()) this.go();
    else this.#knock();
  }

  #knock() {
    clearTimeout(this.knocking);
    this.knocking = setTimeout(() => this.knockNow(), this.pause);
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
  }

  async #begin(film) {
    const controller = new AbortController();
    this.running.set(film, controller);
    film.state = "reading";
    try {
      await this.#read(film, controller.signal);
      if (film.state === "read") this.dispatchEvent(new CustomEvent("read", { detail: film }));
    } catch (problem) {
      this.#failed(film, problem, controller.signal);
    } finally {
      if (this.running.get(film) === controller) this.running.delete(film);
      this.store.changed();
      this.pump();
    }
  }

  async #read(film, signal) {
    const bytes = await bytesOf(film);
    const hash = await sha256(bytes);
    if (signal.aborted || (hash && !this.store.isNew(film, hash))) return;
    film.format = formatOf(bytes);
    film.header = film.format === "DICOM" ? headerOf(bytes) : null;
    const include = ["heatmap", "lungs", ...(film.format === "DICOM" ? ["picture"] : [])];
    const answer = await classify(bytes, include, signal);
    if (signal.aborted || !this.store.isNew(film, answer.row.sha256)) return;
    this.store.read(film, answer);
  }

  #failed(film, problem, signal) {
    if (signal.aborted) return;
    if (problem instanceof NoAnswer) {
      film.state = "waiting";
      if (problem.kind === "busy") this.notBefore = performance.now() + problem.seconds * 1000;
      else this.hold(problem.kind);
      return;
    }
    const refusal = problem instanceof Refusal ? problem.problem : { code: "internal", message: String(problem), remedy: "" };
    this.store.refuse(film, refusal);
  }
}

/** Return a film's picture as the program sees it, for what this browser does not draw itself; null if there is none. */
export async function pictureFromService(film, signal) {
  const { picture } = await classify(await bytesOf(film), ["picture"], signal);
  return picture;
}

async function bytesOf(film) {
  if (film.file.size > MOST_BYTES) {
    const message = `The file has more than ${MOST_BYTES >> 20} MiB.`;
    throw new Refusal({ code: "film.too_large", message, remedy: "No film has so many." });
  }
  try {
    return await film.file.arrayBuffer();
  } catch {
    const message = "The browser cannot read the file: it was moved, changed or locked, or is a folder.";
    throw new Refusal({ code: "film.unreadable", message, remedy: "Add it again." });
  }
}

/** Return the SHA-256 in hexadecimal; "" where the browser has none to offer (no secure context): the program tells it too. */
async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return "";
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
