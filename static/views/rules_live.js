// What runs beside the active revision on live payments: a shadow without effect, and a canary that
// decides a share.

import { isProposed } from "../api.js";
import { badge, card, element, empty, failure, heading, link, loading, money, mono, pagedTable, quiet, table, time } from "../elements.js";
import { actions, lines, reportLine, reportingButton, titled } from "../rules/blocks.js";
import { agreementChart, windows } from "../rules/agreement_chart.js";
import { plainNumber } from "../rules/amounts.js";
import * as calls from "../rules/calls.js";
import { matrixPicture } from "../rules/matrix.js";
import { ruleTabs } from "../rules/navigation.js";
import { can } from "../session.js";
import { rules as words, trial as texts } from "../texts.js";

const AT_ONCE = 3;
const OUTCOMES = ["approve", "review", "reject"];

export async function show() {
  const place = element("div", { class: "view" });
  const refresh = async () => {
    const [active, shadow] = await Promise.all([calls.readActive(), calls.shadowReport()]);
    const canary = active.body.activation?.canary ? await calls.canaryReport() : null;
    place.replaceChildren(heading(texts.live), ruleTabs("live"),
      ...shadowParts(shadow, active.tag, refresh), ...canaryParts(canary, active.tag, refresh));
  };
  await refresh();
  return place;
}

function shadowParts(shadow, tag, refresh) {
  const running = shadow.revision ?? shadow.rules;
  if (!running || !shadow.report) return [card(texts.shadow, empty(texts.noShadow))];
  const { report } = shadow;
  const examples = element("div");
  const open = can("decisions:read") ? (cell) => showExamples(cell, report, examples) : undefined;
  const what = shadow.revision
    ? link(`#/rules/revisions/${shadow.revision.revision}`, texts.revision(shadow.revision.revision))
    : texts.rulesInShadow(shadow.rules.rules.join(", "));
  return [card(texts.shadow,
    element("p", {}, what, " ", texts.since, " ", time(running.since_ms)),
    element("p", {}, texts.changedOf(plainNumber(report.changed), plainNumber(report.looked_at), String(report.changed_percent))),
    quiet(texts.coverage(plainNumber(report.coverage.compared), plainNumber(report.coverage.decided))),
    shadow.revision && can("rulesets:write") ? endButton(texts.endShadow, () => calls.endShadow(tag), refresh) : null,
    report.looked_at ? agreementPart(running.since_ms, report) : null,
    report.looked_at ? matrixPicture(report.outcomes, { onOpen: open }) : null,
    rulesPart(report.rules)), examples];
}

function endButton(label, act, refresh) {
  const report = reportLine();
  const end = async () => {
    const response = await act();
    if (!isProposed(response)) await refresh();
  };
  return actions(reportingButton(label, end, report.show), report.node);
}

// The chart comes when its parts have been read, a few at a time.
function agreementPart(sinceMs, report) {
  const place = element("div", {}, loading());
  const pointOf = async (times) => {
    const { report: part } = await calls.shadowReport({ kind: report.kind, revision: report.revision, ...times });
    return { runs: part.looked_at, changed: part.changed };
  };
  drawParts(place, report.from_ms ?? sinceMs, pointOf);
  return element("div", {}, element("h3", {}, texts.agreementOverTime), place);
}

function drawParts(place, sinceMs, pointOf) {
  readParts(windows(sinceMs, Date.now()), pointOf)
    .then((points) => place.replaceChildren(agreementChart(points)))
    .catch((error) => place.replaceChildren(failure(error)));
}

async function readParts(parts, pointOf) {
  const points = [];
  for (let first = 0; first < parts.length; first += AT_ONCE) {
    const some = parts.slice(first, first + AT_ONCE);
    const found = await Promise.all(some.map(({ fromMs, toMs }) => pointOf({ from_ms: fromMs, to_ms: toMs })));
    points.push(...found.map((point, place) => ({ ...some[place], ...point })));
  }
  return points;
}

