// The evidence of a decision, in parts: for the view of a decision and beside a review.

import { actor } from "../actors.js";
import { get } from "../api.js";
import { card, definitions, element, json, link, mono, pagedTable, part, quiet, table, time } from "../elements.js";
import { decision as texts } from "../texts.js";
import { foldCard, revisionLink } from "./fold.js";
import { COLUMNS, row } from "./list.js";
import { paymentCard } from "./payment.js";
import { rulesCard } from "./rules.js";

const OTHERS_SHOWN_MAX = 10;

export const evidence = (decision) => [
  paymentCard(decision.payment, decision.received_at_ms),
  foldCard(decision),
  rulesCard(decision),
];

export function chainCard(decision) {
  const { position, revision } = decision;
  return card(texts.chain,
    definitions([
      [texts.writer, mono(position.writer)],
      [texts.batch, position.sequence],
      [texts.place, position.position],
      [texts.revision, revision ? element("span", {}, revisionLink(revision.number), " ", mono(revision.digest)) : null],
      [texts.requestHash, mono(decision.request_hash)],
      [texts.engine, mono(decision.engine)],
      [texts.versions, texts.versionsOf(decision.fold_version, decision.comparison_version)],
      [texts.client, actor(`client:${decision.client}`)],
      [texts.key, mono(decision.idempotency_key)],
      [texts.origin, decision.origin],
    ]),
    element("details", {}, element("summary", {}, texts.raw), json(decision)));
}

export const eventsCard = (id, signal) => card(texts.later, pagedTable({
  caption: texts.later,
  columns: [{ title: texts.event }, { title: texts.at }, { title: texts.actor }, { title: texts.note }],
  load: (cursor) => get(`/payments/${id}/events`, { query: { limit: 50, cursor }, signal }),
  row: (event) => [event.kind, time(event.at_ms), actor(event.actor), event.note ?? ""],
  whenEmpty: () => quiet(texts.noneLater),
}).node);

// By customer if the payment names one, else by account.
export function othersCard({ id, payment }, signal) {
  const { customer, debtor } = payment;
  const account = debtor.account?.iban ?? debtor.account?.other;
  if (!customer && !account) return null;
  const query = customer ? { customer } : { account };
  const list = part(async () => {
    const page = await get("/payments", { query: { ...query, limit: OTHERS_SHOWN_MAX + 1 }, signal });
    const others = page.items.filter((item) => item.id !== id).slice(0, OTHERS_SHOWN_MAX);
    if (!others.length) return quiet(texts.noOthers);
    return element("div", {}, table(texts.others, COLUMNS, others.map(row)),
      element("p", {}, link(`#/decisions?${new URLSearchParams(query)}`, texts.allOthers)));
  });
  return card(texts.others, list.node);
}
