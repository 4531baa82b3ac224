// The present: decisions as they happen, and what fails.

import { all, get, withoutPart } from "../api.js";
import { stackedBars } from "../charts.js";
import { outcomeCounts } from "../counts.js";
import { COLUMNS, row } from "../decisions/list.js";
import { waitingCard } from "../reviews/waiting.js";
import { card, element, empty, fill, heading, link, part, quiet, table, time } from "../elements.js";
import { can } from "../session.js";
import { follow } from "../stream.js";
import { now as texts } from "../texts.js";

const OUTCOMES = ["approve", "review", "reject"];
const SPANS = [
  { step: "1m", step_ms: 60_000, count: 60, title: texts.hour },
  { step: "15m", step_ms: 900_000, count: 96, title: texts.day },
];
const NEWEST_SHOWN = 12;
const DRAW_EVERY_MS = 1000;
const SPEED_EVERY_MS = 60_000;
// The longest time that is told apart.
const SLOWEST_MS = 10_000;

export async function show({ signal }) {
  const active = can("rulesets:read") ? await get("/rulesets/payment", { signal }).catch(() => null) : null;
  const charts = await Promise.all(SPANS.map((span) => chart(span, signal)));
  const newest = await newestOf(signal);
  const speed = speedOf(signal);
  const live = element("span", { class: "live lost", role: "status" }, texts.lost);
  const parts = [...charts, newest];
  const isDrawn = drawing(parts);
  // From the earliest end of what is counted. Each chart leaves out what it has.
  const from = charts.map((one) => one.lastEventId).filter(Boolean).sort()[0];
  follow({
    signal,
    from,
    onEvent: ({ kind, data }) => {
      if (kind !== "decision") return;
      for (const one of parts) one.add(data);
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
    waitingCard(signal),
    element("div", { class: "columns" }, ...charts.map((one) => one.node)),
    element("div", { class: "columns" }, speed, can("rulesets:read") ? troubles(signal) : null),
    newest.node,
    revision ? costs(revision.number, signal) : null);
}

// Draws at most once a second, however many events arrive.
function drawing(parts) {
  let timer = null;
  const draw = () => {
    timer = null;
    for (const one of parts) one.draw();
  };
  return { later: () => { timer ??= setTimeout(draw, DRAW_EVERY_MS); } };
}

// The numbers of a span: those of before from the server, and then what the feed tells.
async function chart(span, signal) {
  const counts = await outcomeCounts(span, signal);
  const body = element("div", {});
  const draw = () => fill(body, ...pictureOf(span.title, counts.items(), counts.note));
  draw();
  // Time passes without payments too.
  const timer = setInterval(draw, span.step_ms / 2);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  return { node: card(span.title, body), add: counts.add, draw, lastEventId: counts.lastEventId };
}

// From receiving a payment to its stored decision, as the nodes measured it.
function speedOf(signal) {
  const list = part(async () => {
    const speed = await get("/decisions/counts", { query: { step: "1h" }, signal });
    if (!speed.timed) return quiet(texts.noSpeed);
    const within = (ms) => (ms >= SLOWEST_MS ? texts.slowest : texts.within(ms));
    return element("div", {},
      element("ul", { class: "figures" },
        figure(within(speed.stored_within_ms_p50), texts.p50OfAll), figure(within(speed.stored_within_ms_p99), texts.p99OfAll)),
      quiet(texts.speedDetail(speed.timed.toLocaleString())));
  });
  const timer = setInterval(list.refresh, SPEED_EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  return card(texts.speed, list.node);
}

function pictureOf(title, items, note) {
  const sums = OUTCOMES.map((outcome) => items.reduce((sum, item) => sum + item[outcome], 0));
  const total = sums.reduce((a, b) => a + b, 0);
  const share = (sum) => (total ? texts.share((100 * sum / total).toFixed(1)) : texts.none);
  const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return [
    element("ul", { class: "figures" },
      figure(total.toLocaleString(), texts.payments),
      ...OUTCOMES.map((outcome, place) => figure(share(sums[place]), texts[outcome], outcome))),
    stackedBars(items, {
      label: texts.chart(title, total, ...sums),
      words: (item) => texts.bar(clock(item.from_ms), item),
      tick: (item) => clock(item.from_ms),
    }),
    note ? quiet(note) : null,
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
