// One backtest: its progress while it runs, then what was and what would be, with examples.

import { actor } from "../actors.js";
import { badge, card, element, empty, heading, link, money, mono, pagedTable, quiet, table, time } from "../elements.js";
import { reportLine, reportingButton, titled } from "../rules/blocks.js";
import { plainNumber } from "../rules/amounts.js";
import * as calls from "../rules/calls.js";
import { matrixPicture } from "../rules/matrix.js";
import { ruleTabs } from "../rules/navigation.js";
import { can } from "../session.js";
import { rules as words, trial as texts } from "../texts.js";

const POLL_MS = 1000;

export async function show(context) {
  const { id } = context.parameters;
  const place = element("div", { class: "view" });
  const state = progressPart(id, () => update());
  const result = element("div");
  const examples = element("div");
  place.append(heading(texts.backtest), ruleTabs("backtests"), state.node, result, examples);
  let shownDone = -1;
  const update = async () => {
    const backtest = await calls.backtest(id);
    state.show(backtest);
    if (backtest.done !== shownDone || backtest.state !== "running") {
      shownDone = backtest.done;
      result.replaceChildren(...resultParts(backtest, (cell, label) => showExamples(id, cell, label, examples)));
    }
    return backtest;
  };
  follow(await update(), update, place, state.say);
  return place;
}

const isOver = ({ state }) => state !== "waiting" && state !== "running";

// Reads the backtest again and again until it has ended or the view is left.
async function follow(backtest, update, place, say) {
  let current = backtest;
  while (!isOver(current)) {
    await new Promise((done) => { setTimeout(done, POLL_MS); });
    if (!place.isConnected) return;
    try {
      current = await update();
      say("");
    } catch (error) {
      say(error);
    }
  }
}

function progressPart(id, update) {
  const about = element("p", {});
  const bar = element("progress", { max: "1", "aria-label": texts.progress });
  const told = element("p", { class: "quiet", "aria-live": "polite" });
  const report = reportLine();
  const cancel = reportingButton(texts.cancelBacktest, async () => {
    await calls.cancelBacktest(id);
    await update();
  }, report.show);
  const node = card(texts.progressTitle, about, bar, told, cancel, report.node);
  const show = (backtest) => {
    const against = backtest.baseline_revision ? texts.revision(backtest.baseline_revision) : texts.againstRecorded;
    about.replaceChildren(link(`#/rules/revisions/${backtest.revision}`, texts.revision(backtest.revision)), " ", texts.against, " ", against, ". ",
      texts.startedByActor, " ", actor(backtest.created_by), ", ", time(backtest.created_at_ms));
    if (backtest.total === undefined) bar.removeAttribute("value");
    else bar.value = backtest.total ? backtest.done / backtest.total : 1;
    bar.hidden = isOver(backtest);
    cancel.hidden = isOver(backtest) || !can("rulesets:write");
    const counts = backtest.total === undefined ? "" : texts.doneOf(plainNumber(backtest.done), plainNumber(backtest.total));
    told.replaceChildren(badge(backtest.state), ` ${counts}${backtest.why ? `: ${backtest.why}` : ""}`);
  };
  return { node, show, say: report.show };
}

function resultParts({ report }, open) {
  if (!report || report.compared === 0) return [];
  const labels = Object.entries(report.by_label).filter(([, entries]) => entries.length > 0);
  const notCompared = Object.entries(report.not_replayable).map(([why, count]) => texts.notCompared(plainNumber(count), words.wordOf(why)));
  return [
    card(texts.whatWouldChange,
      element("p", {}, texts.changedOf(plainNumber(report.changed), plainNumber(report.compared), String(report.changed_percent ?? 0))),
      ...notCompared.map((line) => quiet(line)),
      report.partly_computed ? quiet(texts.partlyComputed(plainNumber(report.partly_computed))) : null,
      matrixPicture(report.matrix, { onOpen: (cell) => open(cell) })),
    labels.length > 1 || labels.some(([label]) => label !== "none")
      ? card(texts.byLabel, quiet(texts.byLabelHelp),
        element("div", { class: "columns" }, ...labels.map(([label, entries]) => element("figure", {},
          element("figcaption", {}, texts.label(label)),
          matrixPicture(entries, { label: texts.label(label), onOpen: (cell) => open(cell, label) })))))
      : null,
    card(texts.byRule, rulesTable(report.rules)),
  ].filter(Boolean);
}

function rulesTable(rules) {
  const rows = Object.entries(rules).map(([rule, tally]) =>
    [element("strong", {}, rule), verdicts(tally.baseline), verdicts(tally.candidate), plainNumber(tally.changed)]);
  return table(texts.saidByRules, titled(words.rule, texts.before, texts.after, texts.changedTimes), rows);
}

const verdicts = (counts) => Object.entries(counts).filter(([, count]) => count > 0)
  .map(([verdict, count]) => `${verdict} ${plainNumber(count)}`).join(", ") || texts.unknown;

function showExamples(id, cell, label, place) {
  if (!can("decisions:read")) return;
  const query = { was: cell.was, would_be: cell.wouldBe, label, limit: 25 };
  const list = pagedTable({
    caption: texts.examples,
    columns: titled(texts.payment, texts.amount, texts.reasonsBefore, texts.reasonsAfter, texts.happened),
    load: (cursor) => calls.backtestExamples(id, { ...query, cursor }),
    row: exampleRow,
    whenEmpty: () => empty(texts.noExamples),
  });
  const shown = card(texts.examplesOf(cell.was, cell.wouldBe, label), list.node);
  shown.tabIndex = -1;
  place.replaceChildren(shown);
  shown.focus();
}

const exampleRow = (example) => [
  link(`#/decisions/${example.payment}`, mono(example.payment)),
  money(example.amount_minor, example.currency),
  example.was_codes.join(", ") || texts.unknown, example.would_be_codes.join(", ") || texts.unknown, texts.label(example.label)];
