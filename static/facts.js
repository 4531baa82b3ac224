// Facts in words: what a rule asked for, and the answer.

import { money, time } from "./elements.js";

// A fact without a query is shown as its answer alone: the revision is no longer known.
export function factInWords(fact) {
  const answer = answerInWords(fact);
  return fact.query ? `${questionInWords(fact.query)}: ${answer}` : answer;
}

function questionInWords(query) {
  switch (query.kind) {
    case "listed": return `${query.selector} on the list ${query.list} (${query.matching})`;
    case "velocity": return `${query.counting} by ${query.selector} in ${query.window_ms / 1000} s`;
    case "aggregate": return aggregateQuestion(query);
    case "table": return `${query.selector} in the table ${query.table} (${query.lookup})`;
    case "similar": return `${query.selector} like a name on the list ${query.list} (score of at least ${query.score_at_least})`;
    default: return query.kind;
  }
}

function aggregateQuestion({ selectors, window_ms, filter, conversion, distinct }) {
  const parts = [`payments by ${selectors.join(" and ")} in ${window_ms / 1000} s`];
  if (filter?.amount_at_least !== undefined) parts.push(`of at least ${filter.amount_at_least} minor units`);
  if (filter?.amount_below !== undefined) parts.push(`below ${filter.amount_below} minor units`);
  if (filter?.methods) parts.push(`by ${filter.methods.join(" or ")}`);
  if (filter?.outcomes) parts.push(`with the outcome ${filter.outcomes.join(" or ")}`);
  if (filter?.event) parts.push(`reported as ${filter.event}`);
  if (conversion) parts.push(`converted to ${conversion.currency} by the table ${conversion.table}`);
  if (distinct) parts.push(`distinct values of ${distinct}`);
  return parts.join(", ");
}

function answerInWords({ listed, velocity, aggregate, table, similar }) {
  if (listed !== undefined) return listed ? "yes" : "no";
  if (velocity) return `${velocity.count} payments, ${velocity.total_minor} minor units`;
  if (aggregate) return aggregateAnswer(aggregate);
  if (table) return table.row ? cellsInWords(table.row) : "no row";
  if (similar) return similar.found ? `${similar.found.entry} (score ${similar.found.score})` : "none";
  return "the payment has no value";
}

function aggregateAnswer(aggregate) {
  const parts = [`${aggregate.count} payments, ${aggregate.total_minor} minor units`];
  if (aggregate.overflowed) parts.push("too large to count");
  if (aggregate.minimum_minor !== undefined) parts.push(`from ${aggregate.minimum_minor} to ${aggregate.maximum_minor}`);
  if (aggregate.mean !== undefined) parts.push(`mean ${aggregate.mean}, deviation ${aggregate.deviation}`);
  if (aggregate.unconverted) parts.push(`${aggregate.unconverted} not converted`);
  if (aggregate.distinct) {
    parts.push(`${aggregate.distinct.is_lower_bound ? "at least " : ""}${aggregate.distinct.count} distinct values`);
  }
  if (aggregate.first) parts.push(`first ${seenInWords(aggregate.first)}`);
  if (aggregate.last) parts.push(`last ${seenInWords(aggregate.last)}`);
  return parts.join(", ");
}

const seenInWords = (seen) =>
  `${money(seen.amount_minor, seen.currency)} at ${time(seen.received_at_ms)} (${seen.outcome})`;

const cellsInWords = (row) => Object.entries(row).map(([column, cell]) => `${column} ${cell}`).join(", ") || "an empty row";
