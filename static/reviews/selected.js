// The selected review: its state, what a person can do with it, and the evidence of its decision.

import { actor } from "../actors.js";
import { get, post } from "../api.js";
import { announce, badge, button, card, definitions, element, fill, link, money, part, quiet, table, time } from "../elements.js";
import { evidence, othersCard } from "../decisions/evidence.js";
import { can } from "../session.js";
import { decision as decisionTexts, reviews as texts } from "../texts.js";
import { conclusion } from "./conclusion.js";
import { lease } from "./lease.js";
import { noteForm } from "./note_form.js";

const isWaiting = ({ state }) => state === "open" || state === "claimed";

// `onChange(review)` gets what a change has given, `onDecided(id)` the id of a review that has ended.
export function selected({ id, signal, onChange, onDecided }) {
  let review = null;
  let note = null;
  const mayDecide = can("reviews:write");
  const top = element("div", {});
  const acts = element("div", { class: "actions" });
  const notePlace = element("div", {});
  const leaseLine = lease({ signal, renew: () => change("claim") });

  async function change(act) {
    return shown(await reporting(post(`/reviews/${id}/${act}`, undefined, { signal })));
  }

  function shown(next) {
    // The events come with the review itself only.
    review = { events: review?.events ?? [], ...next };
    draw();
    onChange(next);
    return next;
  }

  // After a conflict, the review shows who did what.
  async function reporting(call) {
    try {
      return await call;
    } catch (problem) {
      if (problem.status === 409) await read().catch(() => {});
      throw problem;
    }
  }

  async function read() {
    shown(await get(`/reviews/${id}`, { signal }));
    return review;
  }

  async function openNote(outcome) {
    if (!mayDecide || !review || !isWaiting(review)) return;
    // Nobody else decides it while this person writes.
    if (!leaseLine.isOwn()) await change("claim");
    note?.close();
    note = noteForm({ id, outcome, onSend: (text) => decide(outcome, text), onClose: noteClosed });
    fill(notePlace, note.node);
    note.focus();
  }

  function noteClosed() {
    note = null;
    // The focus was in the form.
    acts.querySelector("button, a")?.focus();
  }

  async function decide(outcome, text) {
    shown(await reporting(post(`/reviews/${id}/decision`, { outcome, note: text }, { signal })));
    announce(texts.done[outcome]);
    onDecided(id);
  }

  const claim = async () => {
    if (!mayDecide || !review || !isWaiting(review)) return;
    await change("claim");
    announce(texts.claimed);
  };

  const handBack = async () => {
    if (!mayDecide || !leaseLine.isOwn()) return;
    await change("hand-back");
    announce(texts.handedBack);
  };

  function draw() {
    leaseLine.show(review);
    fill(top,
      element("div", { class: "title" },
        element("h3", {}, review.reference ?? texts.erased), element("span", {}, money(review.amount_minor, review.currency)),
        badge(review.state, texts.stateName[review.state])),
      definitions([
        [texts.opened, time(review.opened_at_ms)],
        [texts.expiresAt, review.expires_at_ms ? time(review.expires_at_ms) : null],
      ]),
      conclusion(review));
    drawActs();
  }

  function drawActs() {
    const isFree = mayDecide && isWaiting(review);
    // Redrawing must not take the focus away from a button.
    const had = acts.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    fill(acts,
      isFree ? button(texts.approve, () => openNote("approve"), { kind: "primary", "data-act": "approve", "aria-keyshortcuts": "a" }) : null,
      isFree ? button(texts.reject, () => openNote("reject"), { kind: "danger", "data-act": "reject", "aria-keyshortcuts": "r" }) : null,
      isFree ? button(leaseLine.isOwn() ? texts.renew : texts.claim, claim, { "data-act": "claim", "aria-keyshortcuts": "c" }) : null,
      isFree && leaseLine.isOwn() ? button(texts.handBack, handBack, { "data-act": "hand-back", "aria-keyshortcuts": "h" }) : null,
      link(`#/decisions/${review.payment_id}`, texts.open));
    if (had) (acts.querySelector(`[data-act="${had}"]`) ?? acts.querySelector("button"))?.focus();
  }

  const body = part(async () => {
    const { payment_id } = await read();
    const proof = part(async () => element("div", {}, ...await evidenceOf(payment_id, signal)));
    return element("div", {}, card(texts.card, top, leaseLine.node, acts, notePlace), eventsOf(review), proof.node);
  });

  return { node: body.node, id, claim, handBack, approve: () => openNote("approve"), reject: () => openNote("reject"), read };
}

const eventsOf = ({ events }) => (events.length
  ? card(texts.events, table(texts.events, [texts.event, texts.at, texts.actor, texts.eventNote].map((title) => ({ title })),
    events.map((event) => [event.kind, time(event.at_ms), actor(event.actor), event.note ?? ""])))
  : null);

async function evidenceOf(payment, signal) {
  try {
    const decision = await get(`/decisions/${payment}`, { signal });
    return [...evidence(decision), othersCard(decision, signal)].filter(Boolean);
  } catch (problem) {
    if (problem.code !== "erased") throw problem;
    return [card(decisionTexts.erasedTitle, quiet(problem.detail))];
  }
}
