/** The film large: pan, zoom at the pointer, window and level, invert, and the heatmap over it. */

import { pictureOf } from "./picture.js";

const MOST_ZOOM = 16;
const STEP = 1.25;
const FULL_WINDOW = 255;
const MIDDLE = 127.5;

/** Draws on a canvas; tells by the event `view` that zoom, window or a switch changed, by `shown` that a film is there. */
export class Viewer extends EventTarget {
  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.toned = document.createElement("canvas");
    this.film = null;
    this.picture = null;
    this.heatmap = null;
    this.invert = false;
    this.heat = false;
    this.strength = 0.85;
    this.dragWindows = false;
    this.pointers = new Map();
    this.#resetWindow();
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.fitted = true;
    this.#listen();
  }

  /** Show a film that was read, fitted; null shows nothing. */
  async show(film) {
    if (film === this.film) return;
    this.film = film;
    this.picture = null;
    this.heatmap?.close();
    this.heatmap = null;
    this.#resetWindow();
    this.#draw();
    if (!film) return;
    const [picture, heatmap] = await Promise.all([pictureOf(film), heatmapOf(film)]);
    if (film !== this.film) {
      heatmap?.close();
      return;
    }
    this.picture = picture;
    this.heatmap = heatmap;
    if (picture) {
      this.toned.width = picture.width;
      this.toned.height = picture.height;
      this.#tone();
      this.fit();
    }
    this.dispatchEvent(new Event("shown"));
  }

  /** Show the whole film. */
  fit() {
    this.fitted = true;
    this.#place();
    this.#tell();
  }

  /** Show a pixel of the film as a pixel of the screen, around the middle. */
  actual() {
    this.#zoomTo(1 / this.#ratio(), ...this.#centre());
  }

  /** Zoom in (`steps` > 0) or out around a point of the canvas, by default its middle. */
  zoom(steps, x, y) {
    const [cx, cy] = x === undefined ? this.#centre() : [x, y];
    this.#zoomTo(this.scale * STEP ** steps, cx, cy);
  }

  /** Move the film by pixels of the canvas. */
  pan(dx, dy) {
    this.fitted = false;
    this.x += dx;
    this.y += dy;
    this.#keepInside();
    this.#tell();
  }

  /** Set window (2 to 510) and level (0 to 255) in grey values. */
  setWindow(width, level) {
    this.window = Math.min(510, Math.max(2, width));
    this.level = Math.min(255, Math.max(0, level));
    this.#tone();
    this.#tell();
  }

  setInvert(on) {
    this.invert = on;
    this.#tone();
    this.#tell();
  }

  setHeat(on) {
    this.heat = on;
    this.#tell();
  }

  setStrength(share) {
    this.strength = share;
    this.#tell();
  }

  /** Fit, full window, not inverted. The heatmap stays as it is. */
  reset() {
    this.#resetWindow();
    this.invert = false;
    this.#tone();
    this.fit();
  }

  /** Return zoom as a share: 1 where a pixel of the film is a pixel of the screen. */
  get zoomShare() {
    return this.scale * this.#ratio();
  }

  /** Draw film, or film and heatmap, on a new canvas whose longer side is at most `side`; null without a picture. */
  copy(side, { heat }) {
    if (!this.picture) return null;
    return paint(this.toned, heat ? this.heatmap : null, this.strength, side);
  }

  #resetWindow() {
    this.window = FULL_WINDOW;
    this.level = MIDDLE;
  }

  #ratio() {
    return globalThis.devicePixelRatio || 1;
  }

  #centre() {
    return [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2];
  }

  #place() {
    if (!this.picture) return;
    const { clientWidth, clientHeight } = this.canvas;
    this.scale = Math.min(clientWidth / this.picture.width, clientHeight / this.picture.height);
    this.x = (clientWidth - this.picture.width * this.scale) / 2;
    this.y = (clientHeight - this.picture.height * this.scale) / 2;
  }

  #zoomTo(scale, x, y) {
    if (!this.picture) return;
    const { clientWidth, clientHeight } = this.canvas;
    const least = Math.min(clientWidth / this.picture.width, clientHeight / this.picture.height) / 4;
    const wanted = Math.min(MOST_ZOOM, Math.max(least, scale));
    this.x = x - ((x - this.x) * wanted) / this.scale;
    this.y = y - ((y - this.y) * wanted) / this.scale;
    this.scale = wanted;
    this.fitted = false;
    this.#keepInside();
    this.#tell();
  }

  /** A quarter of the film, or of the window, always stays in sight. */
  #keepInside() {
    if (!this.picture) return;
    const inside = (at, size, room) => {
      const seen = Math.min(size, room) / 4;
      return Math.min(room - seen, Math.max(seen - size, at));
    };
    this.x = inside(this.x, this.picture.width * this.scale, this.canvas.clientWidth);
    this.y = inside(this.y, this.picture.height * this.scale, this.canvas.clientHeight);
  }

  #tone() {
    if (!this.picture) return;
    const { width, height, grey } = this.picture;
    const table = tableOf(this.window, this.level, this.invert);
    const context = this.toned.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < grey.length; i += 1) pixels[i] = table[grey[i]];
    context.putImageData(image, 0, 0);
  }

  #tell() {
    if (this.telling) return;
    this.telling = true;
    requestAnimationFrame(() => {
      this.telling = false;
      this.#draw();
      this.dispatchEvent(new Event("view"));
    });
  }

  #draw() {
    const { canvas, context } = this;
    const ratio = this.#ratio();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.picture) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.imageSmoothingEnabled = this.zoomShare < 3;
    context.imageSmoothingQuality = "high";
    const place = [this.x, this.y, this.picture.width * this.scale, this.picture.height * this.scale];
    context.drawImage(this.toned, ...place);
    if (!this.heat || !this.heatmap) return;
    context.imageSmoothingEnabled = true;
    context.globalAlpha = this.strength;
    context.drawImage(this.heatmap, ...place);
    context.globalAlpha = 1;
  }

  #resize() {
    const ratio = this.#ratio();
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.fitted) this.#place();
    else this.#keepInside();
    this.#draw();
    this.dispatchEvent(new Event("view"));
  }

  #listen() {
    const { canvas } = this;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", (event) => this.#toggleFit(event));
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.#up(event));
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const steps = Math.max(-3, Math.min(3, (-event.deltaY * lines) / (event.ctrlKey ? 20 : 100)));
    this.zoom(steps, event.offsetX, event.offsetY);
  }

  #toggleFit(event) {
    if (this.fitted) this.#zoomTo(1 / this.#ratio(), event.offsetX, event.offsetY);
    else this.fit();
  }

  #down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    const windows = event.button === 2 || (event.button === 0 && this.dragWindows);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, windows });
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
    if (this.pointers.size === 2) this.#pinch(event);
    else if (before.windows) this.setWindow(this.window + dx, this.level - dy / 2);
    else this.pan(dx, dy);
    Object.assign(before, { x: event.clientX, y: event.clientY });
  }

  #pinch(event) {
    const [first, second] = this.pointers.values();
    const moving = this.pointers.get(event.pointerId);
    const still = moving === first ? second : first;
    const length = (x, y) => Math.hypot(x - still.x, y - still.y) || 1;
    const box = this.canvas.getBoundingClientRect();
    this.pan((event.clientX - moving.x) / 2, (event.clientY - moving.y) / 2);
    const factor = length(event.clientX, event.clientY) / length(moving.x, moving.y);
    this.#zoomTo(this.scale * factor, (event.clientX + still.x) / 2 - box.left, (event.clientY + still.y) / 2 - box.top);
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
  }
}

