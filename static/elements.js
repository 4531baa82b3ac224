// The elements that all views are made of. Data must be set as text, never as markup.

import { majorUnits } from "./rules/amounts.js";
import { elements as texts } from "./texts.js";

const SVG = "http://www.w3.org/2000/svg";

let lastId = 0;

export function newId(word) {
  lastId += 1;
  return `${word}-${lastId}`;
}

// `attributes` may have `on: {event: listener}`. A value of true sets an attribute without a value; false,
// null and undefined set none.
export function element(tag, attributes = {}, ...children) {
  return built(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return built(document.createElementNS(SVG, tag), attributes, children);
}

function built(node, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  node.append(...present(children));
  return node;
}

const present = (children) => children.flat().filter((child) => child !== null && child !== undefined && child !== false)
  .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));

export const fill = (place, ...children) => {
  place.replaceChildren(...present(children));
  return place;
};

// Text and structure.

export const quiet = (...children) => element("p", { class: "quiet" }, ...children);

export const mono = (text) => element("span", { class: "mono" }, text);

export const link = (address, ...children) => element("a", { href: address }, ...children);

// The view's own title. The router moves the focus to it.
export const heading = (text, ...actions) => element("div", { class: "title" },
  element("h1", { tabindex: "-1" }, text), ...actions);

export function card(title, ...children) {
  const id = newId("card");
  return element("section", { class: "card", "aria-labelledby": id }, element("h2", { id }, title), ...children);
}

// Pairs without a value are left out.
export const definitions = (pairs) => element("dl", {}, ...pairs
  .filter((pair) => pair && pair[1] !== undefined && pair[1] !== null && pair[1] !== "")
  .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));

// A column is `{title, isNumber?}`. A row is a list of cells or a finished `tr`.
export function table(caption, columns, rows) {
  const heads = columns.map(({ title, isNumber }) => element("th", { scope: "col", class: isNumber ? "number" : null }, title));
  const cells = (row) => row.map((cell, place) => element("td", { class: columns[place].isNumber ? "number" : null, "data-title": columns[place].title }, cell));
  const body = element("tbody", {}, ...rows.map((row) => (row instanceof Node ? row : element("tr", {}, ...cells(row)))));
  return element("div", { class: "table", role: "group", "aria-label": caption, tabindex: "0" },
    element("table", {}, element("caption", { class: "visually-hidden" }, caption), element("thead", {}, element("tr", {}, ...heads)), body));
}

export const badge = (kind, text = kind) => element("span", { class: `badge ${/^[a-z_-]+$/.test(kind) ? kind : ""}` }, text);

export const json = (value) => element("pre", {}, JSON.stringify(value, null, 2));

export const digest = (text) => element("span", { class: "mono cut", title: text }, text);

// Local, with UTC on hover.
export function time(ms) {
  const at = new Date(ms);
  const utc = at.toISOString();
  return element("time", { datetime: utc, title: utc.replace("T", " ").replace("Z", " UTC") }, at.toLocaleString());
}

export const money = (minor, currency) => `${majorUnits(minor, currency)} ${currency}`;

