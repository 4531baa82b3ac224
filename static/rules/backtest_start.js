// Starts a backtest of a revision on stored decisions.

import { element, input, quiet, select } from "../elements.js";
import { actions, labelled, mendable, reportLine, reportingButton } from "./blocks.js";
import { minorUnits, isCurrencyCode, wholeNumber } from "./amounts.js";
import * as calls from "./calls.js";
import { go } from "../router.js";
import { rules as words, trial as texts } from "../texts.js";

export function startBacktestForm(revision, active) {
  const newest = input({ inputmode: "numeric", value: "10,000", class: "number" });
  const from = input({ type: "datetime-local" });
  const to = input({ type: "datetime-local" });
  const baselines = [["recorded", texts.againstRecorded], ...(active === undefined ? [] : [["active", texts.againstActive(active)]])];
  const baseline = select(baselines, "recorded");
  const outcome = select([["", texts.anyOutcome], ...texts.outcomes.map((word) => [word, word])], "");
  const currency = input({ class: "short", maxlength: "3" });
  const least = input({ inputmode: "decimal", class: "number" });
  const report = reportLine();
  const body = () => ({
    revision,
    baseline: baseline.value,
    ...(newest.value.trim() ? { newest: parsed(wholeNumber(newest.value)) } : {}),
    ...timeOf("from_ms", from),
    ...timeOf("to_ms", to),
    filter: filterOf(outcome.value, currency.value.trim().toUpperCase(), least.value.trim()),
  });
  const start = async () => {
    const { body: backtest } = await calls.startBacktest(body());
    go(`rules/backtests/${backtest.id}`);
  };
  return element("div", {},
    quiet(texts.backtestHelp),
    element("div", { class: "fields" },
      labelled(texts.newest, newest, texts.newestHelp), labelled(texts.baseline, baseline),
      labelled(texts.from, from), labelled(texts.to, to),
      labelled(texts.onlyOutcome, outcome), labelled(texts.onlyCurrency, currency),
      labelled(texts.amountLeast, least, texts.amountLeastHelp)),
    actions(reportingButton(texts.startBacktest, start, report.show, "primary")), report.node);
}

const timeOf = (name, field) => (field.value ? { [name]: new Date(field.value).getTime() } : {});

function filterOf(outcome, currency, least) {
  if (least && !isCurrencyCode(currency)) throw mendable(texts.amountNeedsCurrency);
  return {
    ...(outcome ? { outcome } : {}),
    ...(currency ? { currency } : {}),
    ...(least ? { amount_minor_min: parsed(minorUnits(least, currency)) } : {}),
  };
}

function parsed(result) {
  if (result.error) throw mendable(typeof words[result.error] === "string" ? words[result.error] : words.notAnAmount);
  return result.value;
}
