// What became of a review: who decided what, when and why.

import { actor } from "../actors.js";
import { badge, card, element, link, quiet, time } from "../elements.js";
import { reviews as texts } from "../texts.js";

// Null while it waits.
export function conclusion(review) {
  if (!review.outcome) return null;
  const outcome = texts.outcomeName[review.outcome];
  const by = review.state === "expired" ? [texts.expired] : [texts.by, " ", actor(review.decided_by)];
  return element("div", { class: "notice" },
    element("p", {}, badge(review.outcome, outcome), " ", ...by, " ", time(review.decided_at_ms)),
    review.note ? element("p", {}, `${texts.note}: ${review.note}`) : null);
}

// For the view of a decision. Null if the payment was never reviewed.
export function reviewCard(review) {
  if (!review) return null;
  const words = review.state === "claimed" ? texts.cardClaimed : texts.cardOpen;
  const state = review.state === "decided" || review.state === "expired" ? "all" : "";
  const address = new URLSearchParams({ ...(state ? { state } : {}), id: review.id });
  return card(texts.card, conclusion(review) ?? quiet(words), element("p", {}, link(`#/reviews?${address}`, texts.toQueue)));
}
