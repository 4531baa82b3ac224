// The backtests, newest first.

import { actor } from "../actors.js";
import { badge, card, element, empty, heading, link, pagedTable, time } from "../elements.js";
import { titled } from "../rules/blocks.js";
import { plainNumber } from "../rules/amounts.js";
import * as calls from "../rules/calls.js";
import { ruleTabs } from "../rules/navigation.js";
import { trial as texts } from "../texts.js";

export async function show() {
  const list = pagedTable({
    caption: texts.backtests,
    columns: titled(texts.candidate, texts.comparedWith, texts.state, texts.decisions, texts.startedBy, texts.at),
    load: (cursor) => calls.backtests({ limit: 25, cursor }),
    row,
    whenEmpty: () => empty(texts.noBacktests),
  });
  return element("div", { class: "view" }, heading(texts.backtests), ruleTabs("backtests"), card(texts.all, list.node));
}

const row = (backtest) => [
  link(`#/rules/backtests/${backtest.id}`, texts.revision(backtest.revision)),
  backtest.baseline_revision ? texts.revision(backtest.baseline_revision) : texts.againstRecorded,
  badge(backtest.state),
  backtest.total === undefined ? texts.unknown : texts.doneOf(plainNumber(backtest.done), plainNumber(backtest.total)),
  actor(backtest.created_by),
  time(backtest.created_at_ms)];
