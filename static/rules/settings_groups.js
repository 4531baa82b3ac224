// Controls for settings that contain others: objects, lists, and choices that have settings of
// their own. A list keeps the controls of its items when they are moved, and so what was typed.

import { makeMovable } from "./order.js";
import { canShow, fits, isObject } from "./schema.js";
import {
  booleanControl, constantControl, errorLine, jsonControl, labelOf, numberControl, optionsSelect, selectControl,
  setControl, tell, textControl,
} from "./settings_controls.js";
import { nameInWords } from "./units.js";
import { element, newId } from "../elements.js";
import { rules as texts } from "../texts.js";

// The control of a field. `context` has `currency()`, of the amounts at this place, and
// `suggestions` for names.
export function controlOf(field, value, context) {
  const isEmpty = value === undefined || (value === null && field.nullable);
  if (!isEmpty && !canShow(field, value)) return jsonControl(field, value);
  switch (field.kind) {
    case "object": return field.required === false ? optionalObject(field, value, context) : objectControl(field, value, context);
    case "list": return listControl(field, value, context);
    case "set": return setControl(field, value ?? undefined);
    case "choice": return field.options.some((option) => option.field) ? variantControl(field, value, context) : selectControl(field, value);
    case "boolean": return booleanControl(field, value);
    case "integer":
    case "number": return numberControl(field, value, context);
    case "text": return textControl(field, value, context);
    case "constant": return constantControl(field, value);
    default: return jsonControl(field, value);
  }
}

