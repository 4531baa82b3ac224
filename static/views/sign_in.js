// Signing in: as a view of its own, and as a dialog above the view in which the session ended.

import { dialog, element, field, form, heading, input, quiet } from "../elements.js";
import { address } from "../router.js";
import { resume, signIn } from "../session.js";
import { signIn as texts } from "../texts.js";

// `known` has the tenant and e-mail of the session that ended.
export function signInForm(onSignedIn, { known = {}, extra = [], isDialog = false } = {}) {
  const fields = {
    tenant: field(texts.tenant, input({ name: "tenant", autocomplete: "organization", spellcheck: "false", autocapitalize: "none", value: known.tenant, required: true }), { help: texts.tenantHelp }),
    email: field(texts.email, input({ name: "email", type: "email", autocomplete: "username", spellcheck: "false", value: known.email, required: true })),
    password: field(texts.password, input({ name: "password", type: "password", autocomplete: "current-password", required: true, autofocus: Boolean(known.email) })),
    code: field(texts.code, input({ name: "code", autocomplete: "one-time-code", inputmode: "numeric", spellcheck: "false" }), { help: texts.codeHelp }),
  };
  fields.code.node.hidden = true;
  const submit = async () => {
    if (!areFilled([fields.tenant, fields.email, fields.password])) return;
    const code = fields.code.value().trim();
    const credentials = { tenant: fields.tenant.value().trim(), email: fields.email.value().trim(), password: fields.password.value() };
    try {
      await signIn(code ? { ...credentials, code } : credentials);
    } catch (problem) {
      if (problem.code !== "second-factor-required") throw problem;
      fields.code.node.hidden = false;
      fields.code.fail(texts.codeNeeded);
      fields.code.control.focus();
      return;
    }
    fields.password.control.value = "";
    await onSignedIn();
  };
  const made = form(fields, texts.submit, submit, { extra, label: texts.title });
  made.node.id = "sign-in-form";
  made.node.append(companyLink(fields.tenant.control, isDialog));
  if (isDialog) continueOnReturn(made.node, onSignedIn);
  return made.node;
}

// Leads to the provider of the tenant whose name is typed. A dialog opens another tab, so that the view
// below it stays as it is.
function companyLink(tenant, isDialog) {
  const target = isDialog ? { target: "_blank" } : {};
  const way = element("a", { id: "company-account", class: "button", ...target }, texts.company);
  const node = element("div", { class: "actions" }, quiet(texts.companyDetail), way);
  const update = () => {
    const place = isDialog || address().path === "sign-in" ? "" : location.hash.replace(/^#\/?/, "");
    node.hidden = tenant.value.trim() === "";
    way.href = `/session/openid?${new URLSearchParams({ tenant: tenant.value.trim(), place })}`;
  };
  tenant.addEventListener("input", update);
  update();
  return node;
}

// The person may come back from another tab in which a session has begun.
function continueOnReturn(node, onSignedIn) {
  const leaving = new AbortController();
  window.addEventListener("focus", async () => {
    if (!node.isConnected) return leaving.abort();
    if (await resume().catch(() => false)) await onSignedIn();
  }, { signal: leaving.signal });
}

export function areFilled(fields) {
  const missing = fields.filter((one) => one.value().trim() === "");
  for (const one of missing) one.fail(texts.required);
  missing[0]?.control.focus();
  return missing.length === 0;
}

export function signInView(onSignedIn) {
  const { query } = address();
  const code = query.get("refused");
  const refusal = code ? element("div", { class: "failure", role: "alert" }, element("p", {}, texts.refused[code] ?? texts.refused.failed)) : null;
  return element("div", { class: "card narrow" }, heading(texts.title), refusal,
    signInForm(onSignedIn, { known: { tenant: query.get("tenant") ?? "" } }));
}

// Resolves to whether the person signed in again.
export function signInDialog({ tenant, email }) {
  return dialog(texts.again, (close) => [
    element("p", {}, texts.againDetail),
    signInForm(() => close(true), {
      known: { tenant, email },
      isDialog: true,
      extra: [element("button", { type: "button", on: { click: () => close(false) } }, texts.leave)],
    }),
  ], { isDismissible: false });
}
