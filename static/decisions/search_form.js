// The conditions of a search. The address of the view has them as the API takes them, so that a search
// can be shared.

import { element, field, form, input, select } from "../elements.js";
import { majorUnits, minorUnits, wholeNumber } from "../rules/amounts.js";
import { search as texts } from "../texts.js";

const METHODS = ["card", "credit_transfer", "instant", "direct_debit", "wallet", "other"];
const EVENTS = ["claimed", "approved", "rejected", "expired", "cancelled", "settled", "failed", "refunded", "fraud"];
const OUTCOMES = ["approve", "review", "reject", "review,reject"];
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const FIRST = ["id", "reference", "account", "customer", "outcome", "from_ms", "to_ms"];

// `onSearch(query)` gets the conditions; `onId(id)` an id, which is no condition.
export function searchForm(query, { onSearch, onId }) {
  const fields = fieldsOf(query);
  const submit = () => {
    const id = fields.id.value().trim();
    if (id && !ID.test(id)) return fields.id.fail(texts.notAnId);
    if (id) return onId(id);
    const conditions = read(fields);
    return conditions ? onSearch(conditions) : undefined;
  };
  const clear = element("button", { type: "button", on: { click: () => onSearch({}) } }, texts.clear);
  const made = form(fields, texts.submit, submit, { extra: [clear], label: texts.filters });
  made.node.id = "search";
  layOut(made.node, fields);
  return made;
}

// The usual conditions first, the others folded away unless one of them is set.
function layOut(node, fields) {
  const rest = Object.keys(fields).filter((name) => !FIRST.includes(name));
  const isOpen = rest.some((name) => name !== "order" && fields[name].value() !== "");
  node.prepend(
    element("div", { class: "fields" }, ...FIRST.map((name) => fields[name].node)),
    element("details", { open: isOpen }, element("summary", {}, texts.more), element("div", { class: "fields" }, ...rest.map((name) => fields[name].node))));
}

function fieldsOf(query) {
  const of = (name) => query.get(name) ?? "";
  const text = (name, help) => field(texts[name], input({ name, value: of(name), spellcheck: "false" }), { help });
  const choice = (name, words) => field(texts[name], select([["", texts.any], ...words.map((word) => [word, texts.word(word).replace(",", ", ")])], of(name), { name }));
  const when = (name, label) => field(label, input({ name, type: "datetime-local", step: "1", value: localOf(of(name)) }));
  const amount = (name) => field(texts[name], input({ name, inputmode: "decimal", value: amountOf(of(name), of("currency")) }), { help: texts.amountHelp });
  return {
    id: text("id", texts.idHelp),
    reference: text("reference"),
    account: text("account", texts.accountHelp),
    customer: text("customer"),
    outcome: choice("outcome", OUTCOMES),
    from_ms: when("from_ms", texts.from),
    to_ms: when("to_ms", texts.to),
    currency: text("currency"),
    amount_at_least: amount("amount_at_least"),
    amount_below: amount("amount_below"),
    method: choice("method", METHODS),
    merchant: text("merchant"),
    card: text("card"),
    end_to_end_id: text("end_to_end_id"),
    uetr: text("uetr"),
    reason: text("reason"),
    event: choice("event", EVENTS),
    revision: text("revision"),
    client_id: text("client_id"),
    origin: choice("origin", ["api", "import"]),
    order: field(texts.order, select([["", texts.newest], ["oldest", texts.oldest]], of("order"), { name: "order" })),
    idempotency_key: text("idempotency_key", texts.idempotencyHelp),
  };
}

// `null` if something is wrong, which is then shown.
function read({ id, ...fields }) {
  const conditions = {};
  let isRight = true;
  const currency = fields.currency.value().trim().toUpperCase();
  for (const [name, one] of Object.entries(fields)) {
    const value = one.value().trim();
    if (value === "") continue;
    if (name.startsWith("amount_")) {
      const parsed = currency ? minorUnits(value, currency) : wholeNumber(value);
      if (parsed.error) {
        one.fail(texts.amountErrors[parsed.error]);
        isRight = false;
      }
      conditions[name] = parsed.value;
    } else if (name.endsWith("_ms")) {
      conditions[name] = new Date(value).getTime();
    } else {
      conditions[name] = name === "currency" ? currency : value;
    }
  }
  return isRight ? conditions : null;
}

const amountOf = (minor, currency) => (/^\d+$/.test(minor) && currency ? majorUnits(minor, currency) : minor);

// A time of the address as a control for local times has it.
function localOf(ms) {
  if (!/^\d{1,15}$/.test(ms)) return "";
  const at = new Date(Number(ms));
  const local = new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
}
