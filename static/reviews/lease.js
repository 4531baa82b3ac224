// The time for which a review is claimed, as it passes. While the person does something, a claim of their
// own is renewed before it ends.

import { element, time } from "../elements.js";
import { person } from "../session.js";
import { reviews as texts } from "../texts.js";

const TICK_MS = 1000;

// `renew()` claims again and resolves to the review. `show(review)` starts with another state.
export function lease({ signal, renew }) {
  const node = element("p", { class: "lease" });
  let review = null;
  let length_ms = 0;
  let active_ms = Date.now();
  let isRenewing = false;
  for (const kind of ["keydown", "pointerdown", "pointermove", "wheel"]) {
    document.addEventListener(kind, () => { active_ms = Date.now(); }, { signal, passive: true });
  }

  const isOwn = () => review?.claimed_by === person()?.id;

  async function tick() {
    if (!review) return;
    const left_ms = (review.claimed_until_ms ?? 0) - Date.now();
    if (isOwn()) node.textContent = left_ms > 0 ? texts.left(left_ms / 1000) : texts.lapsed;
    const isActive = Date.now() - active_ms < length_ms / 2;
    if (!isOwn() || !isActive || isRenewing || left_ms <= 0 || left_ms > length_ms / 2) return;
    isRenewing = true;
    try {
      await renew();
    } catch {
      // The time left goes on to be shown, and the next tick tries again.
    } finally {
      isRenewing = false;
    }
  }

  const timer = setInterval(tick, TICK_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });

  function show(next) {
    review = next;
    length_ms = Math.max(0, (next?.claimed_until_ms ?? 0) - Date.now());
    if (!next || next.state === "decided" || next.state === "expired") node.textContent = "";
    else if (isOwn()) node.textContent = texts.left(length_ms / 1000);
    else if (next.state === "claimed") node.replaceChildren(`${texts.claimedUntil(next.claimed_by_name ?? texts.somebody)} `, time(next.claimed_until_ms));
    else node.textContent = texts.free;
  }

  return { node, show, isOwn };
}
