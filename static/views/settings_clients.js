// The machines that call the API. A secret is shown once, in a dialog, and must not be kept in the page.

import { get, patch, post, withoutPart } from "../api.js";
import { announce, badge, button, card, confirm, copyButton, dialog, element, empty, field, form, input, mono, pagedTable, select, time } from "../elements.js";
import { can } from "../session.js";
import { clients as texts, settings } from "../texts.js";
import { bindingFields, boundTo, isBinding, readBinding } from "./settings_certificates.js";
import { choices, isChosen } from "./settings_choices.js";

const SCOPES = Object.keys(texts.scope);
const RATE_MAX = 1_000_000;
const MACHINES_ONLY = "payments:write";
const FIRST_SCOPES = [MACHINES_ONLY, "payments:read"];

export async function show({ signal }) {
  const mayChange = can("clients:write");
  const list = pagedTable({
    caption: texts.title,
    columns: [texts.name, texts.id, texts.scopes, texts.rate, texts.state, texts.created, mayChange && texts.acts]
      .filter(Boolean).map((title) => ({ title, isNumber: title === texts.rate })),
    load: (cursor) => get("/clients", { query: { cursor }, signal }).catch((error) => { throw withoutPart(error); }),
    row: (client) => rowOf(client, mayChange, () => list.refresh()),
    whenEmpty: () => empty(texts.none),
  });
  const creation = mayChange
    ? element("div", { class: "actions" }, button(texts.create, () => create(() => list.refresh()), { kind: "primary" }))
    : null;
  return card(texts.title, list.node, creation);
}

function rowOf(client, mayChange, refresh) {
  const previous = client.previous_secret_until_ms
    ? element("p", { class: "quiet" }, `${texts.previousUntil} `, time(client.previous_secret_until_ms))
    : null;
  const cells = [
    client.name,
    mono(client.id),
    mono(client.scopes.join(" ")),
    rateOf(client),
    element("div", {}, badge(client.state), boundTo(client), previous),
    time(client.created_at_ms),
  ];
  if (mayChange) cells.push(actsOn(client, refresh));
  return cells;
}

const rateOf = ({ requests_per_s: rate }) => (rate === 0 ? texts.noLimit : rate ?? texts.serverRate);

function actsOn(client, refresh) {
  const change = button(settings.change, () => changeOne(client, refresh), { label: texts.changeOne(client.name) });
  const rotate = button(texts.rotate, () => rotateSecret(client, refresh), { label: texts.rotateOne(client.name) });
  const state = client.state === "disabled"
    ? button(texts.enable, () => setDisabled(client, false, refresh))
    : button(texts.disable, () => disable(client, refresh), { kind: "danger" });
  return element("div", { class: "row-acts" }, change, rotate, state);
}

// Nobody can give more than the own scopes, except the one that only machines have.
const mayGive = (scope) => scope === MACHINES_ONLY || can(scope);

function scopeChoices(chosen) {
  const names = [...new Set([...SCOPES.filter(mayGive), ...chosen])];
  const all = names.map((scope) => [scope, texts.scope[scope] ? `${scope}: ${texts.scope[scope]}` : scope]);
  return choices(texts.scopes, all, chosen, { help: texts.scopesHelp });
}

const clientFields = ({ name = "", scopes = FIRST_SCOPES.filter(mayGive), requests_per_s = null, certificate } = {}) => ({
  name: field(texts.name, input({ value: name }), { help: texts.nameHelp }),
  scopes: scopeChoices(scopes),
  requests_per_s: field(texts.rate, input({ inputmode: "numeric", value: requests_per_s }), { help: texts.rateHelp }),
  ...bindingFields(certificate),
});

// Gives the values of the fields, or null after marking what is wrong.
function valuesOf({ name, scopes, requests_per_s: rate, ...binding }) {
  const text = rate.value().trim();
  const isRate = text === "" || (/^[0-9]{1,7}$/.test(text) && Number(text) <= RATE_MAX);
  if (!isRate) rate.fail(texts.rateWrong);
  const isBound = isBinding(binding);
  if (!isChosen(scopes, texts.noScope) || !isRate || !isBound) return null;
  return {
    name: name.value().trim(),
    scopes: scopes.value(),
    requests_per_s: text === "" ? null : Number(text),
    certificate: readBinding(binding),
  };
}

const cancel = (close) => element("button", { type: "button", on: { click: () => close() } }, settings.keep);

async function create(refresh) {
  const made = await dialog(texts.create, (close) => {
    const fields = clientFields();
    const submit = async () => {
      const values = valuesOf(fields);
      if (values) close(await post("/clients", values));
    };
    return form(fields, texts.create, submit, { extra: [cancel(close)] }).node;
  });
  if (!made) return;
  await showSecret(made);
  await refresh();
}

// It must be closed by its button, since the secret cannot be shown again.
const showSecret = ({ client, client_secret }) => dialog(texts.secretTitle, (close) => [
  element("p", {}, texts.secretDetail),
  shownValue(texts.id, client.id),
  shownValue(texts.secret, client_secret),
  element("div", { class: "actions" },
    element("button", { type: "button", class: "primary", on: { click: () => close(true) } }, texts.done)),
], { isDismissible: false });

function shownValue(label, value) {
  const control = input({ readonly: true, value, class: "mono", spellcheck: "false" });
  control.addEventListener("focus", () => control.select());
  const { node } = field(label, control);
  node.append(element("div", {}, copyButton(value)));
  return node;
}

async function changeOne(client, refresh) {
  const isChanged = await dialog(texts.changeOne(client.name), (close) => {
    const fields = clientFields(client);
    const submit = async () => {
      const values = valuesOf(fields);
      if (!values) return;
      await patch(`/clients/${client.id}`, values);
      close(true);
    };
    return form(fields, settings.save, submit, { extra: [cancel(close)] }).node;
  });
  if (!isChanged) return;
  announce(settings.saved);
  await refresh();
}

async function rotateSecret(client, refresh) {
  const made = await dialog(texts.rotateOne(client.name), (close) => {
    const fields = { overlap_s: field(texts.overlap, select(texts.overlaps)) };
    const submit = async () => close(await post(`/clients/${client.id}/secret`, { overlap_s: Number(fields.overlap_s.value()) }));
    return [element("p", {}, texts.rotateDetail), form(fields, texts.rotate, submit, { extra: [cancel(close)] }).node];
  });
  if (!made) return;
  await showSecret(made);
  announce(texts.rotated);
  await refresh();
}

async function disable(client, refresh) {
  if (await confirm(texts.disableTitle(client.name), texts.disableDetail, texts.disable)) await setDisabled(client, true, refresh);
}

async function setDisabled(client, disabled, refresh) {
  await patch(`/clients/${client.id}`, { disabled });
  announce(disabled ? texts.disabled(client.name) : texts.enabled(client.name));
  await refresh();
}
