// How long decisions are kept. What a change removes is said, and confirmed by its number, before it is made.

import { call, get, isProposed, withoutPart } from "../api.js";
import { announce, badge, button, card, dialog, element, empty, field, form, input, pagedTable, part, quiet, time } from "../elements.js";
import { can } from "../session.js";
import { retention as texts, settings } from "../texts.js";

const MONTHS_MAX = 1200;

export async function show({ signal }) {
  const setting = part(async () => {
    const kept = await get("/settings/retention", { signal }).catch((error) => { throw withoutPart(error); });
    const act = can("settings:write") ? button(texts.change, () => change(kept, () => setting.refresh())) : null;
    return element("div", {}, ...inWords(kept), act ? element("div", { class: "actions" }, act) : null);
  });
  const removals = pagedTable({
    caption: texts.removals,
    columns: [{ title: texts.month }, { title: texts.decisions, isNumber: true }, { title: texts.since }, { title: texts.state }],
    load: (cursor) => get("/settings/retention/removals", { query: { cursor }, signal }).catch((error) => { throw withoutPart(error); }),
    row: (removal) => [
      removal.month,
      removal.decisions.toLocaleString(),
      removal.signed_at_ms ? time(removal.signed_at_ms) : settings.none,
      removal.finished ? badge("removed", texts.finished) : badge("waiting", texts.underway),
    ],
    whenEmpty: () => empty(texts.noRemovals),
  });
  return element("div", {}, card(texts.title, setting.node), card(texts.removals, removals.node));
}

const inWords = ({ months_kept: months, first_month_kept: first }) => (months === null
  ? [element("p", {}, texts.keptForEver)]
  : [element("p", {}, texts.kept(months)), quiet(texts.keptSince(first))]);

async function change(kept, refresh) {
  const preview = await dialog(texts.changeTitle, (close) => {
    const fields = { months_kept: field(texts.months, input({ inputmode: "numeric", value: kept.months_kept }), { help: texts.monthsHelp }) };
    const submit = async () => {
      const text = fields.months_kept.value().trim();
      const isRight = text === "" || (/^[0-9]{1,4}$/.test(text) && Number(text) >= 1 && Number(text) <= MONTHS_MAX);
      if (!isRight) return fields.months_kept.fail(texts.wrong);
      return close(await get("/settings/retention/preview", { query: { months_kept: text } }));
    };
    return form(fields, texts.next, submit, { extra: [cancel(close)] }).node;
  });
  if (!preview || !(await confirmed(preview))) return;
  const response = await call("PUT", "/settings/retention", { body: { months_kept: preview.months_kept } });
  if (!isProposed(response)) announce(texts.done);
  await refresh();
}

const cancel = (close) => element("button", { type: "button", on: { click: () => close() } }, settings.keep);

// A limit is confirmed by typing its number.
const confirmed = ({ months_kept: months, first_month_kept: kept, first_month_removed: first, decisions, more }) =>
  dialog(texts.confirmTitle, (close) => {
    const isLimit = months !== null;
    const removed = first ? texts.removes(first, kept, decisions.toLocaleString(), more) : texts.nothing;
    const fields = isLimit ? { typed: field(texts.type(months), input({ inputmode: "numeric" }), { help: texts.typeHelp }) } : {};
    const submit = async () => {
      if (isLimit && fields.typed.value().trim() !== String(months)) return fields.typed.fail(texts.typedWrong);
      return close(true);
    };
    return [
      element("p", {}, isLimit ? removed : texts.stops),
      isLimit ? quiet(texts.later(months)) : null,
      form(fields, isLimit ? texts.confirm : texts.keepAll, submit, { kind: isLimit ? "danger" : "primary", extra: [cancel(close)] }).node,
    ].filter(Boolean);
  });
