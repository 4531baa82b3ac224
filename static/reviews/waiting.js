// How much waits for a person, for the view of the present.

import { get } from "../api.js";
import { card, element, link, part } from "../elements.js";
import { can } from "../session.js";
import { reviews as texts } from "../texts.js";

const READ_EVERY_MS = 10_000;
// More cannot wait.
const PROPOSALS_MAX = 100;

// Null if the person may not see reviews.
export function waitingCard(signal) {
  if (!can("reviews:read")) return null;
  const figures = part(async () => {
    const [summary, proposals] = await Promise.all([
      get("/reviews/summary", { query: { since_ms: new Date().setHours(0, 0, 0, 0) }, signal }),
      can("rulesets:read") ? get("/proposals", { query: { state: "open", limit: PROPOSALS_MAX }, signal }) : { items: [] },
    ]);
    const oldest = summary.oldest_open_age_s === undefined ? null : texts.age(summary.oldest_open_age_s);
    return element("ul", { class: "figures" },
      figure(summary.open.toLocaleString(), texts.waitingOpen),
      figure(summary.claimed.toLocaleString(), texts.waitingClaimed),
      oldest ? figure(oldest, texts.waitingOldest) : null,
      figure(summary.decided_today.toLocaleString(), texts.waitingDecided),
      proposals.items.length ? figure(link("#/proposals", proposals.items.length.toLocaleString()), texts.waitingProposals) : null);
  });
  const timer = setInterval(figures.refresh, READ_EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  return card(texts.waiting, figures.node, element("p", {}, link("#/reviews", texts.toQueue)));
}

const figure = (number, name) => element("li", {}, element("strong", {}, number), name);
