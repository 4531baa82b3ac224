// The person's own account: password, second factor, and where the person is signed in.

import { all, get, post, remove, withoutPart } from "../api.js";
import { announce, badge, button, card, confirm, copyButton, definitions, dialog, element, empty, field, form, input, mono, part, quiet, table, time } from "../elements.js";
import { go } from "../router.js";
import { SIGN_IN } from "../routes.js";
import { person, signOut, tenant } from "../session.js";
import { account as texts, people, settings } from "../texts.js";
import { isRepeated, newPasswordFields } from "./set_password.js";
import { areFilled } from "./sign_in.js";

export async function show({ signal }) {
  const { user } = await get("/me", { signal }).catch((error) => { throw withoutPart(error); });
  return element("div", {},
    element("div", { class: "columns" },
      card(texts.who, definitions([
        [people.name, user.display_name], [texts.email, user.email],
        [texts.roles, user.roles.map((role) => people.roleName[role] ?? role).join(", ")], [texts.tenant, tenant().name]])),
      card(texts.factor, secondFactor(user)),
      card(texts.password, passwordForm(user.email))),
    card(texts.sessions, sessions(signal)));
}

// After acts that end the session on the server, which may say so.
async function leave() {
  await signOut().catch(() => {});
  go(SIGN_IN);
}

function passwordForm(email) {
  const { password: new_password, repeat } = newPasswordFields();
  const current_password = field(texts.current, input({ type: "password", autocomplete: "current-password" }));
  const fields = { current_password, new_password, repeat };
  const submit = async () => {
    if (!areFilled(Object.values(fields)) || !isRepeated({ password: new_password, repeat })) return;
    await post("/me/password", { current_password: current_password.value(), new_password: new_password.value() });
    announce(texts.passwordChanged);
    await leave();
  };
  const { node } = form(fields, texts.changePassword, submit, { kind: null, label: texts.changePassword });
  // Programs that keep passwords learn whose it is.
  node.prepend(input({ autocomplete: "username", value: email, hidden: true }));
  return node;
}

// What is shown depends on what the person has, and changes with it.
function secondFactor(user) {
  const node = part(async () => (user.second_factor
    ? element("div", {}, quiet(texts.factorOn), button(texts.turnOff, async () => {
      if (await turnOff()) await setTo(false);
    }))
    : element("div", {}, quiet(texts.factorOff), button(texts.setUp, async () => {
      if (await setUp()) await setTo(true);
    }))));
  const setTo = (isOn) => {
    user.second_factor = isOn;
    announce(isOn ? texts.factorSet : texts.factorRemoved);
    return node.refresh();
  };
  return node.node;
}

const cancel = (close) => element("button", { type: "button", on: { click: () => close() } }, settings.keep);

const codeField = () => field(texts.code, input({ autocomplete: "one-time-code", spellcheck: "false" }));

async function setUp() {
  const { secret, otpauth_uri } = await post("/me/second-factor", {});
  const codes = await dialog(texts.setUp, (close) => {
    const fields = { code: codeField() };
    const submit = async () => {
      const { recovery_codes } = await post("/me/second-factor/confirm", { code: fields.code.value().trim() });
      close(recovery_codes);
    };
    return [
      element("p", {}, texts.scan),
      definitions([[texts.secret, element("span", {}, mono(secret), " ", copyButton(secret))], [texts.address, element("span", {}, mono(otpauth_uri), " ", copyButton(otpauth_uri))]]),
      form(fields, texts.confirm, submit, { extra: [cancel(close)] }).node,
    ];
  });
  if (!codes) return false;
  await dialog(texts.codesTitle, (close) => [
    element("p", {}, texts.codesDetail),
    element("ul", { class: "mono" }, ...codes.map((code) => element("li", {}, code))),
    element("div", { class: "actions" }, copyButton(codes.join("\n")),
      element("button", { type: "button", class: "primary", on: { click: () => close(true) } }, texts.done)),
  ], { isDismissible: false });
  return true;
}

const turnOff = () => dialog(texts.turnOff, (close) => {
  const fields = { code: codeField() };
  const submit = async () => {
    await remove("/me/second-factor", { body: { code: fields.code.value().trim() } });
    close(true);
  };
  return [element("p", {}, texts.turnOffDetail), form(fields, texts.turnOff, submit, { kind: "danger", extra: [cancel(close)] }).node];
});

function sessions(signal) {
  const list = part(async () => {
    const items = await all("/me/sessions", { signal });
    if (!items.length) return empty(texts.noSessions);
    const columns = [texts.browser, texts.addressOf, texts.begun, texts.used, texts.ends, texts.acts].map((title) => ({ title }));
    return table(texts.sessions, columns, items.map((session) => rowOf(session, () => list.refresh())));
  });
  const everywhere = button(texts.endAll, async () => {
    if (!(await confirm(texts.endAllTitle, texts.endAllDetail, texts.endAll))) return;
    await remove("/me/sessions");
    await leave();
  }, { kind: "danger" });
  return element("div", {}, list.node, element("div", { class: "actions" }, everywhere));
}

function rowOf(session, refresh) {
  const act = session.is_current
    ? badge("active", texts.thisOne)
    : button(texts.end, async () => {
      await remove(`/me/sessions/${session.id}`);
      announce(texts.ended);
      await refresh();
    });
  return [session.user_agent || settings.none, session.address || settings.none, time(session.created_at_ms),
    time(session.last_used_at_ms), time(session.expires_at_ms), act];
}
