// Signing in: as a view of its own, and as a dialog above the view in which the session ended.

import { dialog, element, field, form, heading, input } from "../elements.js";
import { signIn } from "../session.js";
import { signIn as texts } from "../texts/shell.js";

// `known` has the tenant and e-mail of the session that ended.
export function signInForm(onSignedIn, { known = {}, extra = [] } = {}) {
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
  return made.node;
}

export function areFilled(fields) {
  const missing = fields.filter((one) => one.value().trim() === "");
  for (const one of missing) one.fail(texts.required);
  missing[0]?.control.focus();
  return missing.length === 0;
}

export function signInView(onSignedIn) {
  return element("div", { class: "card narrow" }, heading(texts.title), signInForm(onSignedIn));
}

// Resolves to whether the person signed in again.
export function signInDialog({ tenant, email }) {
  return dialog(texts.again, (close) => [
    element("p", {}, texts.againDetail),
    signInForm(() => close(true), {
      known: { tenant, email },
      extra: [element("button", { type: "button", on: { click: () => close(false) } }, texts.leave)],
    }),
  ], { isDismissible: false });
}
