// The present: decisions as they happen, what waits for a person, what fails.

import { all, get, isMissing, withoutPart } from "../api.js";
import { stackedBars } from "../charts.js";
import { COLUMNS, row } from "../decisions/list.js";
import { card, element, empty, fill, heading, link, part, quiet, table, time } from "../elements.js";
import { can } from "../session.js";
import { follow } from "../stream.js";
import { now as texts } from "../texts/now.js";

const OUTCOMES = ["approve", "review", "reject"];
const SPANS = [
  { title: texts.hour, every_s: 60, intervals: 60 },
  { title: texts.day, every_s: 900, intervals: 96 },
];
const NEWEST_SHOWN = 12;
const DRAW_EVERY_MS = 1000;
const WAITING_COUNTED_MAX = 50;

export async function show({ signal }) {
  const active = can("rulesets:read") ? await get("/rulesets/payment", { signal }).catch(() => null) : null;
  const spans = await Promise.all(SPANS.map((span) => spanOf(span, signal)));
  const newest = await newestOf(signal);
  const live = element("span", { class: "live lost", role: "status" }, texts.lost);
  const isDrawn = drawing([...spans, newest]);
  follow({
    signal,
    onEvent: ({ kind, data }) => {
      if (kind !== "decision") return;
      for (const one of [...spans, newest]) one.add(data);
      isDrawn.later();
    },
    onState: (isLive) => {
      live.classList.toggle("lost", !isLive);
      live.textContent = isLive ? texts.live : texts.lost;
    },
  });
  const revision = active?.revision;
  return element("div", {},
    heading(texts.title, live),
    active && !revision ? firstSteps() : null,
    element("div", { class: "columns" }, ...spans.map((span) => span.node)),
    element("div", { class: "columns" }, waiting(signal), can("rulesets:read") ? troubles(signal) : null),
    newest.node,
    revision ? costs(revision.number, signal) : null);
}

// Draws at most once in a while, however many events arrive.
function drawing(parts) {
  let timer = null;
  const draw = () => {
    timer = null;
    for (const one of parts) one.draw();
  };
  return { later: () => { timer ??= setTimeout(draw, DRAW_EVERY_MS); } };
}

async function spanOf({ title, every_s, intervals }, signal) {
  const every_ms = every_s * 1000;
  const counts = await countsOf(every_s, intervals, signal);
  const items = counts.items;
  const body = element("div", {});
  const add = ({ received_at_ms: at_ms, outcome }) => {
    while (at_ms >= items.at(-1).from_ms + every_ms) {
      items.push({ from_ms: items.at(-1).from_ms + every_ms, approve: 0, review: 0, reject: 0 });
      items.shift();
    }
    const item = items.findLast(({ from_ms }) => from_ms <= at_ms);
    if (item) item[outcome] += 1;
  };
  const draw = () => fill(body, ...pictureOf(title, items, every_s, counts.counted_from_ms));
  draw();
  return { node: card(title, body), add, draw };
}

// A server without counts gives no history, so the chart begins to fill now.
async function countsOf(every_s, intervals, signal) {
  try {
    return await get("/decisions/counts", { query: { every_s, intervals }, signal });
  } catch (problem) {
    if (!isMissing(problem)) throw problem;
  }
  const from_ms = Date.now() - (intervals - 1) * every_s * 1000;
  const item = (_, place) => ({ from_ms: from_ms + place * every_s * 1000, approve: 0, review: 0, reject: 0 });
  return { items: Array.from({ length: intervals }, item) };
}

function pictureOf(title, items, every_s, countedFrom_ms) {
  const sums = OUTCOMES.map((outcome) => items.reduce((sum, item) => sum + item[outcome], 0));
  const total = sums.reduce((a, b) => a + b, 0);
  const share = (sum) => (total ? texts.share((100 * sum / total).toFixed(1)) : texts.none);
  const perMinute = total / ((items.length * every_s) / 60);
  const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return [
    element("ul", { class: "figures" },
      figure(total.toLocaleString(), texts.payments),
      figure(perMinute.toFixed(1), texts.perMinute),
      ...OUTCOMES.map((outcome, place) => figure(share(sums[place]), texts[outcome], outcome))),
    stackedBars(items, {
      label: texts.chart(title, total, ...sums),
      words: (item) => texts.bar(clock(item.from_ms), item),
      tick: (item) => clock(item.from_ms),
    }),
    countedFrom_ms ? quiet(texts.countedFrom(new Date(countedFrom_ms).toLocaleString())) : null,
  ];
}

