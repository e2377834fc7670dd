/** Films as grey pixels, and as thumbnails. Large pictures are kept for the film that is shown and its neighbours only. */

import { hasNumber } from "../state/labels.js";
import { pictureFromService } from "../service/queue.js";

const MOST_SIDE = 4096;
const KEPT = 3;
const THUMB = 96;
const kept = new Map();
let thumbs = Promise.resolve();

/** Return `{width, height, grey: Uint8ClampedArray}` of a film that was read; null if nothing can draw it. */
export function pictureOf(film) {
  const known = kept.get(film);
  if (known) {
    kept.delete(film);
    kept.set(film, known);
    return known;
  }
  const picture = load(film).catch(() => {
    kept.delete(film);
    return null;
  });
  kept.set(film, picture);
  for (const old of kept.keys()) if (kept.size > KEPT) kept.delete(old);
  return picture;
}

/** Forget all pictures. */
export function forgetPictures() {
  kept.clear();
}

/** Return the heatmap as a bitmap; null where the model has none, or the film none. */
export async function heatmapOf(film) {
  try {
    return film.heatmap && hasNumber(film) ? await createImageBitmap(film.heatmap) : null;
  } catch {
    return null;
  }
}

/** Draw a film's thumbnail, one after the other; returns a small canvas or null. */
export function thumbnailOf(film) {
  const drawn = thumbs.then(() => drawThumbnail(film)).catch(() => null);
  thumbs = drawn;
  return drawn;
}

async function load(film) {
  try {
    return greyOf(await decode(film.picture ?? film.file));
  } catch {
    // What this browser does not decode (a rare JPEG), the program paints.
    film.picture ??= await pictureFromService(film);
    return greyOf(await decode(film.picture));
  }
}

function decode(blob, options = {}) {
  return createImageBitmap(blob, { colorSpaceConversion: "none", ...options });
}

function greyOf(bitmap) {
  const factor = Math.min(1, MOST_SIDE / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * factor));
  const height = Math.max(1, Math.round(bitmap.height * factor));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: true });
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const grey = new Uint8ClampedArray(width * height);
  // The ITU-R 601-2 luma in whole numbers, as the program itself makes colour grey.
  for (let i = 0, at = 0; i < grey.length; i += 1, at += 4) {
    grey[i] = (data[at] * 19595 + data[at + 1] * 38470 + data[at + 2] * 7471 + 0x8000) >> 16;
  }
  return { width, height, grey };
}

async function drawThumbnail(film) {
  const bitmap = await decode(film.picture ?? film.file, { resizeWidth: 2 * THUMB, resizeQuality: "medium" });
  const canvas = document.createElement("canvas");
  canvas.width = THUMB;
  canvas.height = THUMB;
  const factor = Math.min(THUMB / bitmap.width, THUMB / bitmap.height);
  const [width, height] = [bitmap.width * factor, bitmap.height * factor];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (THUMB - width) / 2, (THUMB - height) / 2, width, height);
  bitmap.close();
  return canvas;
}
