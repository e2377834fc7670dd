/** A film's grey values on a canvas, by window and level; film and heatmap together for paper. */

export const FULL_WINDOW = 255;
export const MIDDLE = 127.5;

/** Draw a film's grey values into a canvas of its size, by `{window, level, invert}`. */
export function toneInto(canvas, { width, height, grey }, { window, level, invert }) {
  // Setting a size clears the canvas and takes new memory, even where it is the same.
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const table = tableOf(window, level, invert);
  for (let i = 0; i < grey.length; i += 1) pixels[i] = table[grey[i]];
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Return a canvas with a film at the full window. */
export function plain(picture) {
  return toneInto(document.createElement("canvas"), picture, { window: FULL_WINDOW, level: MIDDLE, invert: false });
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
