// A rule of a revision with its settings in words, and as JSON for those who want to see them so.

import { badge, element, json, quiet } from "../elements.js";
import { lines } from "./blocks.js";
import { fieldsOf } from "./schema.js";
import { pluginInWords, settingsInWords } from "./words.js";
import { revisions as texts, rules as words } from "../texts.js";

export function ruleInWords(rule, pluginOf) {
  const field = fieldsOf(pluginOf(rule.plugin)?.settings_schema);
  const told = settingsInWords(field, rule.settings);
  return element("article", { class: "rule" },
    element("h3", {}, rule.name, " ", rule.mode === "shadow" ? badge("shadow") : null),
    quiet(pluginInWords(rule.plugin, pluginOf), ". ",
      texts.onFailure(words.wordOf(rule.on_failure)), rule.overridable ? ` ${texts.overridable}` : ""),
    told.length ? lines(told) : quiet(texts.noSettings),
    element("details", {}, element("summary", {}, texts.settingsAsJson), json(rule.settings)));
}
