// Payments as rows of a table.

import { badge, link, money, time } from "../elements.js";
import { search as texts } from "../texts.js";

export const COLUMNS = [
  { title: texts.received },
  { title: texts.reference },
  { title: texts.amount, isNumber: true },
  { title: texts.method },
  { title: texts.outcome },
  { title: texts.reasons },
];

// Items of the search and events of the feed have the same members, except for the form of reasons.
export const row = (item) => [
  time(item.received_at_ms),
  link(`#/decisions/${item.id}`, item.reference ?? texts.erased),
  money(item.amount_minor, item.currency),
  texts.word(item.method),
  badge(item.outcome),
  [...new Set((item.reasons ?? []).map((reason) => reason.code ?? reason))].join(", "),
];
