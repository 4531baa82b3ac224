// How people sign in with their company's accounts. A secret is only ever sent, never shown.

import { get, isProposal, post, put, remove } from "../api.js";
import { announce, button, card, checkbox, confirm, copyButton, definitions, element, empty, field, form, input, mono, newId, part, quiet, select, time } from "../elements.js";
import { can } from "../session.js";
import { openid as texts, people, settings } from "../texts.js";

const ROLES = ["admin", "author", "reviewer", "auditor"];
const FIRST_ROWS = [{ value: "", role: "auditor" }];

export async function show({ signal }) {
  const view = part(async () => {
    const state = await get("/settings/openid", { signal });
    if (!state.allowed_issuers.length && !state.settings) return empty(texts.off);
    return can("settings:write") ? editor(state, () => view.refresh()) : reader(state);
  });
  return card(texts.title, quiet(texts.detail), view.node);
}

function reader({ settings: present, redirect_uri: redirect }) {
  if (!present) return empty(texts.none);
  const mapping = present.role_mapping.map(({ value, role }) => element("li", {}, `${value}: ${people.roleName[role]}`));
  return definitions([
    [texts.redirect, mono(redirect)],
    [texts.issuer, mono(present.issuer)],
    [texts.clientId, mono(present.client_id)],
    [texts.claim, mono(present.roles_claim)],
    [texts.mapping, element("ul", {}, ...mapping)],
    [texts.passwords, present.password_sign_in ? texts.yes : texts.no],
    [texts.changedAt, time(present.changed_at_ms)],
  ]);
}

function editor({ settings: present, redirect_uri: redirect, allowed_issuers: allowed }, refresh) {
  const fields = fieldsOf(present, allowed);
  const submit = async () => {
    if (isProposal(await put("/settings/openid", valuesOf(fields)))) return;
    announce(settings.saved);
    await refresh();
  };
  const found = element("p", { role: "status" });
  const test = button(texts.test, async () => {
    found.textContent = "";
    found.textContent = inWords(await post("/settings/openid/test", { issuer: fields.issuer.value().trim() }));
  });
  const removal = present ? button(texts.remove, () => removeAll(refresh), { kind: "danger" }) : null;
  const made = form(fields, settings.save, submit, { extra: [test, removal].filter(Boolean), label: texts.title });
  made.node.id = "openid-form";
  return element("div", {}, redirectAddress(redirect), made.node, found);
}

function redirectAddress(redirect) {
  const shown = field(texts.redirect, input({ readonly: true, value: redirect, class: "mono", spellcheck: "false" }), { help: texts.redirectHelp });
  shown.node.append(element("div", {}, copyButton(redirect)));
  return shown.node;
}

function fieldsOf(present, allowed) {
  const { issuer = onlyOne(allowed), client_id, has_client_secret, roles_claim = "groups", role_mapping = FIRST_ROWS, password_sign_in = true } = present ?? {};
  const plain = { spellcheck: "false", autocapitalize: "none" };
  const secretHelp = has_client_secret ? texts.secretKept : texts.secretHelp;
  const passwords = checkbox(texts.passwordsToo, password_sign_in, { name: "password_sign_in" });
  return {
    issuer: field(texts.issuer, input({ ...plain, name: "issuer", value: issuer, required: true }), { help: texts.issuerHelp(allowed.join(", ")) }),
    client_id: field(texts.clientId, input({ ...plain, name: "client_id", value: client_id, required: true })),
    client_secret: field(texts.secret, input({ type: "password", name: "client_secret", autocomplete: "new-password" }), { help: secretHelp }),
    roles_claim: field(texts.claim, input({ ...plain, name: "roles_claim", value: roles_claim }), { help: texts.claimHelp }),
    role_mapping: mappingRows(role_mapping),
    password_sign_in: group([passwords.node], texts.passwords, texts.passwordsHelp, () => passwords.control.checked),
  };
}

const onlyOne = (allowed) => (allowed.length === 1 ? allowed[0] : "");

function valuesOf(fields) {
  const text = (name) => fields[name].value().trim();
  const secret = fields.client_secret.value();
  return {
    issuer: text("issuer"),
    client_id: text("client_id"),
    ...(secret ? { client_secret: secret } : {}),
    roles_claim: text("roles_claim"),
    role_mapping: fields.role_mapping.value(),
    password_sign_in: fields.password_sign_in.value(),
  };
}

// Controls under one title, which take errors like a field.
function group(nodes, title, help, value) {
  const failed = element("p", { class: "field-error", role: "alert", id: newId("error"), hidden: true });
  const node = element("fieldset", { "aria-describedby": failed.id }, element("legend", {}, title),
    element("p", { class: "field-help" }, help), ...nodes, failed);
  const fail = (text) => {
    failed.textContent = text;
    failed.hidden = text === "";
  };
  return { node, fail, value };
}

function mappingRows(mapping) {
  const rows = element("div", {});
  const roleOptions = ROLES.map((role) => [role, people.roleName[role]]);
  const add = ({ value, role }) => {
    const row = element("div", { class: "row-acts mapping" },
      input({ value, "aria-label": texts.value, placeholder: texts.value, spellcheck: "false" }),
      select(roleOptions, role, { "aria-label": people.roles }),
      button(texts.removeRow, () => row.remove()));
    rows.append(row);
    return row;
  };
  mapping.forEach(add);
  const more = button(texts.addRow, () => add(FIRST_ROWS[0]).querySelector("input").focus());
  const values = () => [...rows.children]
    .map((row) => ({ value: row.querySelector("input").value.trim(), role: row.querySelector("select").value }))
    .filter(({ value }) => value !== "");
  return group([rows, more], texts.mapping, texts.mappingHelp, values);
}

function inWords({ works, why, keys, scopes }) {
  if (!works) return texts.testFailed(why);
  return [texts.testWorks(keys), scopes ? texts.testScopes(scopes.join(", ")) : ""].join(" ").trim();
}

async function removeAll(refresh) {
  if (!(await confirm(texts.removeTitle, texts.removeDetail, texts.remove))) return;
  if (isProposal(await remove("/settings/openid"))) return;
  announce(settings.saved);
  await refresh();
}