export const size = (bytes) =>
  (bytes < 1024 * 1024 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1024 / 1024).toFixed(1)} MiB`);

// Controls.

// The button is disabled while `onPress` works, and an error is announced.
export function button(text, onPress, { kind, label, ...attributes } = {}) {
  const node = element("button", { type: "button", class: kind, "aria-label": label, ...attributes }, text);
  node.addEventListener("click", (event) => working(node, () => onPress(event)));
  return node;
}

async function working(control, work) {
  const hadFocus = document.activeElement === control;
  control.disabled = true;
  control.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    announceFailure(error);
  } finally {
    control.disabled = false;
    control.removeAttribute("aria-busy");
    // A disabled control loses the focus.
    if (hadFocus && document.activeElement === document.body) control.focus();
  }
}

export function copyButton(text) {
  return button(texts.copy, async () => {
    await navigator.clipboard.writeText(text);
    announce(texts.copied);
  });
}

// A labelled control. `control` is an input, a select or a textarea. `fail("")` removes the error.
export function field(label, control, { help } = {}) {
  control.id ||= newId("field");
  const helpNode = help ? element("p", { class: "field-help", id: newId("help") }, help) : null;
  const errorNode = element("p", { class: "field-error", id: newId("error"), hidden: true });
  control.setAttribute("aria-describedby", [helpNode?.id, errorNode.id].filter(Boolean).join(" "));
  const fail = (text) => {
    errorNode.textContent = text;
    errorNode.hidden = text === "";
    if (text) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
  };
  const node = element("div", { class: "field" }, element("label", { for: control.id }, label), control, helpNode, errorNode);
  return { node, control, fail, value: () => control.value };
}

export const input = (attributes = {}) => element("input", { type: "text", autocomplete: "off", ...attributes });

// Options are words or `[value, text]`.
export const select = (options, chosen, attributes = {}) => element("select", attributes, ...options
  .map((option) => (Array.isArray(option) ? option : [option, option]))
  .map(([value, text]) => element("option", { value, selected: value === chosen }, text)));

export const checkbox = (text, isChecked = false, attributes = {}) => {
  const box = element("input", { type: "checkbox", checked: isChecked, ...attributes });
  return { node: element("label", { class: "option" }, box, element("span", {}, text)), control: box };
};

// Runs `onSubmit`. Errors that name a field by JSON pointer are shown at `fields[name]`, others below the
// button.
export function form(fields, submitText, onSubmit, { kind = "primary", extra = [], label } = {}) {
  const failureNode = element("p", { class: "field-error", role: "alert", hidden: true });
  const submit = element("button", { type: "submit", class: kind }, submitText);
  const node = element("form", { novalidate: true, "aria-label": label }, ...Object.values(fields).map((one) => one.node),
    failureNode, element("div", { class: "actions" }, submit, ...extra));
  const show = (error) => {
    const rest = placeErrors(fields, error);
    failureNode.textContent = rest;
    failureNode.hidden = rest === "";
    node.querySelector("[aria-invalid]")?.focus();
  };
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    for (const one of Object.values(fields)) one.fail?.("");
    failureNode.hidden = true;
    submit.disabled = true;
    try {
      await onSubmit();
    } catch (error) {
      show(error);
    } finally {
      submit.disabled = false;
    }
  });
  return { node, show };
}

function placeErrors(fields, error) {
  if (!error.errors?.length) return messageOf(error);
  const rest = error.errors.filter(({ pointer, parameter, detail }) => {
    const target = fields[parameter ?? (pointer ?? "").split("/")[1]];
    target?.fail?.(detail);
    return !target?.fail;
  });
  return rest.map(({ pointer, parameter, detail }) => `${parameter ?? pointer ?? ""} ${detail}`.trim()).join(" ");
}

// An error of the network or a problem has words for people; any other is a defect of the page.
export const messageOf = (error) => error.detail ?? texts.defect(error.message);

// States of a list or a part.

export const loading = () => element("p", { class: "quiet", "aria-busy": "true" }, texts.loading);

// Says what to do.
export const empty = (text, ...actions) => element("div", { class: "empty" }, element("p", {}, text), ...actions);

export const failure = (error, retry) => element("div", { class: "failure", role: "alert" },
  element("p", {}, messageOf(error)), retry ? button(texts.retry, retry) : null);

// A place that shows what `load` gives, with its states of waiting and failure. `refresh()` loads again.
export function part(load) {
  const node = element("div", { class: "part" });
  const refresh = async () => {
    node.setAttribute("aria-busy", "true");
    if (!node.hasChildNodes()) fill(node, loading());
    try {
      fill(node, await load());
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(node, failure(error, refresh));
    } finally {
      node.removeAttribute("aria-busy");
    }
  };
  const ready = refresh();
  return { node, refresh, ready };
}

// A table that grows page by page. `load(cursor)` gives a page of the API; `row(item)` a list of cells or a
// `tr`; `whenEmpty()` the empty state.
export function pagedTable({ caption, columns, load, row, whenEmpty }) {
  const pages = async (cursor) => {
    const page = await load(cursor);
    const more = page.next_cursor ? button(texts.more, () => extend(page.next_cursor)) : null;
    return { items: page.items, more };
  };
  let rows = [];
  const shown = ({ more }) => {
    if (!rows.length && !more) return whenEmpty();
    const nothingYet = rows.length ? null : quiet(texts.searchGoesOn);
    return element("div", {}, rows.length ? table(caption, columns, rows) : nothingYet, more ? element("div", { class: "actions" }, more) : null);
  };
  const extend = async (cursor) => {
    const page = await pages(cursor);
    const place = rows.length;
    rows = rows.concat(page.items.map(row));
    fill(list.node, shown(page));
    list.node.querySelectorAll("tbody tr")[place]?.querySelector("a, button")?.focus();
  };
  const list = part(async () => {
    const page = await pages(null);
    rows = page.items.map(row);
    return shown(page);
  });
  return list;
}

// Dialogs.

// `content(close)` gives the nodes. Resolves to what was given to `close`, undefined when dismissed.
export function dialog(title, content, { isDismissible = true } = {}) {
  const id = newId("dialog");
  const opener = document.activeElement;
  return new Promise((resolve) => {
    let result;
    const close = (value) => {
      result = value;
      node.close();
    };
    const node = element("dialog", { "aria-labelledby": id }, element("h2", { id }, title), ...[content(close)].flat());
    node.addEventListener("cancel", (event) => { if (!isDismissible) event.preventDefault(); });
    // Some browsers close on a second Escape even if the first was prevented.
    node.addEventListener("close", () => {
      if (!isDismissible && result === undefined) return node.showModal();
      node.remove();
      opener?.focus?.();
      return resolve(result);
    });
    document.body.append(node);
    node.showModal();
  });
}

export const confirm = (title, text, action, { kind = "danger" } = {}) => dialog(title, (close) => [
  element("p", {}, text),
  element("div", { class: "actions" },
    element("button", { type: "button", class: kind, on: { click: () => close(true) } }, action),
    element("button", { type: "button", on: { click: () => close(false) } }, texts.cancel)),
]);

// Announcements, for eyes and screen readers.

export const announcements = element("div", { class: "announcements", role: "status", "aria-live": "polite" });

const SHOWN_MS = 8000;

export function announce(text, kind = "") {
  const node = element("p", { class: `announcement ${kind}` }, text);
  announcements.append(node);
  setTimeout(() => node.remove(), SHOWN_MS);
}

export function announceFailure(error) {
  if (error.name !== "AbortError") announce(messageOf(error), "bad");
}
