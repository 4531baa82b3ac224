// The certificate that a client must show: what it is now, and two fields that change it.

import { element, field, input, mono, select } from "../elements.js";
import { clients as texts } from "../texts.js";

// A binding of the API has exactly one member: its kind.
const kindOf = (binding) => Object.keys(binding ?? {})[0] ?? "";

export function boundTo({ certificate }) {
  const kind = kindOf(certificate);
  return kind ? element("p", { class: "quiet" }, `${texts.certificateNeeded[kind]} `, mono(certificate[kind])) : null;
}

// The second is named as the member of the API, so that errors of the API are shown at it.
export function bindingFields(binding) {
  const kind = kindOf(binding);
  const choice = select(texts.certificateKinds, kind);
  const value = field(texts.certificateValue, input({ value: binding?.[kind], spellcheck: "false" }), { help: texts.certificateValueHelp });
  const show = () => { value.node.hidden = choice.value === ""; };
  choice.addEventListener("change", show);
  show();
  return { certificate_kind: field(texts.certificate, choice, { help: texts.certificateHelp }), certificate: value };
}

export function isBinding({ certificate_kind: kind, certificate: value }) {
  const isGiven = kind.value() === "" || value.value().trim() !== "";
  if (!isGiven) value.fail(texts.certificateMissing);
  return isGiven;
}

export const readBinding = ({ certificate_kind: kind, certificate: value }) =>
  (kind.value() === "" ? null : { [kind.value()]: value.value().trim() });