const escaped = (name) => String(name).replace(/~/g, "~0").replace(/\//g, "~1");

// Without a frame, only the controls of its members stand there.
export function objectControl(field, value, context, { isFramed = true } = {}) {
  const original = isObject(value) ? value : {};
  const error = errorLine();
  const controls = new Map();
  const hasCurrency = field.members.some((member) => member.name === "currency");
  const inner = hasCurrency ? { ...context, currency: () => controls.get("currency")?.currency?.() ?? original.currency } : context;
  for (const member of currencyFirst(field.members)) controls.set(member.name, controlOf(member, original[member.name], inner));
  const unknown = Object.keys(original).filter((name) => !controls.has(name));
  const nodes = [
    ...field.members.map((member) => controls.get(member.name).node),
    unknown.length ? element("p", { class: "field-help" }, texts.alsoSet(unknown.join(", "))) : null,
    error.node,
  ];
  const node = isFramed ? framed(field, nodes) : element("div", { class: "fields" }, ...nodes);
  const currencyNode = hasCurrency ? controls.get("currency").node : null;
  currencyNode?.addEventListener("input", () => currencyChanged());
  const currencyChanged = () => controls.forEach((control) => control.currencyChanged?.());
  // Members keep the order in which they were written. New ones follow.
  const read = (pointer, problems) => {
    if (problems) error.show("");
    const names = [...Object.keys(original), ...[...controls.keys()].filter((name) => !Object.hasOwn(original, name))];
    const entries = names.map((name) => {
      const control = controls.get(name);
      return [name, control ? control.read(`${pointer}/${escaped(name)}`, problems) : original[name]];
    });
    return Object.fromEntries(entries.filter(([, member]) => member !== undefined));
  };
  const focus = () => controls.values().next().value?.focus();
  const find = ([name, ...rest]) => controls.get(name)?.find(rest) ?? { fail: error.show, focus };
  return { node, read, fail: error.show, find, focus, currencyChanged: hasCurrency ? undefined : currencyChanged };
}

// Amounts ask for the currency when they are made.
const currencyFirst = (members) => [...members].sort((a, b) => (b.name === "currency") - (a.name === "currency"));

function framed(field, nodes) {
  const help = field.help ? element("p", { class: "field-help" }, field.help) : null;
  return element("fieldset", { class: "group" }, element("legend", {}, labelOf(field)), help, ...nodes);
}

// An object that may be left out.
function optionalObject(field, value, context) {
  let control = null;
  const place = element("div", { class: "fields" });
  const box = element("input", { type: "checkbox", id: newId("present"), checked: isObject(value) });
  const update = () => {
    control = box.checked ? objectControl({ ...field, required: true }, isObject(value) ? value : undefined, context, { isFramed: false }) : null;
    place.replaceChildren(...(control ? [control.node] : []));
  };
  box.addEventListener("change", update);
  update();
  const node = element("fieldset", { class: "group" },
    element("legend", {}, box, " ", element("label", { for: box.id }, labelOf(field))),
    field.help ? element("p", { class: "field-help" }, field.help) : null, place);
  const left = () => (isObject(value) ? undefined : value);
  const read = (pointer, problems) => (control ? control.read(pointer, problems) : left());
  const focus = () => box.focus();
  const fail = (text) => control?.fail(text);
  return { node, read, fail, focus, find: (rest) => control?.find(rest) ?? { fail, focus }, currencyChanged: () => control?.currencyChanged?.() };
}

// A choice of which an option has settings of its own.
function variantControl(field, value, context) {
  const chosen = value === undefined || value === null ? -1 : field.options.findIndex((option) => fits(option, value));
  const select = optionsSelect(field, chosen);
  select.id = newId("choice");
  const error = errorLine();
  select.setAttribute("aria-describedby", error.node.id);
  const place = element("div", { class: "fields" });
  const about = element("p", { class: "field-help", "aria-live": "polite" });
  let control = null;
  let isTouched = false;
  const update = () => {
    const option = field.options[select.value];
    const own = option && Number(select.value) === chosen ? value : undefined;
    control = option?.field ? controlOf({ ...option.field, required: true }, own, context) : null;
    about.textContent = option?.help ?? "";
    place.replaceChildren(...(control ? [control.node] : []));
  };
  select.addEventListener("change", () => {
    isTouched = true;
    error.show("");
    update();
  });
  update();
  const node = element("div", { class: "field" },
    element("label", { for: select.id }, labelOf(field), field.required ? " *" : ""), select, about,
    field.help ? element("p", { class: "field-help" }, field.help) : null, place, error.node);
  const read = (pointer, problems) => {
    if (control) return control.read(pointer, problems);
    if (!isTouched && (value !== undefined || !field.required)) return value;
    const option = field.options[select.value];
    tell(option || !field.required ? "" : texts.isRequired, pointer, problems, error.show);
    return option?.value;
  };
  const focus = () => select.focus();
  const find = (rest) => (control && rest.length ? control.find(rest) : { fail: error.show, focus });
  return { node, read, fail: error.show, find, focus };
}

function listControl(field, value, context) {
  const error = errorLine();
  const items = element("ol", { class: "items" });
  const controls = new Map();
  const said = element("span", { class: "visually-hidden", "aria-live": "polite" });
  const name = nameInWords(field.item.name || "") || texts.entry;
  let isTouched = false;
  const changed = () => {
    isTouched = true;
    renumber();
    items.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const renumber = () => [...items.children].forEach((item, place) => {
    item.querySelector(".item-title").textContent = texts.item(name, place + 1, "");
    item.querySelector(".handle").setAttribute("aria-label", texts.moveItem(name, place + 1, items.children.length));
    item.querySelector(".remove").setAttribute("aria-label", texts.removeItem(name, place + 1));
  });
  const addButton = element("button", { type: "button", class: "quiet-button" }, texts.addItem(name));
  const add = (itemValue) => {
    const inner = { ...field.item, required: true, name: field.item.kind === "object" ? field.item.name : "" };
    const control = field.item.kind === "object" && (itemValue === undefined || isObject(itemValue))
      ? objectControl(inner, itemValue, context, { isFramed: false })
      : controlOf(inner, itemValue, context);
    const item = itemOf(control, () => {
      const place = [...items.children].indexOf(item);
      item.remove();
      controls.delete(item);
      changed();
      (items.children[Math.min(place, items.children.length - 1)]?.querySelector(".remove") ?? addButton).focus();
    });
    controls.set(item, control);
    items.append(item);
    return control;
  };
  addButton.addEventListener("click", () => {
    const control = add(undefined);
    changed();
    control.focus();
  });
  for (const itemValue of value ?? []) add(itemValue);
  renumber();
  makeMovable(items, (item) => item.querySelector(".handle"), (from, to) => {
    changed();
    said.textContent = texts.itemMoved(name, from + 1, to + 1);
  });
  const node = element("fieldset", { class: "group" },
    element("legend", {}, labelOf(field), field.required ? " *" : ""),
    field.help ? element("p", { class: "field-help" }, field.help) : null,
    items, addButton, said, error.node);
  const ordered = () => [...items.children].map((item) => controls.get(item));
  const read = (pointer, problems) => {
    const list = ordered();
    if (list.length === 0 && !isTouched && (value !== undefined || !field.required)) return value;
    tell(countError(field, list.length), pointer, problems, error.show);
    return list.map((control, place) => control.read(`${pointer}/${place}`, problems) ?? null);
  };
  const focus = () => addButton.focus();
  const find = ([place, ...rest]) => ordered()[place]?.find(rest) ?? { fail: error.show, focus };
  const currencyChanged = () => controls.forEach((control) => control.currencyChanged?.());
  return { node, read, fail: error.show, find, focus, currencyChanged };
}

function countError({ itemsMin, itemsMax }, count) {
  if (count < itemsMin) return texts.itemsAtLeast(itemsMin);
  return count > itemsMax ? texts.itemsAtMost(itemsMax) : "";
}

function itemOf(control, remove) {
  const handle = element("button", { type: "button", class: "handle" }, element("span", { "aria-hidden": "true" }, "⠿"));
  const removeButton = element("button", { type: "button", class: "remove quiet-button" }, element("span", { "aria-hidden": "true" }, "×"));
  removeButton.addEventListener("click", remove);
  return element("li", { class: "item" },
    element("div", { class: "item-head" }, handle, element("span", { class: "item-title" }), removeButton), control.node);
}