/** Paint film and heatmap for paper. */
export function paint(film, heatmap, strength, side) {
  const factor = Math.min(1, side / Math.max(film.width, film.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(film.width * factor));
  canvas.height = Math.max(1, Math.round(film.height * factor));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(film, 0, 0, canvas.width, canvas.height);
  if (heatmap) {
    context.globalAlpha = strength;
    context.drawImage(heatmap, 0, 0, canvas.width, canvas.height);
  }
  return canvas;
}

/** Return the heatmap as a bitmap; null where the model has none. */
export async function heatmapOf(film) {
  try {
    return film.heatmap ? await createImageBitmap(film.heatmap) : null;
  } catch {
    return null;
  }
}

/** Return a canvas with a film at the full window. */
export function plain(picture) {
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(picture.width, picture.height);
  const pixels = new Uint32Array(image.data.buffer);
  const table = tableOf(FULL_WINDOW, MIDDLE, false);
  for (let i = 0; i < picture.grey.length; i += 1) pixels[i] = table[picture.grey[i]];
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Return what each grey value becomes: RGBA in one number, little-endian as all browsers' machines are. */
function tableOf(window, level, invert) {
  const table = new Uint32Array(256);
  const low = level - window / 2;
  for (let value = 0; value < 256; value += 1) {
    const shown = Math.round(Math.min(255, Math.max(0, ((value - low) / window) * 255)));
    const grey = invert ? 255 - shown : shown;
    table[value] = (0xff000000 | (grey << 16) | (grey << 8) | grey) >>> 0;
  }
  return table;
}