// A canary and the active revision decide different payments, so they agree as far as their outcomes have
// the same shares.
function canaryAgreement(sinceMs) {
  const place = element("div", {}, loading());
  const pointOf = async (times) => {
    const { looked_at: runs, decided_by_canary: canary, decided_by_active: active } = await calls.canaryReport(times);
    return canary.payments && active.payments ? { runs, changed: runs * distance(canary, active) } : { runs: 0, changed: 0 };
  };
  drawParts(place, sinceMs, pointOf);
  return element("div", {}, element("h3", {}, texts.agreementOverTime), quiet(texts.canaryAgreement), place);
}

// Which share of the payments would have to get another outcome, so that both have the same shares.
function distance(one, other) {
  const share = (side, word) => (side.outcomes.find(({ outcome }) => outcome === word)?.payments ?? 0) / side.payments;
  return OUTCOMES.reduce((sum, word) => sum + Math.abs(share(one, word) - share(other, word)), 0) / 2;
}

function rulesPart(rules) {
  if (rules.length === 0) return null;
  const said = ({ said: counts }) => Object.entries(counts).map(([word, count]) => `${words.wordOf(word)} ${plainNumber(count)}`).join(", ");
  return element("div", {}, element("h3", {}, texts.byRule), lines(rules.map((rule) => `${rule.rule}: ${said(rule)}`)));
}

function showExamples(cell, { kind, revision }, place) {
  const query = { kind, revision, decided: cell.was, would_be: cell.wouldBe, limit: 25 };
  const list = pagedTable({
    caption: texts.examples,
    columns: titled(texts.payment, texts.amount, texts.at, texts.reasonsAfter),
    load: (cursor) => calls.shadowExamples({ ...query, cursor }),
    row: (example) => [
      link(`#/decisions/${example.id}`, mono(example.id)), money(example.amount_minor, example.currency),
      time(example.received_at_ms), example.reasons.map((reason) => reason.code).join(", ") || texts.unknown,
    ],
    whenEmpty: () => empty(texts.noExamples),
  });
  const shown = card(texts.examplesOf(cell.was, cell.wouldBe), list.node);
  shown.tabIndex = -1;
  place.replaceChildren(shown);
  shown.focus();
}

function canaryParts(canary, tag, refresh) {
  if (!canary) return [card(texts.canary, empty(texts.noCanary))];
  const sides = [[texts.byCanary, canary.decided_by_canary], [texts.byActive, canary.decided_by_active]];
  return [card(texts.canary,
    element("p", {}, link(`#/rules/revisions/${canary.revision}`, texts.revision(canary.revision)), " ",
      texts.decidesShare(String(canary.share_percent)), " ", texts.since, " ", time(canary.since_ms)),
    quiet(texts.lookedAt(plainNumber(canary.looked_at))),
    can("rulesets:write") ? endButton(texts.endCanary, () => calls.endCanary(tag), refresh) : null,
    canary.looked_at ? canaryAgreement(canary.since_ms) : null,
    element("div", { class: "columns" }, ...sides.map(([title, side]) => canarySide(title, side))))];
}

function canarySide(title, side) {
  const rows = side.outcomes.map((outcome) => {
    const amounts = outcome.amounts.map(({ currency, total_minor: minor }) => money(minor, currency));
    return [badge(outcome.outcome), plainNumber(outcome.payments), `${outcome.percent} %`, amounts.join(", ") || texts.unknown];
  });
  const outcomes = table(title, titled(texts.outcomeTitle, texts.payments, texts.share, texts.amount), rows);
  const became = side.became.map(({ event, payments }) => texts.became(words.wordOf(event), plainNumber(payments)));
  const reasons = side.reasons.map(({ code, payments }) => texts.became(code, plainNumber(payments)));
  return element("div", {}, element("h3", {}, title, " ", texts.revision(side.revision)), outcomes,
    reasons.length ? element("div", {}, element("h4", {}, texts.reasonsOf(plainNumber(side.reasons_sampled))), lines(reasons)) : null,
    became.length ? element("div", {}, element("h4", {}, texts.happened), lines(became)) : null);
}
