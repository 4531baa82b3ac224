// Erasing the personal data of one payment. Another payment must never be erased by a slip, so it asks
// once more with the id.

import { actor } from "../actors.js";
import { isProposal, post } from "../api.js";
import { card, confirm, definitions, element, field, fill, form, input, link, mono, quiet, time } from "../elements.js";
import { erasure as texts } from "../texts.js";

export async function show({ query }) {
  const done = element("div", { role: "status" });
  const fields = {
    payment: field(texts.payment, input({ value: query.get("payment"), spellcheck: "false", class: "mono" }), { help: texts.paymentHelp }),
    reason: field(texts.reason, input({ maxlength: 500 }), { help: texts.reasonHelp }),
  };
  const submit = async () => {
    const missing = Object.values(fields).filter((one) => one.value().trim() === "");
    for (const one of missing) one.fail(texts.required);
    if (missing.length) return;
    const id = fields.payment.value().trim();
    if (!(await confirm(texts.confirmTitle, texts.confirmDetail(id), texts.confirm))) return;
    const erased = await post(`/decisions/${encodeURIComponent(id)}/erasure`, { reason: fields.reason.value().trim() });
    if (isProposal(erased)) return fill(done);
    return fill(done, definitions([
      [texts.payment, link(`#/decisions/${erased.payment_id}`, mono(erased.payment_id))],
      [texts.done, time(erased.erased_at_ms)], [texts.by, actor(erased.erased_by)], [texts.reason, erased.reason]]));
  };
  const erase = form(fields, texts.erase, submit, { kind: "danger", label: texts.title });
  return card(texts.title, quiet(texts.detail), erase.node, done);
}
