// A form for the settings of a rule, made from the JSON Schema of its plugin, with the settings as
// JSON in another tab. Values that the form cannot show stay as they are.

import { readJson } from "./json_text.js";
import { fieldsOf, isObject } from "./schema.js";
import { errorLine, jsonControl, tell } from "./settings_controls.js";
import { objectControl } from "./settings_groups.js";
import { element, newId } from "../elements.js";
import { rules as texts } from "../texts.js";

const NO_CURRENCY = { currency: () => undefined };

// Gives `{ node, read, showProblems }`. `read()` gives `{ value, problems }`, of which each problem has
// a pointer into the settings. With `isQuiet` none is shown or given. The node sends `input` and `change` events.
export function settingsForm(schema, value, { suggestions = {} } = {}) {
  const field = fieldsOf(schema);
  const context = { ...NO_CURRENCY, suggestions };
  const isShowable = field.kind === "object" && isObject(value ?? {});
  const form = (settings) => (isShowable
    ? objectControl(field, settings, context, { isFramed: false })
    : jsonControl({ ...field, kind: "json", required: true, help: texts.noSchema }, settings));
  let control = form(value ?? {});
  const panel = element("div", { role: "tabpanel", id: newId("panel"), class: "settings-panel" }, control.node);
  const json = jsonPanel();
  let isJson = false;

  const read = ({ isQuiet = false } = {}) => {
    const problems = [];
    const told = isQuiet ? null : problems;
    const settings = isJson ? json.read(told) : control.read("", told);
    return { value: settings, problems };
  };
  // Another tab is only shown if what was typed here can be read.
  const turn = (toJson) => {
    if (toJson === isJson) return;
    const { value: settings, problems } = read();
    if (problems.length) return showProblems(problems);
    isJson = toJson;
    if (toJson) json.show(settings);
    else control = form(settings);
    panel.replaceChildren(toJson ? json.node : control.node);
    tabs.select(toJson);
  };
  const tabs = tabList(panel.id, turn);
  const showProblems = (problems) => {
    problems.forEach(({ pointer, detail }, place) => {
      const target = isJson ? json : control.find(segments(pointer));
      target.fail(isJson ? `${pointer}: ${detail}` : detail);
      if (place === 0) target.focus();
    });
  };
  return { node: element("div", { class: "settings-form" }, isShowable ? tabs.node : null, panel), read, showProblems };
}

const segments = (pointer) => pointer.split("/").slice(1).map((part) => part.replace(/~1/g, "/").replace(/~0/g, "~"));

function jsonPanel() {
  const error = errorLine();
  const area = element("textarea", {
    class: "mono", rows: "16", spellcheck: "false", "aria-label": texts.settingsAsJson, "aria-describedby": error.node.id,
  });
  const read = (problems) => {
    const parsed = readJson(area.value);
    const detail = parsed.error ?? (isObject(parsed.value) ? "" : texts.notAnObject);
    tell(detail, "", problems, error.show);
    return parsed.value;
  };
  const show = (settings) => {
    error.show("");
    area.value = JSON.stringify(settings, null, 2);
  };
  return { node: element("div", { class: "field" }, area, error.node), read, show, fail: error.show, focus: () => area.focus() };
}

function tabList(panelId, turn) {
  const tab = (text, isJson) => {
    const button = element("button", { type: "button", role: "tab", "aria-controls": panelId }, text);
    button.addEventListener("click", () => turn(isJson));
    return button;
  };
  const buttons = [tab(texts.asForm, false), tab(texts.json, true)];
  const node = element("div", { role: "tablist", class: "tabs", "aria-label": texts.settings }, ...buttons);
  node.addEventListener("keydown", (event) => {
    const target = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    turn(target === 1);
    buttons.find((button) => button.getAttribute("aria-selected") === "true").focus();
  });
  const select = (isJson) => buttons.forEach((button, place) => {
    const isSelected = (place === 1) === isJson;
    button.setAttribute("aria-selected", String(isSelected));
    button.tabIndex = isSelected ? 0 : -1;
  });
  select(false);
  return { node, select };
}
