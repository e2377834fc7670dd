/** The keyboard: single keys where nobody types, and tabs as tabs are used. */

import { byId } from "../dom.js";

const TYPED = new Set(["text", "number", "password", "search"]);

/** Call the act of a key: `acts` by `event.key`; `acts.pan(dx, dy)` for shift with the arrows. */
export function listenForKeys(acts, isOn) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (document.querySelector("dialog[open]") || isTyping(event.target)) return;
    if (usesArrows(event) || !isOn(event.key)) return;
    if (event.shiftKey && ARROWS[event.key]) {
      event.preventDefault();
      acts.pan(...ARROWS[event.key]);
      return;
    }
    const act = acts.keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

const STEP = 60;
const ARROWS = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };

function isTyping(target) {
  return target.matches?.("textarea, select") || (target.matches?.("input") && TYPED.has(target.type));
}

/** Sliders, radio buttons and tabs have arrows, Home and End of their own. */
function usesArrows(event) {
  const moves = event.key.startsWith("Arrow") || ["Home", "End", "PageUp", "PageDown"].includes(event.key);
  const zooms = ["+", "-"].includes(event.key) && event.target.matches?.('input[type="range"]');
  return zooms || (moves && event.target.matches?.('input[type="range"], input[type="radio"], [role="tab"], .wide, pre, #panel-performance, #panel-node'));
}

/** Make the tabs work; `shown` receives the id of the tab. */
export function beginTabs(shown) {
  const tabs = [...document.querySelectorAll('[role="tab"]')];
  const choose = (tab, focus) => {
    for (const one of tabs) {
      one.setAttribute("aria-selected", String(one === tab));
      one.tabIndex = one === tab ? 0 : -1;
      byId(one.getAttribute("aria-controls")).hidden = one !== tab;
    }
    if (focus) tab.focus();
    shown(tab.id);
  };
  tabs.forEach((tab) => {
    tab.addEventListener("click", () => choose(tab, false));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step && event.key !== "Home" && event.key !== "End") return;
      event.preventDefault();
      const shown = tabs.filter((one) => !one.hidden);
      const next = step ? (shown.indexOf(tab) + step + shown.length) % shown.length : event.key === "Home" ? 0 : shown.length - 1;
      choose(shown[next], true);
    });
  });
}
