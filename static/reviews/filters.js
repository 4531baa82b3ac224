// The conditions of the queue. The address of the view has them, so that a queue can be shared.

import { checkbox, element, field, form, input, select } from "../elements.js";
import { reviews as texts } from "../texts.js";

const WAITING = "open,claimed";
const NAMES = ["state", "cause", "currency", "from_ms", "to_ms", "mine"];

// The conditions as the API takes them, of the query of an address.
export function conditionsOf(query) {
  const all = Object.fromEntries(NAMES.map((name) => [name, query.get(name) || undefined]));
  return { ...all, state: all.state === "all" ? undefined : all.state ?? WAITING };
}

// `onChange(query)` gets the members of the address.
export function filters(query, onChange) {
  const of = (name) => query.get(name) ?? "";
  const mine = checkbox(texts.mine, of("mine") === "true");
  const moment = (label, name) => field(label, input({ type: "datetime-local", step: "1", value: localOf(of(name)) }));
  const fields = {
    state: field(texts.state, select(texts.states, of("state") || WAITING, { name: "state" })),
    cause: field(texts.cause, select(texts.causes, of("cause"), { name: "cause" })),
    currency: field(texts.currency, input({ name: "currency", maxlength: "3", value: of("currency"), spellcheck: "false" })),
    from_ms: moment(texts.from, "from_ms"),
    to_ms: moment(texts.to, "to_ms"),
    mine: { node: mine.node },
  };
  const read = () => ({
    state: fields.state.value() === WAITING ? "" : fields.state.value(),
    cause: fields.cause.value(),
    currency: fields.currency.value().trim().toUpperCase(),
    from_ms: fields.from_ms.value() ? new Date(fields.from_ms.value()).getTime() : "",
    to_ms: fields.to_ms.value() ? new Date(fields.to_ms.value()).getTime() : "",
    mine: mine.control.checked ? "true" : "",
  });
  const clear = element("button", { type: "button", on: { click: () => onChange({}) } }, texts.clear);
  const made = form(fields, texts.apply, () => onChange(read()), { kind: null, extra: [clear], label: texts.filters });
  made.node.classList.add("filters");
  const isOpen = NAMES.some((name) => query.get(name));
  return { node: element("details", { open: isOpen }, element("summary", {}, texts.filters), made.node), show: made.show };
}

// A time of the address as a control for local times has it.
function localOf(ms) {
  if (!/^\d{1,15}$/.test(ms)) return "";
  const at = new Date(Number(ms));
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
