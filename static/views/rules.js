// The rules that decide now: the active ruleset in its order, with what each rule did lately.

import { actor } from "../actors.js";
import { badge, button, card, element, empty, heading, link, quiet, table, time } from "../elements.js";
import { actions, ask, linkButton, reportLine, reportingButton, titled } from "../rules/blocks.js";
import * as calls from "../rules/calls.js";
import { plainNumber } from "../rules/amounts.js";
import { ruleTabs } from "../rules/navigation.js";
import { shareInWords } from "../rules/matrix.js";
import { shortDigest } from "../rules/words.js";
import { can } from "../session.js";
import { rules as texts } from "../texts.js";

export async function show() {
  const place = element("div", { class: "view" });
  const refresh = async () => place.replaceChildren(heading(texts.title), ruleTabs("active"), ...await parts(refresh));
  await refresh();
  return place;
}

async function parts(refresh) {
  const { body: active, tag } = await calls.readActive();
  if (!active.revision) return [beginning()];
  const { activation, revision, quarantined = [] } = active;
  const [plugins, reports] = await Promise.all([
    can("plugins:read") ? calls.plugins() : [],
    calls.ruleReports(revision.number),
  ]);
  return [
    quarantined.length ? quarantineCard(quarantined, refresh) : null,
    card(texts.activeRevision(revision.number), about(activation, revision),
      buttons(revision, tag, refresh), rulesTable(revision, plugins, reports, quarantined)),
  ].filter(Boolean);
}

// What to do before anything decides.
function beginning() {
  const steps = [
    can("plugins:write") ? link("#/rules/plugins", texts.stepPlugins) : null,
    can("rulesets:write") ? link("#/rules/edit/new", texts.stepRevision) : null,
    texts.stepTry,
    texts.stepActivate,
  ];
  return card(texts.noRuleset, element("p", {}, texts.noRulesetHelp),
    element("ol", {}, ...steps.filter(Boolean).map((step) => element("li", {}, step))));
}

function about(activation, revision) {
  const { canary, shadow } = activation;
  const beside = [
    canary ? link("#/rules/live", texts.canaryDecides(canary.revision, canary.share_percent)) : null,
    shadow ? link("#/rules/live", texts.runsInShadow(shadow)) : null,
  ];
  return element("div", {},
    element("p", {}, revision.note || texts.noNote),
    quiet(texts.activatedBy, " ", actor(activation.activated_by), ", ", time(activation.activated_at_ms)),
    ...beside.filter(Boolean).map((node) => element("p", {}, node)));
}

function buttons(revision, tag, refresh) {
  if (!can("rulesets:write")) return null;
  const rollBack = () => ask({
    title: texts.rollBackTitle,
    content: [element("p", {}, texts.rollBackHelp)],
    confirm: texts.rollBack,
    act: () => calls.rollBack(tag),
  }).then((hasActed) => hasActed && refresh());
  return actions(linkButton(`#/rules/edit/${revision.number}`, texts.edit, "primary"), button(texts.rollBack, rollBack));
}

function rulesTable(revision, plugins, reports, quarantined) {
  if (revision.rules.length === 0) return empty(texts.noRules);
  const rows = revision.rules.map((rule, place) => {
    const plugin = plugins.find((one) => one.digest === rule.plugin);
    const report = reports.rules.find((one) => one.rule === rule.name);
    const isQuarantined = quarantined.some((one) => one.rule === rule.name);
    return ruleRow(rule, place, plugin, report, isQuarantined);
  });
  const columns = titled(texts.place, texts.rule, texts.pluginTitle, texts.stageTitle, texts.hitRate, texts.slowest, texts.fuel, texts.lastError);
  const basis = reports.sampled ? texts.sampled(plainNumber(reports.sampled)) : texts.notSampled;
  return element("div", {}, table(texts.activeRules, columns, rows), quiet(basis));
}

function ruleRow(rule, place, plugin, report, isQuarantined) {
  const digest = element("span", { class: "mono", title: rule.plugin }, shortDigest(rule.plugin));
  const measured = (value, inWords) => (value === undefined ? texts.unknown : inWords(plainNumber(value)));
  return [
    String(place + 1),
    element("strong", {}, rule.name),
    element("span", {}, plugin ? `${plugin.name} ${plugin.version} ` : "", digest),
    element("span", {}, badge(isQuarantined ? "quarantined" : rule.mode), rule.overridable ? ` ${texts.overridable}` : ""),
    report ? hitRate(report.verdicts) : texts.unknown,
    measured(report?.elapsed_us_p99, texts.microseconds),
    measured(report?.fuel_p99, (number) => number),
    report?.last_failure ? failure(report.last_failure) : texts.none];
}

function hitRate({ pass, allow, review, reject, failed }) {
  const runs = pass + allow + review + reject + failed;
  const detail = texts.verdictCounts(...[allow, review, reject, failed].map(plainNumber));
  return element("span", { title: detail }, runs ? shareInWords((allow + review + reject) / runs) : texts.unknown);
}

const failure = (last) => element("span", {},
  element("a", { href: `#/decisions/${last.payment}`, title: last.detail }, texts.wordOf(last.class)), " ", time(last.received_at_ms));

function quarantineCard(quarantined, refresh) {
  const report = reportLine();
  const items = quarantined.map((one) => {
    const lift = reportingButton(texts.lift, async () => {
      await calls.liftQuarantine(one.id);
      await refresh();
    }, report.show);
    return element("li", {},
      texts.inQuarantine(one.rule, plainNumber(one.failures), plainNumber(one.runs), texts.wordOf(one.last_failure)), " ",
      time(one.opened_at_ms), " ", can("rulesets:write") ? lift : null);
  });
  return card(texts.quarantines, element("p", {}, texts.quarantinesHelp), element("ul", {}, ...items), report.node);
}
