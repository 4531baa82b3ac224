// Choosing a password with a one-time link.

import { announce, element, field, form, heading, input, quiet } from "../elements.js";
import { setPassword } from "../session.js";
import { signIn as texts } from "../texts.js";
import { areFilled } from "./sign_in.js";

export const newPasswordFields = () => ({
  password: field(texts.newPassword, input({ type: "password", name: "new-password", autocomplete: "new-password" })),
  repeat: field(texts.repeat, input({ type: "password", name: "repeat", autocomplete: "new-password" })),
});

export function isRepeated({ password, repeat }) {
  const isSame = password.value() === repeat.value();
  if (!isSame) repeat.fail(texts.differ);
  return isSame;
}

export function setPasswordView(oneTimeToken, onSet) {
  const fields = newPasswordFields();
  const submit = async () => {
    if (!areFilled(Object.values(fields)) || !isRepeated(fields)) return;
    await setPassword(oneTimeToken, fields.password.value());
    announce(texts.setDone);
    onSet();
  };
  return element("div", { class: "card narrow" }, heading(texts.setTitle), quiet(texts.setDetail), form(fields, texts.setSubmit, submit).node);
}
