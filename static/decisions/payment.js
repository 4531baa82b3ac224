// A payment as a bank lays it out: who pays whom, how much, and under which references.

import { card, definitions, element, money, mono, time } from "../elements.js";
import { decision as texts } from "../texts.js";

export function paymentCard(payment, receivedAtMs) {
  return card(texts.payment,
    element("p", { class: "amount" }, money(payment.amount_minor, payment.currency)),
    element("div", { class: "columns" },
      party(texts.payer, payment.debtor), party(texts.payee, payment.creditor),
      party(texts.ultimatePayer, payment.ultimate_debtor), party(texts.ultimatePayee, payment.ultimate_creditor)),
    element("div", { class: "columns" }, instruction(payment, receivedAtMs), circumstances(payment)));
}

function party(title, one) {
  if (!one) return null;
  return element("div", {}, element("h3", {}, title), definitions([
    [texts.name, one.name],
    [texts.account, one.account ? mono(accountInGroups(one.account)) : null],
    [texts.bank, one.bank ? mono(one.bank) : null],
    [texts.country, one.country],
    [texts.address, one.address ? element("span", { class: "lines" }, addressLines(one.address).join("\n")) : null],
  ]));
}

// An IBAN in groups of four, as on paper.
export const accountInGroups = ({ iban, other }) => (iban ? iban.replace(/(.{4})(?=.)/g, "$1 ") : other);

function addressLines(address) {
  const joined = (...parts) => parts.filter(Boolean).join(" ");
  return [
    joined(address.department, address.sub_department),
    joined(address.building_name, address.floor, address.room),
    joined(address.street_name, address.building_number),
    address.post_box,
    ...(address.address_lines ?? []),
    joined(address.post_code, address.town_name, address.town_location_name, address.district_name),
    joined(address.country_sub_division, address.country),
  ].filter(Boolean);
}

const instruction = (payment, receivedAtMs) => definitions([
  [texts.reference, payment.reference],
  [texts.method, payment.method.replaceAll("_", " ")],
  [texts.received, time(receivedAtMs)],
  [texts.requested, payment.requested_at_ms ? time(payment.requested_at_ms) : null],
  [texts.purpose, payment.purpose],
  [texts.remittance, payment.remittance],
  [texts.endToEnd, payment.end_to_end_id],
  [texts.uetr, payment.uetr ? mono(payment.uetr) : null],
  [texts.charges, texts.chargesOf[payment.charge_bearer] ?? payment.charge_bearer],
  [texts.verification, payment.payee_verification ? verification(payment.payee_verification) : null],
  [texts.intermediaries, payment.intermediary_agents?.join(", ")],
]);

const verification = ({ outcome, suggested_name: name }) =>
  `${texts.verificationOf[outcome] ?? outcome}${name ? texts.suggested(name) : ""}`;

const circumstances = (payment) => definitions([
  [texts.customer, payment.customer],
  [texts.merchant, payment.merchant],
  [texts.category, payment.merchant_category],
  [texts.card, payment.card ? texts.cardOf(payment.card.fingerprint, payment.card.bin, payment.card.country) : null],
  [texts.device, payment.device],
  [texts.ip, payment.ip ? mono(payment.ip) : null],
  [texts.metadata, pairs(payment.metadata)],
  [texts.signals, pairs(payment.signals)],
]);

const pairs = (values) => (values && Object.keys(values).length ? definitions(Object.entries(values).map(([name, value]) => [name, String(value)])) : null);
