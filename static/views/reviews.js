// The review queue: what waits at the left, the evidence of the selected one beside it.

import { announceFailure, button, card, element, empty, failure, fill, heading, quiet } from "../elements.js";
import { conditionsOf, filters } from "../reviews/filters.js";
import { listenToKeys, showKeys } from "../reviews/keys.js";
import { queue } from "../reviews/queue.js";
import { selected } from "../reviews/selected.js";
import { can } from "../session.js";
import { follow } from "../stream.js";
import { reviews as texts } from "../texts.js";

// The feed tells of new and of decided reviews, but not of claims.
const READ_EVERY_MS = 5000;
const READ_AFTER_EVENT_MS = 500;

export async function show({ query, signal, setQuery, refresh }) {
  const own = Object.fromEntries([...query].filter(([name]) => name !== "id"));
  const beside = element("div", { id: "review" }, quiet(texts.select));
  let open = null;
  let leaving = null;

  const search = filters(query, (next) => {
    setQuery(next);
    return refresh();
  });
  const list = queue({
    conditions: conditionsOf(query),
    signal,
    onSelect: (item) => select(item.id),
    whenEmpty: () => (Object.keys(own).length ? empty(texts.noneLike) : empty(texts.none, quiet(texts.noneDetail))),
  });

  function select(id, options) {
    if (open?.id !== id) {
      leaving?.abort();
      leaving = new AbortController();
      signal.addEventListener("abort", () => leaving.abort(), { once: true });
      open = selected({ id, signal: leaving.signal, onChange: list.replace, onDecided: next });
      fill(beside, open.node);
      setQuery({ ...own, id }, { replace: true });
    }
    list.select(id, options);
  }

  function step(by) {
    const items = list.items();
    const place = items.findIndex(({ id }) => id === open?.id);
    const item = items[place < 0 ? 0 : place + by];
    if (item) select(item.id, { focus: true });
  }

  // The one after what was just decided, or the first that waits.
  async function next(id) {
    const items = list.items();
    const place = items.findIndex((item) => item.id === id);
    const waits = ({ id: other, state }) => other !== id && (state === "open" || state === "claimed");
    const item = items.slice(place + 1).find(waits) ?? items.find(waits);
    if (item) select(item.id, { focus: true });
    await list.refresh().catch(announceFailure);
    if (!item) leave();
  }

  function leave() {
    leaving?.abort();
    open = null;
    fill(beside, quiet(texts.select));
    setQuery(own, { replace: true });
    list.select(null);
  }

  const act = (name) => () => open?.[name]().catch(announceFailure);
  listenToKeys({
    j: () => step(1), k: () => step(-1), a: act("approve"), r: act("reject"), c: act("claim"), h: act("handBack"), "?": showKeys,
  }, signal);

  const problems = element("div", {});
  const reread = () => list.refresh().then(() => fill(problems)).catch((problem) => {
    if (problem.name === "AbortError") return;
    if (problem.errors?.length) search.show(problem);
    fill(problems, failure(problem, reread));
  });
  await reread();
  keepFresh(reread, signal);
  const first = query.get("id") ?? list.items()[0]?.id;
  if (first) select(first);

  return element("div", {},
    heading(texts.title, button(texts.keys, showKeys, { "aria-keyshortcuts": "?" })),
    element("div", { class: "reviews" },
      element("div", { class: "queue-side" }, search.node, card(texts.queue, problems, list.node)), beside));
}

// Reads again every few seconds, and soon after the feed has told of something.
function keepFresh(reread, signal) {
  let soon = null;
  const timer = setInterval(reread, READ_EVERY_MS);
  const later = () => { soon ??= setTimeout(() => { soon = null; reread(); }, READ_AFTER_EVENT_MS); };
  signal.addEventListener("abort", () => { clearInterval(timer); clearTimeout(soon); }, { once: true });
  if (!can("decisions:read")) return;
  follow({
    signal,
    onEvent: ({ kind, data }) => { if (kind === "review" || (kind === "decision" && data.outcome === "review")) later(); },
    onState: () => {},
  });
}
