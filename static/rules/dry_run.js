// A dry run: rules on one payment, typed in or picked from history. Nothing is stored.

import { badge, element, json, quiet, money, select, table } from "../elements.js";
import { actions, lines, mendable, reportLine, reportingButton, titled } from "./blocks.js";
import { plainNumber } from "./amounts.js";
import * as calls from "./calls.js";
import { PAYMENT_SCHEMA, PAYMENT_TO_BEGIN_WITH } from "./payment_schema.js";
import { settingsForm } from "./settings_form.js";
import { can } from "../session.js";
import { rules as words, trial as texts } from "../texts.js";

const PICKED_MAX = 50;

// `subject()` gives the rules or the revision that is tried.
export function dryRunPanel(subject) {
  const report = reportLine();
  const result = element("div", { "aria-live": "polite" });
  const form = settingsForm(PAYMENT_SCHEMA, PAYMENT_TO_BEGIN_WITH);
  const history = can("decisions:read") && can("payments:read") ? historyPicker() : null;
  const typed = element("div", {}, form.node);
  const source = select([["typed", texts.typed], ...(history ? [["history", texts.fromHistory]] : [])], "typed", { "aria-label": texts.source });
  const turn = () => {
    typed.hidden = source.value !== "typed";
    if (history) history.node.hidden = source.value !== "history";
    if (source.value === "history") history.load();
  };
  source.addEventListener("change", turn);
  turn();
  const payment = () => {
    if (source.value === "history") return { payment_id: history.chosen() };
    const { value, problems } = form.read();
    if (problems.length) throw mendable(texts.fixPayment, problems);
    return { payment: value };
  };
  const run = async () => {
    result.replaceChildren();
    const { body } = await calls.dryRun({ ...subject(), ...payment() }).catch((error) => {
      const own = (error.errors ?? []).filter(({ pointer }) => pointer?.startsWith("/payment/"));
      form.showProblems(own.map(({ pointer, detail }) => ({ pointer: pointer.slice("/payment".length), detail })));
      throw error;
    });
    result.replaceChildren(dryRunResult(body));
  };
  return element("div", {}, source, typed, history?.node,
    actions(reportingButton(texts.run, run, report.show, "primary")), report.node, result);
}

function historyPicker() {
  const choice = element("select", { "aria-label": texts.payment });
  const report = reportLine();
  const node = element("div", { class: "field" }, choice, report.node);
  let isLoaded = false;
  const load = async () => {
    if (isLoaded) return;
    isLoaded = true;
    const page = await calls.payments({ limit: PICKED_MAX }).catch((error) => {
      isLoaded = false;
      report.show(error);
      return { items: [] };
    });
    if (page.items.length === 0 && isLoaded) report.show(texts.noHistory);
    choice.replaceChildren(...page.items.map((item) => element("option", { value: item.id },
      texts.picked(item.reference ?? item.id, money(item.amount_minor, item.currency), item.outcome))));
  };
  return { node, load, chosen: () => choice.value };
}

export function dryRunResult(run) {
  const outcome = element("p", {}, texts.outcome, " ", badge(run.outcome),
    run.decided ? element("span", {}, " ", texts.wasDecided, " ", badge(run.decided)) : null);
  const rows = run.rules.map((rule) => {
    const step = run.fold.find((one) => one.rule === rule.name);
    return [element("strong", {}, rule.name), verdict(rule), fold(step), plainNumber(rule.fuel_used)];
  });
  const said = table(texts.rulesTried, titled(words.rule, texts.verdict, texts.counts, texts.fuelUsed), rows);
  return element("div", { class: "dry-run-result" }, outcome, reasons(run.reasons), rows.length ? said : null);
}

function reasons(list) {
  if (list.length === 0) return quiet(texts.noReasons);
  return lines(list.map((reason) => texts.reason(reason.rule, reason.code, reason.message, reason.overridden)));
}

function verdict(rule) {
  const { result } = rule;
  if (!result) return badge("shadow");
  const isMissingFacts = rule.fact_sources.includes("not_known_yet");
  const notes = [...(result.notes ?? []), ...(isMissingFacts ? [texts.notKnownYet] : [])];
  const word = result.status === "ran" ? result.verdict : result.status;
  return element("div", {}, badge(word), result.detail ? ` ${words.wordOf(result.class)}: ${result.detail}` : "",
    rule.diagnosis ? json(rule.diagnosis) : null, notes.length ? lines(notes) : null);
}

function fold(step) {
  if (!step) return "";
  const parts = [texts.countsAs(step.counts_as)];
  if (step.cancelled_by.length) parts.push(texts.cancelledBy(step.cancelled_by.join(", ")));
  if (step.decides) parts.push(texts.decides);
  return parts.join(", ");
}
