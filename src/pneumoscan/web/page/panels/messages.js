/** What the page says about itself: the banner, and announcements for screen readers. */

import { byId, setText } from "../dom.js";

const BANNERS = {
  unreachable: "The pneumoscan program does not answer. Films wait here and are read as soon as it is back.",
  stopping: "The pneumoscan program is stopping. Films wait here; start it again to go on.",
  token: "The program asks for a token. Films wait here until you give one.",
  busy: "The pneumoscan program is busy. Ask for the PDF again in a moment.",
  model: "The program now uses another model than when this page was loaded. Export what you need, then reload.",
};
const BUTTONS = { token: "Give the token", model: "Reload" };
const PAUSE = 4000;
let announcedAt = 0;

/** Show the banner of this name, or these words; "" hides it. */
export function showBanner(name, words = "") {
  byId("banner").hidden = !name && !words;
  byId("banner-retry").hidden = !name || name === "busy";
  setText(byId("banner-text"), words || (BANNERS[name] ?? ""));
  setText(byId("banner-retry"), BUTTONS[name] ?? "Try again now");
}

/** Tell screen readers; what is not `urgent` at most every few seconds. */
export function announce(words, urgent) {
  const now = performance.now();
  if (!urgent && now - announcedAt < PAUSE) return;
  announcedAt = now;
  setText(byId("live"), words);
}
