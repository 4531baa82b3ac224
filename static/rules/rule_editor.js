// Edits one rule of a revision: its name, plugin, stage, what its failure counts as, its settings.

import { button, element, input, select } from "../elements.js";
import { labelled } from "./blocks.js";
import { settingsForm } from "./settings_form.js";
import { errorLine, tell } from "./settings_controls.js";
import { pluginInWords } from "./words.js";
import { editing as texts } from "../texts.js";

const NAME_PATTERN = /^[a-z0-9]+(-[a-z0-9]+)*$/;

// Members of a rule that the API takes. It gives more of them.
const asEntry = ({ name, plugin, settings, on_failure, overridable, mode }) =>
  ({ name, plugin, settings, on_failure, overridable, mode });

// `plugins` are those that can be chosen. Gives `{ node, handle, read, showProblem }`.
export function ruleEditor(rule, { plugins, suggestions, isOpen, remove }) {
  let current = asEntry(rule);
  const known = (digest) => plugins.find((plugin) => plugin.digest === digest);
  const name = input({ value: current.name, maxlength: "64" });
  const plugin = select(pluginOptions(plugins, current.plugin, known), current.plugin);
  const mode = select(texts.modes, current.mode ?? "live");
  const onFailure = select(texts.failures, current.on_failure ?? "review");
  const overridable = element("input", { type: "checkbox", checked: current.overridable === true });
  const error = errorLine();
  const formPlace = element("div");
  let form = null;
  const showForm = (settings) => {
    form = settingsForm(known(plugin.value)?.settings_schema, settings, { suggestions });
    formPlace.replaceChildren(form.node);
  };
  showForm(current.settings);
  // What was typed is kept for another version of the plugin, if it can be read.
  plugin.addEventListener("change", () => showForm(form.read({ isQuiet: true }).value ?? current.settings));

  const title = element("strong", {}, current.name);
  const chosen = element("span", { class: "quiet" }, pluginInWords(plugin.value, known));
  const retitle = () => {
    title.textContent = name.value;
    chosen.textContent = pluginInWords(plugin.value, known);
  };
  name.addEventListener("input", retitle);
  plugin.addEventListener("change", retitle);
  const handle = element("button", { type: "button", class: "handle" }, element("span", { "aria-hidden": "true" }, "⠿"));
  const removeButton = button("×", () => remove(), { kind: "remove quiet-button" });
  const details = element("details", { open: isOpen },
    element("summary", {}, title, " ", chosen),
    element("div", { class: "fields" },
      labelled(texts.name, name, texts.nameHelp), labelled(texts.plugin, plugin),
      labelled(texts.stage, mode, texts.stageHelp), labelled(texts.onFailure, onFailure, texts.onFailureHelp),
      labelled(texts.overridable, overridable, texts.overridableHelp)),
    error.node,
    element("h3", {}, texts.settings), formPlace);
  const node = element("li", { class: "item" }, element("div", { class: "item-head" }, handle, details, removeButton));

  const place = (index, count) => {
    handle.setAttribute("aria-label", texts.moveRule(name.value, index + 1, count));
    removeButton.setAttribute("aria-label", texts.removeRule(name.value));
  };
  const read = (problems, index) => {
    tell(NAME_PATTERN.test(name.value) ? "" : texts.nameHelp, `/rules/${index}/name`, problems, error.show);
    const { value: settings, problems: found } = form.read({ isQuiet: !problems });
    problems?.push(...found.map(({ pointer, detail }) => ({ pointer: `/rules/${index}/settings${pointer}`, detail })));
    current = { name: name.value, plugin: plugin.value, settings, on_failure: onFailure.value, overridable: overridable.checked, mode: mode.value };
    return current;
  };
  // `pointer` is within the rule.
  const showProblem = ({ pointer, detail }) => {
    details.open = true;
    if (pointer === "/settings" || pointer.startsWith("/settings/")) {
      form.showProblems([{ pointer: pointer.slice("/settings".length), detail }]);
      return;
    }
    error.show(detail);
    (pointer === "/plugin" ? plugin : name).focus();
  };
  return { node, handle, place, read, showProblem, focus: () => name.focus() };
}

function pluginOptions(plugins, current, known) {
  const options = plugins.filter((plugin) => !plugin.retired_at_ms || plugin.digest === current)
    .map((plugin) => [plugin.digest, pluginInWords(plugin.digest, known)]);
  return known(current) || !current ? options : [[current, pluginInWords(current, known)], ...options];
}
