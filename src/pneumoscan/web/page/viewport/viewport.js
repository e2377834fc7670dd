/** The viewport: one film, with pan, zoom at the pointer, window and level, inversion, heatmap, outline of the lungs and regions over it. */

import { listenForGestures } from "./gestures.js";
import { FULL_WINDOW, MIDDLE, paint, toneInto } from "./greyscale.js";
import { drawOutlines } from "./outlines.js";
import { lengthInWords } from "../state/dicom.js";
import { heatmapOf, pictureOf } from "./pictures.js";

const MOST_ZOOM = 16;
const STEP = 1.25;

/** Draws on a canvas; tells by the event `view` that zoom, window or a switch changed, by `shown` that a film is there. */
export class Viewport extends EventTarget {
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
    this.outlined = true;
    this.regions = true;
    this.strength = 0.85;
    this.dragWindows = false;
    this.measuring = false;
    this.line = null;
    this.#resetWindow();
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.fitted = true;
    listenForGestures(this);
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  /** Show a film that was read, fitted; null shows nothing. */
  async show(film) {
    if (film === this.film) {
      // Regions belong to a label, which another threshold may change.
      if (film?.call?.label !== this.label) this.#tell();
      this.label = film?.call?.label;
      return;
    }
    this.film = film;
    this.label = film?.call?.label;
    this.picture = null;
    this.heatmap?.close();
    this.heatmap = null;
    this.line = null;
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

  /** Show a pixel of the film as a pixel of the screen, around a point of the canvas, by default its middle. */
  actual(x, y) {
    this.#zoomTo(1 / this.#ratio(), ...this.#pointOr(x, y));
  }

  /** Zoom in (`steps` > 0) or out around a point of the canvas, by default its middle. */
  zoom(steps, x, y) {
    this.magnify(STEP ** steps, x, y);
  }

  /** Zoom by a factor around a point of the canvas, by default its middle. */
  magnify(factor, x, y) {
    this.#zoomTo(this.scale * factor, ...this.#pointOr(x, y));
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

  /** Show or hide the outline of the lungs. */
  setOutlined(on) {
    this.outlined = on;
    this.#tell();
  }

  /** Show or hide the regions of evidence. */
  setRegions(on) {
    this.regions = on;
    this.#tell();
  }

  /** Let dragging measure, or not; what was measured goes. */
  setMeasuring(on) {
    this.measuring = on;
    this.line = null;
    this.#tell();
  }

  /** Begin a line at a point of the canvas, or lead it there. */
  measure(x, y, begins) {
    if (!this.picture) return;
    const at = [(x - this.x) / (this.picture.width * this.scale), (y - this.y) / (this.picture.height * this.scale)];
    this.line = [begins ? at : this.line[0], at];
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

  #pointOr(x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    return [x, y];
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
    const inside = (at, size, space) => {
      const seen = Math.min(size, space) / 4;
      return Math.min(space - seen, Math.max(seen - size, at));
    };
    this.x = inside(this.x, this.picture.width * this.scale, this.canvas.clientWidth);
    this.y = inside(this.y, this.picture.height * this.scale, this.canvas.clientHeight);
  }

  #tone() {
    if (this.picture) toneInto(this.toned, this.picture, this);
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
    if (this.heat && this.heatmap) {
      context.imageSmoothingEnabled = true;
      context.globalAlpha = this.strength;
      context.drawImage(this.heatmap, ...place);
      context.globalAlpha = 1;
    }
    if (this.film) drawOutlines(context, this.film, place, { lungs: this.outlined, regions: this.regions });
    if (this.line) this.#drawLine(...place);
  }

  #drawLine(left, top, width, height) {
    const { context } = this;
    const [[x, y], [toX, toY]] = this.line.map(([across, down]) => [left + across * width, top + down * height]);
    context.save();
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(toX, toY);
    context.lineWidth = 1.5;
    context.strokeStyle = "#7cff9b";
    context.stroke();
    context.font = "13px system-ui, sans-serif";
    context.lineWidth = 3;
    context.strokeStyle = "#000";
    context.fillStyle = "#7cff9b";
    const words = lengthInWords(this.film, this.line);
    const isRight = toX > this.canvas.clientWidth * 0.6;
    context.textAlign = isRight ? "right" : "left";
    const at = [toX + (isRight ? -8 : 8), toY - 8];
    context.strokeText(words, ...at);
    context.fillText(words, ...at);
    context.restore();
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
}
