// Facts in words: what a rule asked for, and the answer.

import { money } from "../elements.js";
import { facts as texts } from "../texts.js";

// A fact without a query is shown as its answer alone: the revision is no longer known.
export function factInWords(fact) {
  const answer = answerInWords(fact);
  return fact.query ? texts.asked(questionInWords(fact.query), answer) : answer;
}

function questionInWords(query) {
  switch (query.kind) {
    case "listed": return texts.listed(query);
    case "velocity": return texts.velocity(query.counting, query.selector, query.window_ms / 1000);
    case "aggregate": return aggregateQuestion(query);
    case "table": return texts.table(query);
    case "similar": return texts.similar(query);
    default: return query.kind;
  }
}

function aggregateQuestion({ selectors, window_ms, filter, conversion, distinct }) {
  const parts = [texts.aggregate(selectors, window_ms / 1000)];
  if (filter?.amount_at_least !== undefined) parts.push(texts.atLeast(filter.amount_at_least));
  if (filter?.amount_below !== undefined) parts.push(texts.below(filter.amount_below));
  if (filter?.methods) parts.push(texts.methods(filter.methods));
  if (filter?.outcomes) parts.push(texts.outcomes(filter.outcomes));
  if (filter?.event) parts.push(texts.event(filter.event));
  if (conversion) parts.push(texts.converted(conversion));
  if (distinct) parts.push(texts.distinct(distinct));
  return parts.join(", ");
}

function answerInWords({ listed, velocity, aggregate, table, similar }) {
  if (listed !== undefined) return listed ? texts.yes : texts.no;
  if (velocity) return texts.count(velocity.count, velocity.total_minor);
  if (aggregate) return aggregateAnswer(aggregate);
  if (table) return table.row ? cellsInWords(table.row) : texts.noRow;
  if (similar) return similar.found ? texts.found(similar.found) : texts.none;
  return texts.noValue;
}

function aggregateAnswer(aggregate) {
  const parts = [texts.count(aggregate.count, aggregate.total_minor)];
  if (aggregate.overflowed) parts.push(texts.overflowed);
  if (aggregate.minimum_minor !== undefined) parts.push(texts.range(aggregate.minimum_minor, aggregate.maximum_minor));
  if (aggregate.mean !== undefined) parts.push(texts.mean(aggregate.mean, aggregate.deviation));
  if (aggregate.unconverted) parts.push(texts.unconverted(aggregate.unconverted));
  if (aggregate.distinct) parts.push(texts.distinctCount(aggregate.distinct));
  if (aggregate.first) parts.push(texts.first(seenInWords(aggregate.first)));
  if (aggregate.last) parts.push(texts.last(seenInWords(aggregate.last)));
  return parts.join(", ");
}

const seenInWords = (seen) =>
  texts.seen(money(seen.amount_minor, seen.currency), new Date(seen.received_at_ms).toLocaleString(), seen.outcome);

const cellsInWords = (row) =>
  Object.entries(row).map(([column, cell]) => texts.cell(column, cell)).join(", ") || texts.emptyRow;
