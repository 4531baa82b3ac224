// How the results of the rules became the outcome. The steps repeat what `src/domain/verdict.rs` does.

import { badge, card, element, link, table } from "../elements.js";
import { decision as texts } from "../texts.js";

const STRICTNESS = ["approve", "review", "reject"];
const PULLS = { pass: "approve", allow: "approve", review: "review", reject: "reject" };

// What each rule counted for: `{rule, pull, isOverridden, isShadow}`.
export function stepsOf({ rules, fold_version: version }) {
  const live = rules.filter((rule) => rule.result);
  const isAllowed = live.some((rule) => rule.result.status === "ran" && rule.result.verdict === "allow");
  return rules.map((rule) => {
    if (!rule.result) return { rule, isShadow: true };
    const isHeld = version >= 2 && rule.result.status === "quarantined";
    const pull = pullOf(rule, isHeld);
    const isOverridden = isAllowed && rule.overridable && !isHeld && pull !== "approve";
    return { rule, pull, isOverridden };
  });
}

function pullOf({ result, on_failure: onFailure }, isHeld) {
  if (result.status === "ran") return PULLS[result.verdict];
  const pull = PULLS[onFailure];
  return isHeld && pull === "approve" ? "review" : pull;
}

const strictest = (steps) => steps.filter((step) => step.pull && !step.isOverridden)
  .map((step) => step.pull)
  .reduce((a, b) => (STRICTNESS.indexOf(b) > STRICTNESS.indexOf(a) ? b : a), "approve");

export function foldCard(decision) {
  if (!decision.revision) return card(texts.fold, element("p", {}, texts.noRuleset));
  if (!decision.rules.length) return card(texts.fold, element("p", {}, texts.noRules));
  const steps = stepsOf(decision);
  const rows = steps.map(({ rule, pull, isOverridden, isShadow }) => [
    rule.name,
    resultBadge(rule),
    isShadow ? texts.foldShadow : isOverridden ? element("span", {}, element("s", {}, pull), ` ${texts.foldOverridden}`) : badge(pull),
  ]);
  const reached = strictest(steps);
  return card(texts.fold,
    table(texts.fold, [{ title: texts.foldRule }, { title: texts.foldResult }, { title: texts.foldPull }], rows),
    element("p", { class: "conclusion" }, texts.foldEnd(reached), reached === decision.outcome ? null : ` ${texts.foldOther(decision.outcome)}`),
    ownReasons(decision));
}

// Reasons that no rule gave.
function ownReasons({ reasons }) {
  const own = reasons.filter((reason) => !reason.rule);
  return own.length ? element("ul", {}, ...own.map((reason) => element("li", {}, `${texts.tollgate}: `, texts.reasonOf(reason)))) : null;
}

export function resultBadge({ result }) {
  if (!result) return badge("shadow");
  if (result.status === "ran") return badge(result.verdict);
  if (result.status === "failed") return badge("failed", texts.failedAs(result.class));
  return badge(result.status, texts[result.status] ?? result.status);
}

export const revisionLink = (number) => link(`#/rules/revisions/${number}`, texts.revisionOf(number));
