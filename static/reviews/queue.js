// The queue as a list, oldest first. It is read again while it is shown, and a row that a person is on
// must not lose the focus.

import { get } from "../api.js";
import { badge, button, element, fill, money } from "../elements.js";
import { person } from "../session.js";
import { reviews as texts } from "../texts.js";

const PAGE_LENGTH = 50;
const PAGE_LENGTH_MAX = 200;

// `onSelect(item)` is told of a click. `whenEmpty()` gives what stands in place of an empty list.
export function queue({ conditions, signal, onSelect, whenEmpty }) {
  let items = [];
  let cursor = null;
  let selected = null;
  const rows = new Map();
  const list = element("ol", { class: "queue" });
  const rest = element("div", {});
  const node = element("div", {}, list, rest);

  const read = (query) => get("/reviews", { query: { ...conditions, ...query }, signal });

  async function refresh() {
    const limit = Math.min(Math.max(items.length, PAGE_LENGTH), PAGE_LENGTH_MAX);
    const page = await read({ limit });
    const last = page.items.at(-1)?.id;
    // Only the first page was read again, so the items after it stay as they were shown.
    const beyond = page.next_cursor && last ? items.filter(({ id }) => id > last) : [];
    items = [...page.items, ...beyond];
    if (!beyond.length) cursor = page.next_cursor ?? null;
    draw();
  }

  async function more() {
    const page = await read({ limit: PAGE_LENGTH, cursor });
    const known = new Set(items.map(({ id }) => id));
    items = [...items, ...page.items.filter(({ id }) => !known.has(id))];
    cursor = page.next_cursor ?? null;
    draw();
  }

  function rowOf(item) {
    const row = rows.get(item.id) ?? newRow(item.id);
    fill(row.firstChild, ...contentOf(item));
    if (item.id === selected) row.firstChild.setAttribute("aria-current", "true");
    else row.firstChild.removeAttribute("aria-current");
    return row;
  }

  function newRow(id) {
    const open = () => onSelect(items.find((item) => item.id === id));
    const row = element("li", { "data-id": id }, element("button", { type: "button", class: "queue-item", on: { click: open } }));
    rows.set(id, row);
    return row;
  }

  function draw() {
    const focused = document.activeElement?.closest?.("[data-id]")?.dataset.id;
    const wanted = items.map(rowOf);
    const isSame = wanted.length === list.children.length && wanted.every((row, place) => list.children[place] === row);
    if (!isSame) list.replaceChildren(...wanted);
    if (focused && !isSame) rows.get(focused)?.firstChild.focus({ preventScroll: true });
    for (const id of [...rows.keys()].filter((known) => !items.some((item) => item.id === known))) rows.delete(id);
    list.hidden = items.length === 0;
    fill(rest, items.length ? null : whenEmpty(), cursor ? button(texts.more, more) : null);
  }

  return {
    node,
    refresh,
    items: () => items,
    select(id, { focus = false } = {}) {
      selected = id;
      draw();
      const row = rows.get(id)?.firstChild;
      row?.scrollIntoView({ block: "nearest" });
      if (focus) row?.focus({ preventScroll: true });
    },
    // Shows at once what a change has given.
    replace(changed) {
      items = items.map((item) => (item.id === changed.id ? changed : item));
      draw();
    },
  };
}

const contentOf = (item) => [
  element("span", { class: "queue-line" },
    element("strong", {}, item.reference ?? texts.erased),
    element("span", { class: "number" }, money(item.amount_minor, item.currency))),
  element("span", { class: "queue-line quiet" },
    element("span", {}, codesOf(item).join(", ") || texts.causeName[item.cause]),
    element("span", {}, texts.age((Date.now() - item.opened_at_ms) / 1000))),
  stateOf(item),
];

const codesOf = ({ reasons }) => [...new Set((reasons ?? []).map(({ code }) => code))];

function stateOf(item) {
  if (item.state === "open") return null;
  if (item.state === "claimed") {
    const words = item.claimed_by === person().id ? texts.byYou : texts.claimedBy(item.claimed_by_name ?? texts.somebody);
    return element("span", { class: "claimed" }, words);
  }
  return element("span", {}, badge(item.outcome, texts.outcomeName[item.outcome]), " ", item.state === "expired" ? texts.stateName.expired : item.decided_by_name);
}
