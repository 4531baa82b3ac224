// The keys of the queue. They must never act while a person types, or below a dialog.

import { definitions, dialog, element } from "../elements.js";
import { reviews as texts } from "../texts.js";

// `acts` has a function for each key. Keys without one do nothing.
export function listenToKeys(acts, signal) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }, { signal });
}

const isTyping = (target) => target.isContentEditable || target.closest?.("input, select, textarea") !== null;

export const showKeys = () => dialog(texts.keysTitle, (close) => [
  definitions(texts.keysOf.map(([key, words]) => [element("kbd", {}, key), words])),
  element("div", { class: "actions" }, element("button", { type: "button", on: { click: () => close() } }, texts.close)),
]);
