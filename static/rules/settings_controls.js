// Controls for single settings: numbers, amounts, texts, choices of words, sets and raw JSON.
//
// A control is `{ node, read, fail, find, focus }`. `read(pointer, problems)` gives the value, or
// undefined for a setting that is not set, and adds what is wrong; without `problems` it says nothing.
// What nobody touched must be read as it was.

import { exponentOf, isCurrencyCode, majorUnits, minorUnits, plainNumber, wholeNumber, decimalNumber } from "./amounts.js";
import { readJson } from "./json_text.js";
import { capitalised, durationUnits, inUnit, nameInWords, readableDuration } from "./units.js";
import { valueInWords } from "./words.js";
import { element, input as anyInput, newId } from "../elements.js";
import { rules as texts } from "../texts.js";

// A button that is pressed when a control is left must not move away from under the pointer.
const ERROR_PAUSE_MS = 250;

export const labelOf = (field) => field.title || capitalised(nameInWords(field.name || "")) || texts.value;

// The line below a control that says what is wrong with it.
export function errorLine() {
  const node = element("p", { class: "field-error", id: newId("error"), role: "alert", hidden: true });
  const show = (text) => {
    node.textContent = text;
    node.hidden = text === "";
  };
  return { node, show };
}

// Shows what is wrong, and adds it to the problems. Without these, nothing is said: a person who
// still types must not be told what is missing.
export function tell(error, pointer, problems, show) {
  if (!problems) return;
  show(error ?? "");
  if (error) problems.push({ pointer, detail: error });
}

// Lays out an input with label, help and error, and makes a control of it. `parse` gives `{value}`,
// `{error}` or, for an empty input, `{}`.
function control(field, original, { input, parts = [input], parse, help = "", isSame = () => true }) {
  const error = errorLine();
  const words = [field.help, help].filter(Boolean).join(" ");
  const helpNode = words ? element("p", { class: "field-help", id: newId("help") }, words) : null;
  let isTouched = false;
  input.id ||= newId(field.kind);
  input.setAttribute("aria-describedby", [error.node.id, helpNode?.id].filter(Boolean).join(" "));
  if (field.required) input.setAttribute("aria-required", "true");
  const fail = (text) => {
    error.show(text);
    input.toggleAttribute("aria-invalid", text !== "");
    if (text) input.setAttribute("aria-invalid", "true");
  };
  const value = () => {
    if (!isTouched && isSame() && (original !== undefined || !field.required)) return { value: original };
    const parsed = parse();
    if (parsed.error !== undefined || parsed.value !== undefined || !field.required) return parsed;
    return field.nullable ? { value: null } : { error: texts.isRequired };
  };
  const node = element("div", { class: "field" },
    element("label", { for: input.id }, labelOf(field), field.required ? element("span", { class: "required", "aria-hidden": "true" }, " *") : null),
    element("div", { class: "field-parts" }, ...parts), helpNode, error.node);
  node.addEventListener("input", () => {
    isTouched = true;
    if (!value().error) fail("");
  });
  node.addEventListener("change", () => {
    isTouched = true;
    setTimeout(() => fail(value().error ?? ""), ERROR_PAUSE_MS);
  });
  const read = (pointer, problems) => {
    const parsed = value();
    tell(parsed.error, pointer, problems, fail);
    return parsed.value;
  };
  return { node, read, fail, find: () => ({ fail, focus: () => input.focus() }), focus: () => input.focus() };
}

const textInput = (value, attributes = {}) =>
  anyInput({ spellcheck: "false", value: value ?? "", ...attributes });

export function textControl(field, value, context) {
  const suggested = context.suggestions?.[field.name] ?? [];
  const list = suggested.length
    ? element("datalist", { id: newId("suggestions") }, ...suggested.map((word) => element("option", { value: word })))
    : null;
  const limit = Number.isFinite(field.lengthMax) ? { maxlength: String(field.lengthMax) } : {};
  const narrow = field.isCurrency ? { class: "short", maxlength: "3" } : {};
  const input = textInput(value, { ...limit, ...narrow, ...(list ? { list: list.id } : {}) });
  if (field.isCurrency) input.addEventListener("change", () => { input.value = input.value.trim().toUpperCase(); });
  const parse = () => {
    if (input.value === "" && field.lengthMin === 0 && field.pattern?.test("") !== true) return {};
    return { value: input.value, ...textError(field, input.value) };
  };
  const made = control(field, value, { input, parts: [input, list], parse, help: fallbackHelp(field) });
  return { ...made, currency: () => input.value.trim().toUpperCase() };
}

