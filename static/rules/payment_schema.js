// The members of a payment that a person fills in for a dry run. All others can be written as JSON.

import { trial as texts } from "../texts.js";

const METHODS = ["credit_transfer", "instant", "card", "direct_debit", "wallet", "other"];

const party = (description) => ({
  type: "object",
  description,
  properties: {
    name: { type: "string", minLength: 1, maxLength: 140 },
    account: {
      type: "object",
      description: texts.account,
      properties: { iban: { title: "IBAN", type: "string", maxLength: 42 } },
      required: ["iban"],
    },
    country: { type: "string", pattern: "^[A-Z]{2}$", description: texts.country },
  },
  required: ["name"],
});

export const PAYMENT_SCHEMA = {
  type: "object",
  properties: {
    reference: { type: "string", minLength: 1, maxLength: 35 },
    currency: { type: "string", pattern: "^[A-Z]{3}$" },
    amount_minor: { type: "integer", minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
    method: { enum: METHODS },
    debtor: party(texts.debtor),
    creditor: party(texts.creditor),
    customer: { type: "string", maxLength: 64, description: texts.customer },
    remittance: { type: "string", maxLength: 140 },
  },
  required: ["reference", "currency", "amount_minor", "method", "debtor", "creditor"],
};

export const PAYMENT_TO_BEGIN_WITH = {
  reference: "dry-run",
  currency: "EUR",
  amount_minor: 10_000,
  method: "credit_transfer",
  debtor: { name: "Ann Jones", account: { iban: "DE89370400440532013000" } },
  creditor: { name: "Blue Bikes", account: { iban: "NL91ABNA0417164300" } },
};
