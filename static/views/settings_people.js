// The people of the tenant: who they are, what they may do, and the ways out when something goes wrong.

import { get, isProposal, patch, post, remove, withoutPart } from "../api.js";
import { announce, badge, button, card, confirm, copyButton, definitions, dialog, element, empty, field, form, input, mono, pagedTable, time } from "../elements.js";
import { can, person, tenant } from "../session.js";
import { people as texts, settings } from "../texts.js";
import { choices, isChosen } from "./settings_choices.js";

const OPERATORS = "operators";
const ROLES = ["admin", "author", "reviewer", "auditor"];
const rolesHere = () => (tenant().name === OPERATORS ? ["operator"] : ROLES);

export async function show({ signal }) {
  const mayChange = can("users:write");
  const list = pagedTable({
    caption: texts.title,
    columns: [texts.name, texts.email, texts.roles, texts.state, texts.signsInWith, texts.secondFactor, texts.lastSignIn, mayChange && texts.acts]
      .filter(Boolean).map((title) => ({ title })),
    load: (cursor) => get("/users", { query: { cursor }, signal }).catch((error) => { throw withoutPart(error); }),
    row: (user) => rowOf(user, mayChange, () => list.refresh()),
    whenEmpty: () => empty(texts.none),
  });
  const invitation = mayChange
    ? element("div", { class: "actions" }, button(texts.invite, () => invite(() => list.refresh()), { kind: "primary" }))
    : null;
  return card(texts.title, list.node, invitation);
}

const isOwn = (user) => user.id === person().id;

function rowOf(user, mayChange, refresh) {
  const cells = [
    [user.display_name, isOwn(user) ? ` (${texts.you})` : ""].join(""),
    element("span", { class: "breaks" }, user.email),
    user.roles.map((role) => texts.roleName[role] ?? role).join(", "),
    badge(user.state, texts.stateName[user.state]),
    signsInWith(user).join(", ") || settings.none,
    user.second_factor ? texts.on : texts.off,
    user.last_sign_in_at_ms ? time(user.last_sign_in_at_ms) : settings.none,
  ];
  if (mayChange) cells.push(button(settings.change, () => change(user, refresh), { label: texts.changeOne(user.display_name) }));
  return cells;
}

const signsInWith = ({ password, openid_issuer: issuer }) => [issuer && new URL(issuer).host, password && texts.password].filter(Boolean);

const roleChoices = (chosen) => choices(texts.roles, rolesHere().map((role) => [role, texts.role[role]]), chosen);

async function invite(refresh) {
  const made = await dialog(texts.invite, (close) => {
    const fields = {
      email: field(texts.email, input({ type: "email", spellcheck: "false" })),
      display_name: field(texts.name, input()),
      roles: roleChoices(rolesHere().slice(-1)),
    };
    const submit = async () => {
      if (!isChosen(fields.roles, texts.noRole)) return;
      close(await post("/users", {
        email: fields.email.value().trim(), display_name: fields.display_name.value().trim(), roles: fields.roles.value(),
      }));
    };
    return form(fields, texts.invite, submit, { extra: [cancel(close)] }).node;
  });
  if (!made || isProposal(made)) return;
  await refresh();
  await showLink(texts.invited(made.user.display_name), made.password_link);
}

const cancel = (close) => element("button", { type: "button", on: { click: () => close() } }, settings.keep);

const showLink = (title, { url, expires_at_ms }) => dialog(title, (close) => [
  element("p", {}, texts.linkDetail),
  definitions([[texts.linkLabel, mono(url)], [texts.linkUntil, time(expires_at_ms)]]),
  element("div", { class: "actions" }, copyButton(url), element("button", { type: "button", on: { click: () => close() } }, texts.done)),
]);

async function change(user, refresh) {
  const act = await dialog(texts.changeTitle(user.display_name), (close) => {
    const fields = {
      display_name: field(texts.name, input({ value: user.display_name })),
      roles: roleChoices(user.roles),
    };
    const submit = async () => {
      if (!isChosen(fields.roles, texts.noRole)) return;
      const changed = await patch(`/users/${user.id}`, { display_name: fields.display_name.value().trim(), roles: fields.roles.value() });
      if (!isProposal(changed)) announce(settings.saved);
      close(() => {});
    };
    const acts = actsOn(user).map(([text, work, kind]) =>
      element("button", { type: "button", class: kind, on: { click: () => close(work) } }, text));
    return [form(fields, settings.save, submit, { extra: [cancel(close)] }).node, element("div", { class: "actions" }, ...acts)];
  });
  if (!act) return;
  await act();
  await refresh();
}

// What can be done to a person besides changing the name and the roles.
function actsOn(user) {
  const link = async () => {
    const made = await post(`/users/${user.id}/password-link`, {});
    if (!isProposal(made)) await showLink(texts.linkTitle, made);
  };
  const acts = [[texts.linkMade, link]];
  if (user.second_factor && !isOwn(user)) acts.push([texts.removeFactor, () => removeFactor(user)]);
  if (user.state === "active") acts.push([texts.endSessions, () => endSessions(user)]);
  if (user.state === "disabled") acts.push([texts.enable, () => setDisabled(user, false)]);
  else if (!isOwn(user)) acts.push([texts.disable, () => disable(user), "danger"]);
  return acts;
}

async function disable(user) {
  if (!(await confirm(texts.disableTitle(user.display_name), texts.disableDetail, texts.disable))) return;
  await setDisabled(user, true);
}

async function setDisabled(user, disabled) {
  const changed = await patch(`/users/${user.id}`, { disabled });
  if (!isProposal(changed)) announce(disabled ? texts.disabled(user.display_name) : texts.enabled(user.display_name));
}

async function removeFactor(user) {
  if (!(await confirm(texts.removeFactorTitle(user.display_name), texts.removeFactorDetail, texts.removeFactor))) return;
  if (!isProposal(await remove(`/users/${user.id}/second-factor`))) announce(texts.factorRemoved);
}

async function endSessions(user) {
  if (!(await confirm(texts.endSessionsTitle(user.display_name), "", texts.endSessions))) return;
  await remove(`/users/${user.id}/sessions`);
  announce(texts.sessionsEnded(user.display_name));
}