function textError(field, text) {
  const length = [...text].length;
  if (length < field.lengthMin) return { error: texts.tooShort(field.lengthMin) };
  if (length > field.lengthMax) return { error: texts.tooLong(field.lengthMax) };
  if (field.pattern && !field.pattern.test(text)) {
    return { error: field.isCurrency ? texts.notACurrency : texts.notThePattern(field.pattern.source) };
  }
  return {};
}

const fallbackHelp = (field, around = {}) => {
  if (field.fallback === undefined || field.fallback === null || field.required) return "";
  const { text, unit } = valueInWords({ ...field, fallback: undefined }, field.fallback, around);
  return texts.defaultIs(unit ? `${text} ${unit}` : text);
};

export function numberControl(field, value, context) {
  if (field.unit === "money") return moneyControl(field, value, context);
  const units = durationUnits(field.unit);
  if (units.length) return durationControl(field, value, units);
  const input = textInput(value === undefined || value === null ? "" : plainNumber(value), { inputmode: "decimal", class: "number" });
  const parse = () => {
    if (input.value.trim() === "") return {};
    const parsed = field.kind === "integer" ? wholeNumber(input.value) : decimalNumber(input.value);
    return parsed.error ? { error: texts[parsed.error] } : bounded(field, parsed.value, plainNumber);
  };
  const unit = field.unit ? element("span", { class: "unit" }, texts.unit(field.unit)) : null;
  return control(field, value, { input, parts: [input, unit], parse, help: numberHelp(field, plainNumber) });
}

function bounded(field, value, inWords) {
  if (field.least !== undefined && value < field.least) return { error: texts.atLeast(inWords(field.least)) };
  if (field.most !== undefined && value > field.most) return { error: texts.atMost(inWords(field.most)) };
  if (field.above !== undefined && value <= field.above) return { error: texts.moreThan(inWords(field.above)) };
  if (field.below !== undefined && value >= field.below) return { error: texts.lessThan(inWords(field.below)) };
  return { value };
}

// Bounds that only say what a computer can hold help nobody.
const isTelling = (bound) => bound !== undefined && Math.abs(bound) < 1e12;

function numberHelp(field, inWords) {
  const [least, most] = [field.least, field.most].map((bound) => (isTelling(bound) ? inWords(bound) : undefined));
  const range = least !== undefined && most !== undefined ? texts.between(least, most) : "";
  return [range, fallbackHelp(field)].filter(Boolean).join(" ");
}

function durationControl(field, value, units) {
  const readable = typeof value === "number" ? readableDuration(value, field.unit) : { value: "", unit: field.unit };
  const example = typeof value === "number" ? value : field.fallback;
  const first = typeof example === "number" ? readableDuration(example, field.unit).unit : field.unit;
  const input = textInput(readable.value === "" ? "" : plainNumber(readable.value), { inputmode: "decimal", class: "number" });
  const select = element("select", { "aria-label": texts.unitOf(labelOf(field)) },
    ...units.map((unit) => element("option", { value: unit, selected: unit === first }, texts.unit(unit))));
  const inWords = (number) => {
    const shown = readableDuration(number, field.unit);
    return texts.quantity(plainNumber(shown.value), shown.unit, shown.value === 1);
  };
  const parse = () => {
    if (input.value.trim() === "") return {};
    const parsed = decimalNumber(input.value);
    if (parsed.error) return { error: texts[parsed.error] };
    const number = inUnit(parsed.value, select.value, field.unit);
    if (field.kind === "integer" && !Number.isSafeInteger(number)) return { error: texts.notWholeUnits(texts.unit(field.unit)) };
    return bounded(field, number, inWords);
  };
  return control(field, value, { input, parts: [input, select], parse, help: numberHelp(field, inWords) });
}

// An amount in major units of the currency that stands beside it; without one, in minor units.
function moneyControl(field, value, context) {
  const known = () => {
    const currency = context.currency();
    return isCurrencyCode(currency) ? currency : undefined;
  };
  let shownIn = known();
  const shown = (minor) => (minor === undefined || minor === null ? "" : shownIn ? majorUnits(minor, shownIn) : plainNumber(minor));
  const input = textInput(shown(value), { inputmode: "decimal", class: "number" });
  const unit = element("span", { class: "unit" }, shownIn ?? texts.minorUnits);
  const amount = (currency) => (currency ? minorUnits(input.value, currency) : wholeNumber(input.value));
  const inWords = (minor) => (shownIn ? `${majorUnits(minor, shownIn)} ${shownIn}` : plainNumber(minor));
  const parse = () => {
    if (input.value.trim() === "") return {};
    const parsed = amount(shownIn);
    if (parsed.error === "tooManyDecimals") return { error: texts.tooManyDecimals(shownIn, exponentOf(shownIn)) };
    return parsed.error ? { error: texts[parsed.error] } : bounded(field, parsed.value, inWords);
  };
  const firstCurrency = shownIn;
  // The schema is about minor units, and the field shows its unit itself.
  const words = field.help.replace(/\s*,? ?In minor units[^.]*\./gi, "");
  const made = control({ ...field, help: words }, value, {
    input, parts: [input, unit], parse, help: fallbackHelp(field), isSame: () => known() === firstCurrency,
  });
  // A person who changes the currency means the amount that is shown, not its minor units.
  const currencyChanged = () => {
    const next = known();
    if (next === shownIn) return;
    const minor = amount(shownIn).value;
    const keepsMinor = minor !== undefined && (shownIn === undefined || next === undefined);
    shownIn = next;
    if (keepsMinor) input.value = shown(minor);
    unit.textContent = shownIn ?? texts.minorUnits;
  };
  input.addEventListener("change", () => {
    const minor = amount(shownIn).value;
    if (minor !== undefined) input.value = shown(minor);
  });
  return { ...made, currencyChanged };
}

