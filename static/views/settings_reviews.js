// How the tenant reviews: how long a claim holds, when a review ends by itself, which events open one.

import { get, isProposal, put, withoutPart } from "../api.js";
import { announce, card, definitions, field, form, input, part, select } from "../elements.js";
import { can } from "../session.js";
import { reviewSettings as texts, settings } from "../texts.js";
import { choices } from "./settings_choices.js";

const LEASE_MIN_MAX = 1440;
const EXPIRES_AFTER_MIN_MAX = 525_600;

export async function show({ signal }) {
  const shown = part(async () => {
    const found = await get("/settings/reviews", { signal }).catch((error) => { throw withoutPart(error); });
    return can("settings:write") ? editor(found) : inWords(found);
  });
  return card(texts.title, shown.node);
}

function inWords({ lease_min, expires_after_min, expires_to, event_kinds }) {
  const outcome = Object.fromEntries(texts.outcomes)[expires_to];
  return definitions([
    [texts.lease, texts.minutes(lease_min)],
    [texts.expiresAfter, expires_after_min ? texts.minutes(expires_after_min) : texts.never],
    [texts.expiresTo, outcome],
    [texts.kinds, event_kinds.join(", ") || texts.none],
  ]);
}

function editor(found) {
  const number = (value) => input({ inputmode: "numeric", value: value ?? "" });
  const fields = {
    lease_min: field(texts.lease, number(found.lease_min), { help: texts.leaseHelp }),
    expires_after_min: field(texts.expiresAfter, number(found.expires_after_min), { help: texts.expiresAfterHelp }),
    expires_to: field(texts.expiresTo, select(texts.outcomes, found.expires_to ?? texts.outcomes[0][0])),
    event_kinds: choices(texts.kinds, texts.kind, found.event_kinds, { help: texts.kindsHelp }),
  };
  const submit = async () => {
    const lease_min = minutes(fields.lease_min, LEASE_MIN_MAX, texts.leaseWrong);
    const expires = fields.expires_after_min.value().trim() !== "";
    const expires_after_min = expires ? minutes(fields.expires_after_min, EXPIRES_AFTER_MIN_MAX, texts.expiresAfterWrong) : undefined;
    if (lease_min === null || expires_after_min === null) return;
    const saved = await put("/settings/reviews", {
      lease_min, event_kinds: fields.event_kinds.value(),
      ...(expires ? { expires_after_min, expires_to: fields.expires_to.value() } : {}),
    });
    if (!isProposal(saved)) announce(settings.saved);
  };
  return form(fields, settings.save, submit, { label: texts.title }).node;
}

// Null if it is wrong, which is then shown.
function minutes(one, most, wrong) {
  const text = one.value().trim();
  const number = Number(text);
  const isRight = /^\d+$/.test(text) && number >= 1 && number <= most;
  if (!isRight) one.fail(wrong);
  return isRight ? number : null;
}
