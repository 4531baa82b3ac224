// Decisions by outcome over time: what the server has counted, continued by the feed. No decision is
// counted twice, since the server says up to which time it has counted.

import { get } from "./api.js";
import { now as texts } from "./texts.js";

// Events may come again after a lost connection, but not after so many others.
const REMEMBERED_MAX = 50_000;

// A span is `count` steps of `step_ms`, which the API calls `step`. Gives `items()` up to now, oldest first,
// `add(decision)` for decisions of the feed, `lastEventId` from which the feed goes on, and `note`.
export async function outcomeCounts({ step, step_ms, count }, signal) {
  const history = await get("/decisions/counts", { query: { step, from_ms: Date.now() - count * step_ms }, signal })
    .catch((error) => {
      if (signal.aborted) throw error;
      return null;
    });
  const counted_ms = history?.to_ms ?? 0;
  const byTime = new Map((history?.items ?? []).map((item) => [item.from_ms, item]));
  const seen = new Set();
  const at = (from_ms) => byTime.get(from_ms) ?? { from_ms, approve: 0, review: 0, reject: 0 };

  function add({ id, received_at_ms: at_ms, outcome }) {
    if (at_ms < counted_ms || seen.has(id)) return;
    seen.add(id);
    if (seen.size > REMEMBERED_MAX) seen.delete(seen.values().next().value);
    const item = at(Math.floor(at_ms / step_ms) * step_ms);
    item[outcome] += 1;
    byTime.set(item.from_ms, item);
  }

  // The clock of the server may be ahead of this one's.
  function items() {
    const newest_ms = Math.max(Date.now(), ...byTime.keys());
    const last_ms = Math.floor(newest_ms / step_ms) * step_ms;
    const first_ms = last_ms - (count - 1) * step_ms;
    for (const from_ms of byTime.keys()) if (from_ms < first_ms) byTime.delete(from_ms);
    return Array.from({ length: count }, (_, place) => at(first_ms + place * step_ms));
  }

  const note = history === null ? texts.sinceOpened : history.complete ? "" : texts.incomplete;
  return { items, add, lastEventId: history?.last_event_id ?? "", note };
}
