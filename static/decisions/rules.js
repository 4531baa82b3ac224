// What each rule said about a payment, why, and what it cost.

import { get } from "../api.js";
import { button, card, definitions, digest, element, fill, quiet } from "../elements.js";
import { decision as texts } from "../texts.js";
import { factInWords } from "./facts.js";
import { resultBadge } from "./fold.js";

export function rulesCard(decision) {
  if (!decision.rules.length) return null;
  return card(texts.rules, ...decision.rules.map((rule) => ruleSection(decision.id, rule)));
}

function ruleSection(id, rule) {
  const { result } = rule;
  const isFailed = result?.status === "failed";
  return element("article", { class: "rule" },
    element("h3", {}, rule.name, " ", resultBadge(rule)),
    result?.status === "ran" ? reasonList(result.reasons) : null,
    definitions([
      [texts.why, result?.detail],
      [texts.cost, texts.costOf(rule.elapsed_us.toLocaleString(), rule.fuel_used.toLocaleString())],
      [texts.plugin, digest(rule.plugin)],
      [texts.onFailure, rule.on_failure],
      [texts.overridable, rule.overridable ? texts.yes : texts.no],
    ]),
    listed(texts.facts, rule.facts.map(factInWords)),
    listed(texts.notes, result?.notes ?? []),
    isFailed ? diagnosis(id, rule.name) : null);
}

const reasonList = (reasons) => (reasons.length
  ? element("ul", {}, ...reasons.map((reason) => element("li", {}, element("strong", {}, reason.code), texts.reasonOf({ ...reason, code: "" }))))
  : quiet(texts.noReasons));

const listed = (title, items) => (items.length
  ? element("details", { open: items.length <= 4 }, element("summary", {}, `${title} (${items.length})`), element("ul", {}, ...items.map((text) => element("li", {}, text))))
  : null);

function diagnosis(id, rule) {
  const place = element("div", { "aria-live": "polite" });
  const diagnose = async () => {
    const { diagnosis: found } = await get(`/decisions/${id}/rules/${encodeURIComponent(rule)}/diagnosis`);
    fill(place, found ? definitions([
      [texts.cause, found.cause],
      [texts.said, found.said],
      [texts.stack, found.frames.length ? element("ol", {}, ...found.frames.map(frame)) : null],
    ]) : quiet(texts.didNotFail));
  };
  return element("div", {}, button(texts.diagnose, diagnose), place);
}

const frame = ({ function: name, file, line }) =>
  element("li", { class: "mono" }, [name, file && `${file}${line ? `:${line}` : ""}`].filter(Boolean).join(" – "));