export function booleanControl(field, value) {
  const input = element("input", { type: "checkbox", checked: value ?? field.fallback ?? false });
  return control(field, value, { input, parse: () => ({ value: input.checked }) });
}

// A choice among plain values.
export function selectControl(field, value) {
  const chosen = field.options.findIndex((option) => option.value === value);
  const select = optionsSelect(field, chosen);
  const about = element("p", { class: "field-help", "aria-live": "polite" });
  const tell = () => { about.textContent = field.options[select.value]?.help ?? ""; };
  select.addEventListener("change", tell);
  tell();
  const parse = () => (select.value === "" ? {} : { value: field.options[select.value].value });
  const made = control(field, value, { input: select, parse });
  made.node.append(about);
  return made;
}

// The options by their places. The first, empty one stands for the default.
export function optionsSelect(field, chosen) {
  const empty = field.required ? texts.choose : valueInWords(field, undefined).text;
  const option = ({ value, field: inner, help }, place) => {
    const word = inner ? inner.members?.map((member) => nameInWords(member.name)).join(", ") || help || inner.kind : texts.wordOf(value);
    return element("option", { value: String(place), selected: place === chosen }, word);
  };
  const isEmptyOffered = !field.required || chosen < 0;
  return element("select", {},
    isEmptyOffered ? element("option", { value: "", selected: chosen < 0 }, empty) : null,
    ...field.options.map(option));
}

export function setControl(field, value) {
  const shown = value ?? field.fallback ?? [];
  const boxes = field.options.map((option) => {
    const box = element("input", { type: "checkbox", checked: shown.includes(option.value), id: newId("option") });
    const help = option.help ? element("span", { class: "field-help" }, ` ${option.help}`) : null;
    return { box, option, node: element("div", { class: "option" }, box, element("label", { for: box.id }, texts.wordOf(option.value)), help) };
  });
  const chosen = () => {
    const words = boxes.filter(({ box }) => box.checked).map(({ option }) => option.value);
    const kept = shown.filter((word) => words.includes(word));
    return [...kept, ...words.filter((word) => !kept.includes(word))];
  };
  const parse = () => {
    const words = chosen();
    return words.length < field.itemsMin ? { error: texts.chooseAtLeast(field.itemsMin) } : { value: words };
  };
  return grouped(field, value, boxes, parse);
}

function grouped(field, value, boxes, parse) {
  const error = errorLine();
  let isTouched = false;
  const node = element("fieldset", { class: "field", "aria-describedby": error.node.id },
    element("legend", {}, labelOf(field), field.required ? " *" : ""),
    field.help ? element("p", { class: "field-help" }, field.help) : null,
    ...boxes.map((box) => box.node), error.node);
  const current = () => (isTouched || (value === undefined && field.required) ? parse() : { value });
  node.addEventListener("change", () => {
    isTouched = true;
    setTimeout(() => error.show(current().error ?? ""), ERROR_PAUSE_MS);
  });
  const read = (pointer, problems) => {
    const parsed = current();
    tell(parsed.error, pointer, problems, error.show);
    return parsed.value;
  };
  const focus = () => boxes[0]?.box.focus();
  return { node, read, fail: error.show, find: () => ({ fail: error.show, focus }), focus };
}

export function constantControl(field, value) {
  const input = textInput(JSON.stringify(field.value), { readonly: true });
  const original = field.required ? value ?? field.value : value;
  return control(field, original, { input, parse: () => ({ value: field.value }) });
}

// What no other control can show, as JSON.
export function jsonControl(field, value) {
  const text = value === undefined ? "" : JSON.stringify(value, null, 2);
  const input = element("textarea", { class: "mono", rows: String(Math.min(12, text.split("\n").length + 1)), spellcheck: "false" });
  input.value = text;
  const parse = () => (input.value.trim() === "" ? {} : readJson(input.value));
  return control(field, value, { input, parse, help: texts.asJson });
}
