// Several of a few words, as check boxes in a group that takes errors like a field.

import { checkbox, element, newId } from "../elements.js";

// A choice is `[value, text]`.
export function choices(title, all, chosen, { help } = {}) {
  const boxes = all.map(([value, text]) => ({ value, ...checkbox(text, chosen.includes(value)) }));
  const failed = element("p", { class: "field-error", role: "alert", id: newId("error"), hidden: true });
  const node = element("fieldset", { "aria-describedby": failed.id }, element("legend", {}, title),
    help ? element("p", { class: "field-help" }, help) : null, ...boxes.map((box) => box.node), failed);
  const fail = (text) => {
    failed.textContent = text;
    failed.hidden = text === "";
  };
  return { node, fail, value: () => boxes.filter(({ control }) => control.checked).map(({ value }) => value) };
}

// Whether something is chosen. If nothing is, the group shows an error.
export function isChosen(group, missing) {
  const isAny = group.value().length > 0;
  group.fail(isAny ? "" : missing);
  return isAny;
}
