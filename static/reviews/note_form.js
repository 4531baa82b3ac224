// The note with which a person approves or rejects. What was written is kept until it is sent, also when
// the form is closed, the sending fails, or the session ends.

import { element, field, form } from "../elements.js";
import { reviews as texts } from "../texts.js";

const LENGTH_MAX = 2000;

const drafts = new Map();

// `onSend(note)` resolves once it is stored; `onClose()` is told that the form is gone.
export function noteForm({ id, outcome, onSend, onClose }) {
  const area = element("textarea", { name: "note", rows: "4", maxlength: LENGTH_MAX });
  area.value = drafts.get(id) ?? "";
  area.addEventListener("input", () => drafts.set(id, area.value));
  const note = field(texts.noteLabel, area, { help: texts.noteHelp });
  const close = () => {
    made.node.remove();
    onClose();
  };
  const submit = async () => {
    // The API takes one line.
    const text = area.value.trim().replace(/\s*\n\s*/g, " ");
    if (!text) {
      note.fail(texts.noteMissing);
      area.focus();
      return;
    }
    await onSend(text);
    drafts.delete(id);
    close();
  };
  const made = form({ note }, texts[outcome], submit, {
    kind: outcome === "approve" ? "primary" : "danger",
    extra: [element("button", { type: "button", on: { click: close } }, texts.cancel)],
    label: texts.noteTitle[outcome],
  });
  made.node.classList.add("note-form");
  made.node.prepend(element("h3", {}, texts.noteTitle[outcome]));
  made.node.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) made.node.requestSubmit();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return { node: made.node, focus: () => area.focus(), close };
}
