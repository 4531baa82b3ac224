// Revisions as a time line: who made which, when and why, and when which one decided.

import { actor } from "../actors.js";
import { badge, card, element, empty, heading, link, quiet, time } from "../elements.js";
import { actions, linkButton, pagedList } from "../rules/blocks.js";
import * as calls from "../rules/calls.js";
import { ruleTabs } from "../rules/navigation.js";
import { can } from "../session.js";
import { revisions as texts } from "../texts.js";

const PAGE = 25;

export async function show() {
  const [{ body: active }, activations] = await Promise.all([calls.readActive(), calls.activations({ limit: 200 })]);
  const revisions = await pagedList({
    load: (cursor) => calls.revisions({ limit: PAGE, cursor }),
    item: (revision) => revisionItem(revision, active, activations.items),
    whenEmpty: () => empty(texts.noRevisions),
  });
  const log = await pagedList({
    load: (cursor) => calls.activations({ limit: PAGE, cursor }),
    item: activationItem,
    whenEmpty: () => empty(texts.noActivations),
  });
  const add = can("rulesets:write")
    ? actions(linkButton("#/rules/edit/new", texts.newRevision))
    : null;
  return element("div", { class: "view" }, heading(texts.revisionsTitle), ruleTabs("revisions"),
    card(texts.timeLine, add, revisions), card(texts.activations, log));
}

function revisionItem(revision, active, activations) {
  const { number } = revision;
  const first = activations.filter((one) => one.revision === number).at(-1);
  const isActive = active.activation?.revision === number;
  const compared = active.activation && !isActive;
  return element("li", { class: isActive ? "current" : "" },
    element("p", {}, link(`#/rules/revisions/${number}`, texts.revision(number)), " ", isActive ? badge("active", texts.isActive) : null),
    element("p", {}, revision.note || texts.noNote),
    quiet(texts.madeBy, " ", actor(revision.created_by), ", ", time(revision.created_at_ms),
      first ? element("span", {}, ". ", texts.firstActive, " ", time(first.activated_at_ms)) : null),
    quiet(revision.rules.join(", ") || texts.noRules),
    compared ? link(`#/rules/compare/${active.activation.revision}/${number}`, texts.compare) : null);
}

const activationItem = (one) => element("li", {},
  element("p", {}, texts.activation(one.kind, one.revision), " ", link(`#/rules/revisions/${one.revision}`, texts.revision(one.revision))),
  quiet(texts.by, " ", actor(one.activated_by), ", ", time(one.activated_at_ms),
    one.canary ? `. ${texts.withCanary(one.canary.revision, one.canary.share_percent)}` : "",
    one.shadow ? `. ${texts.withShadow(one.shadow)}` : ""),
  one.guard_backtest ? link(`#/rules/backtests/${one.guard_backtest}`, texts.guardedBy) : null);
