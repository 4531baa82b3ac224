// One revision: its rules, its changes to the active one in words, and what can be done with it:
// try it, let it run beside the active one, activate it.

import { actor } from "../actors.js";
import { isProposed } from "../api.js";
import { badge, button, card, element, heading, input, link, quiet, select, time } from "../elements.js";
import { actions, ask, labelled, linkButton, reportLine, reportingButton } from "../rules/blocks.js";
import { startBacktestForm } from "../rules/backtest_start.js";
import * as calls from "../rules/calls.js";
import { differencesList } from "../rules/differences_list.js";
import { dryRunPanel } from "../rules/dry_run.js";
import { ruleTabs } from "../rules/navigation.js";
import { ruleInWords } from "../rules/rule_in_words.js";
import { can } from "../session.js";
import { revisions as texts } from "../texts.js";

export async function show(context) {
  const place = element("div", { class: "view" });
  const refresh = async () => place.replaceChildren(heading(texts.revision(context.parameters.number)), ruleTabs("revisions"), ...await parts(context, refresh));
  await refresh();
  return place;
}

async function parts(context, refresh) {
  const [revision, active, plugins] = await Promise.all([
    calls.revision(context.parameters.number),
    calls.readActive(),
    can("plugins:read") ? calls.plugins() : [],
  ]);
  const known = (digest) => plugins.find((plugin) => plugin.digest === digest);
  const { activation, revision: deciding } = active.body;
  const isActive = activation?.revision === revision.number;
  const rules = revision.rules.map((rule) => ruleInWords(rule, known));
  return [
    card(texts.about,
      element("p", {}, revision.note || texts.noNote),
      quiet(texts.madeBy, " ", actor(revision.created_by), ", ", time(revision.created_at_ms)),
      element("p", {}, ...roles(activation, revision.number)),
      can("rulesets:write") ? changes(revision.number, active, refresh) : null),
    isActive ? null : card(texts.changesTo(activation?.revision),
      differencesList(deciding?.rules ?? [], revision.rules, known),
      deciding ? link(`#/rules/compare/${deciding.number}/${revision.number}`, texts.besideEachOther) : null),
    card(texts.rules, ...(rules.length ? rules : [quiet(texts.noRules)])),
    can("rulesets:write") ? card(texts.dryRun, dryRunPanel(() => ({ revision: revision.number }))) : null,
    can("rulesets:write") ? card(texts.backtest, startBacktestForm(revision.number, activation?.revision)) : null,
  ].filter(Boolean);
}

function roles(activation, number) {
  const told = [
    activation?.revision === number ? badge("active", texts.isActive) : null,
    activation?.canary?.revision === number ? badge("", texts.isCanary(activation.canary.share_percent)) : null,
    activation?.shadow === number ? badge("shadow", texts.isShadow) : null,
  ];
  return told.filter(Boolean).flatMap((one) => [one, " "]);
}

function changes(number, { body, tag }, refresh) {
  const { activation } = body;
  const report = reportLine();
  const told = (response) => {
    if (!isProposed(response)) report.show(texts.done);
  };
  const change = (act) => async () => {
    const response = await act();
    if (!isProposed(response)) await refresh();
    told(response);
  };
  const buttons = [linkButton(`#/rules/edit/${number}`, texts.editFrom)];
  if (activation?.revision !== number) {
    buttons.unshift(button(texts.activate, () => activateDialog(number, tag, refresh, told), { kind: "primary" }));
    if (activation) {
      buttons.push(button(texts.startCanary, () => canaryDialog(number, tag, refresh, told)));
      if (activation.shadow !== number) buttons.push(reportingButton(texts.startShadow, change(() => calls.startShadow(number, tag)), report.show));
    }
  }
  if (activation?.canary?.revision === number) buttons.push(reportingButton(texts.endCanary, change(() => calls.endCanary(tag)), report.show));
  if (activation?.shadow === number) buttons.push(reportingButton(texts.endShadow, change(() => calls.endShadow(tag)), report.show));
  return element("div", {}, actions(...buttons), report.node);
}

// Activation, with a backtest as its guard if there is a finished one of this revision.
async function activateDialog(number, tag, refresh, told) {
  const { items } = await calls.backtests({ limit: 200 });
  const fitting = items.filter((one) => one.revision === number && one.state === "finished");
  const guards = fitting.map((one) => [one.id, texts.guardOf(one.done, new Date(one.finished_at_ms).toLocaleString())]);
  const guard = select([["", texts.noGuard], ...guards], fitting[0]?.id ?? "");
  const most = input({ inputmode: "decimal", value: "5", class: "number" });
  const mostField = labelled(texts.changedMost, most, texts.changedMostHelp);
  const turn = () => { mostField.hidden = guard.value === ""; };
  guard.addEventListener("change", turn);
  turn();
  let response = null;
  const hasActed = await ask({
    title: texts.activateTitle(number),
    content: [element("p", {}, texts.activateHelp), labelled(texts.guard, guard, fitting.length ? "" : texts.noBacktests), mostField],
    confirm: texts.activate,
    act: async () => {
      response = await calls.activate(number, guard.value ? { backtest: guard.value, max_changed_percent: Number(most.value) } : null, tag);
    },
  });
  if (hasActed) await afterChange(response, refresh, told);
}

async function canaryDialog(number, tag, refresh, told) {
  const share = input({ inputmode: "decimal", value: "5", class: "number" });
  let response = null;
  const hasActed = await ask({
    title: texts.canaryTitle(number),
    content: [element("p", {}, texts.canaryHelp), labelled(texts.share, share)],
    confirm: texts.startCanary,
    act: async () => { response = await calls.startCanary(number, Number(share.value), tag); },
  });
  if (hasActed) await afterChange(response, refresh, told);
}

async function afterChange(response, refresh, told) {
  if (!isProposed(response)) await refresh();
  told(response);
}