const figure = (number, name, kind = "") => element("li", {}, element("strong", { class: kind }, number), name);

async function newestOf(signal) {
  const { items: first } = await get("/payments", { query: { limit: NEWEST_SHOWN }, signal });
  let items = first;
  const body = element("div", { id: "newest" });
  const add = (item) => {
    if (items.some(({ id }) => id === item.id)) return;
    items = [item, ...items].sort((a, b) => b.received_at_ms - a.received_at_ms).slice(0, NEWEST_SHOWN);
  };
  const draw = () => {
    // Rows must not move under the hand or the focus of a person.
    if (body.matches(":hover, :focus-within")) return;
    fill(body, items.length ? table(texts.newest, COLUMNS, items.map(row)) : empty(texts.noDecisions));
  };
  draw();
  return { node: card(texts.newest, body), add, draw };
}

// A list of which only the number matters. A server without it counts as none.
async function counted(path, signal) {
  try {
    const page = await get(path, { query: { state: "open", limit: WAITING_COUNTED_MAX }, signal });
    return { count: page.items.length, isMore: Boolean(page.next_cursor) };
  } catch (problem) {
    if (isMissing(problem) || problem.status === 403) return { count: 0, isMore: false };
    throw problem;
  }
}

function waiting(signal) {
  return card(texts.waiting, part(async () => {
    const none = { count: 0 };
    const reviews = can("reviews:read") ? await counted("/reviews", signal) : none;
    const proposals = can("rulesets:read") ? await counted("/proposals", signal) : none;
    const entries = [
      reviews.count ? link("#/reviews", texts.reviews(reviews.count, reviews.isMore)) : null,
      proposals.count ? link("#/rules", texts.proposals(proposals.count, proposals.isMore)) : null,
    ].filter(Boolean);
    return entries.length ? element("ul", {}, ...entries.map((entry) => element("li", {}, entry))) : quiet(texts.nothingWaits);
  }).node);
}

function troubles(signal) {
  return card(texts.troubles, part(async () => {
    const quarantines = await all("/rulesets/payment/quarantines", { signal });
    const open = quarantines.filter((one) => !one.lifted_at_ms);
    if (!open.length) return quiet(texts.noTroubles);
    return element("ul", {}, ...open.map((one) =>
      element("li", {}, link("#/rules", texts.quarantined(one.rule, one.failures, one.runs)), " ", time(one.opened_at_ms))));
  }).node);
}

function costs(number, signal) {
  const columns = [{ title: texts.rule }, { title: texts.p50, isNumber: true }, { title: texts.p99, isNumber: true }, { title: texts.lastFailure }];
  const cost = (us) => (us === undefined ? texts.none : texts.microseconds(us.toLocaleString()));
  return card(texts.costs, part(async () => {
    const report = await get(`/rulesets/payment/revisions/${number}/rules`, { signal }).catch((error) => { throw withoutPart(error); });
    if (!report.sampled) return quiet(texts.noCosts);
    return table(texts.costs, columns, report.rules.map(({ rule, elapsed_us_p50: p50, elapsed_us_p99: p99, last_failure: failure }) => [
      rule, cost(p50), cost(p99),
      failure ? element("span", {}, link(`#/decisions/${failure.payment}`, failure.class), " ", time(failure.received_at_ms)) : texts.none,
    ]));
  }).node);
}

const firstSteps = () => card(texts.first, element("ol", {}, ...texts.steps.map(([path, title, detail]) =>
  element("li", {}, link(`#/${path}`, title), " – ", detail))));
