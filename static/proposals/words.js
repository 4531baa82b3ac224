// A proposed change in words, with what a person has to see before approving it.

import { element, link, quiet } from "../elements.js";
import { changes as texts, people, proposals } from "../texts.js";

export function changeInWords({ kind, change }) {
  const words = texts[kind];
  return change && words ? words(change) : texts.other(kind);
}

// The details below the words: nodes, or none.
export function changeDetails({ kind, change }) {
  if (!change) return [quiet(proposals.hidden)];
  const { guard, revision, canary, entries, entry_count, reason, roles, disabled, list, table, payment_id } = change;
  return [
    guard ? quiet(texts.guarded(guard.max_changed_percent)) : null,
    entries ? entryList(entries, entry_count) : null,
    reason ? quiet(reason) : null,
    kind === "user" ? quiet(texts.userDetail(roles?.map((role) => people.roleName[role] ?? role).join(", "), disabled)) : null,
    change.openid ? quiet(texts.openidDetail(change.openid, people.roleName)) : null,
    change.reviews ? quiet(texts.reviewDetail(change.reviews)) : null,
    seeAt(addressOf({ revision: revision ?? canary?.revision, list, table, payment_id })),
  ].filter(Boolean);
}

const entryList = (entries, count) => element("ul", { class: "entries" },
  ...entries.map(({ value, reason }) => element("li", {}, `${value} – ${reason}`)),
  count > entries.length ? element("li", {}, proposals.entriesMore(count - entries.length)) : null);

function addressOf({ revision, list, table, payment_id }) {
  if (revision) return `#/rules/revisions/${revision}`;
  if (list) return `#/lists/${encodeURIComponent(list)}`;
  if (table) return `#/tables/${encodeURIComponent(table)}`;
  if (payment_id) return `#/decisions/${payment_id}`;
  return null;
}

const seeAt = (address) => (address ? element("p", {}, link(address, proposals.see)) : null);
