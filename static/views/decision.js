// One decision as a readable page.

import { actor } from "../actors.js";
import { get } from "../api.js";
import { badge, card, definitions, element, heading, link, money, time } from "../elements.js";
import { chainCard, eventsCard, evidence, othersCard } from "../decisions/evidence.js";
import { replay } from "../decisions/replay.js";
import { reviewCard } from "../reviews/conclusion.js";
import { can } from "../session.js";
import { decision as texts } from "../texts.js";

export async function show({ parameters, signal }) {
  const id = encodeURIComponent(parameters.id);
  let decision;
  try {
    decision = await get(`/decisions/${id}`, { signal });
  } catch (problem) {
    if (problem.code !== "erased") throw problem;
    return erased(await get(`/payments/${id}`, { signal }), signal);
  }
  const { button, place } = replay(id);
  const erase = can("payments:erase") ? link(`#/settings/erasure?payment=${id}`, texts.erase) : null;
  return element("div", {},
    element("p", {}, link("#/decisions", texts.back)),
    heading(texts.title(decision.payment.reference), badge(decision.outcome), button, erase),
    place, reviewCard(decision.review),
    ...evidence(decision),
    chainCard(decision), eventsCard(id, signal), othersCard(decision, signal));
}

const erased = (left, signal) => element("div", {},
  element("p", {}, link("#/decisions", texts.back)),
  heading(texts.title(left.id), badge(left.outcome)),
  card(texts.erasedTitle, element("p", {}, texts.erasedDetail), definitions([
    [texts.amount, money(left.amount_minor, left.currency)],
    [texts.method, left.method.replaceAll("_", " ")],
    [texts.received, time(left.received_at_ms)],
    [texts.revision, left.revision],
    [texts.client, actor(`client:${left.client}`)],
    [texts.erasedAt, left.erased_at_ms ? time(left.erased_at_ms) : null],
  ])),
  reviewCard(left.review),
  eventsCard(encodeURIComponent(left.id), signal));
