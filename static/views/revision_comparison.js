// Two revisions: what differs in words, and both beside each other.

import { card, element, heading, link } from "../elements.js";
import * as calls from "../rules/calls.js";
import { differencesList } from "../rules/differences_list.js";
import { ruleTabs } from "../rules/navigation.js";
import { ruleInWords } from "../rules/rule_in_words.js";
import { can } from "../session.js";
import { revisions as texts } from "../texts.js";

export async function show(context) {
  const { before, after } = context.parameters;
  const [first, second, plugins] = await Promise.all([
    calls.revision(before),
    calls.revision(after),
    can("plugins:read") ? calls.plugins() : [],
  ]);
  const known = (digest) => plugins.find((plugin) => plugin.digest === digest);
  const column = (revision) => card(texts.revision(revision.number),
    element("p", {}, revision.note || texts.noNote), ...revision.rules.map((rule) => ruleInWords(rule, known)));
  return element("div", { class: "view" }, heading(texts.fromTo(first.number, second.number)), ruleTabs("revisions"),
    card(texts.differences,
      differencesList(first.rules, second.rules, known),
      element("p", {}, link(`#/rules/compare/${second.number}/${first.number}`, texts.turnRound))),
    element("div", { class: "columns" }, column(first), column(second)));
}
