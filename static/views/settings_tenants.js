// The tenants of the service, for operators.

import { get, post, withoutPart } from "../api.js";
import { announce, button, card, dialog, element, empty, field, form, input, mono, pagedTable, time } from "../elements.js";
import { can } from "../session.js";
import { settings, tenants as texts } from "../texts.js";

export async function show({ signal }) {
  const list = pagedTable({
    caption: texts.title,
    columns: [{ title: texts.name }, { title: texts.id }, { title: texts.created }],
    load: (cursor) => get("/tenants", { query: { cursor }, signal }).catch((error) => { throw withoutPart(error); }),
    row: (tenant) => [tenant.name, mono(tenant.id), tenant.created_at_ms ? time(tenant.created_at_ms) : settings.none],
    whenEmpty: () => empty(texts.none),
  });
  const creation = can("tenants:write")
    ? element("div", { class: "actions" }, button(texts.create, () => create(() => list.refresh()), { kind: "primary" }))
    : null;
  return card(texts.title, list.node, creation);
}

async function create(refresh) {
  const name = await dialog(texts.create, (close) => {
    const fields = { name: field(texts.name, input(), { help: texts.nameHelp }) };
    const submit = async () => {
      const chosen = fields.name.value().trim();
      await post("/tenants", { name: chosen });
      close(chosen);
    };
    const cancel = element("button", { type: "button", on: { click: () => close() } }, settings.keep);
    return form(fields, texts.create, submit, { extra: [cancel] }).node;
  });
  if (!name) return;
  announce(texts.done(name));
  await refresh();
}
