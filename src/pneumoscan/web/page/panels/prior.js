/** The previous film of the same patient beside the one that is shown, where DICOM headers tell of one in the list. */

import { byId, el, setText } from "../dom.js";
import { hasNumber } from "../state/labels.js";
import { previousOf } from "../state/dicom.js";
import { LABELS, short } from "../state/text.js";
import { paint, plain } from "../viewport/greyscale.js";
import { pictureOf } from "../viewport/pictures.js";

const SIDE = 2000;

/** Connect the button; returns `render()`. */
export function beginPrior(store) {
  let on = false;
  let shown = null;
  const render = () => {
    const previous = previousOf(store.selected, store.films);
    byId("prior").hidden = !previous;
    byId("prior").setAttribute("aria-pressed", String(on));
    const wanted = on ? previous : null;
    byId("viewport").classList.toggle("with-prior", Boolean(wanted));
    byId("prior-film").hidden = !wanted;
    if (wanted && wanted === shown) setText(byId("prior-film").querySelector("figcaption"), captionOf(wanted));
    else show(wanted);
  };
  const show = async (film) => {
    shown = film;
    const place = byId("prior-film");
    place.replaceChildren();
    if (!film) return;
    const caption = el("figcaption", {}, captionOf(film));
    place.replaceChildren(el("div"), caption);
    const picture = await pictureOf(film);
    if (shown !== film || !picture) return;
    const canvas = paint(plain(picture), null, 1, SIDE);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", captionOf(film));
    place.replaceChildren(canvas, caption);
  };
  byId("prior").addEventListener("click", () => {
    on = !on;
    store.changed();
  });
  return render;
}

function captionOf(film) {
  const number = hasNumber(film) ? ` ${short(film.row.probability)}` : "";
  return `${film.header.date}: ${film.name}, ${LABELS[film.call.label]}${number}`;
}
