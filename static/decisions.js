// The list of decisions and the evidence of one decision.

import { get } from "./api.js";
import { badge, byId, definitions, digest, element, fill, json, money, showStatus, table, time } from "./elements.js";
import { factInWords } from "./facts.js";

const COLUMNS = [
  { title: "Received" },
  { title: "Reference" },
  { title: "Amount", number: true },
  { title: "Method" },
  { title: "Outcome" },
  { title: "Evidence" },
];

let nextCursor = null;
let shownId = null;

export async function showDecisions(isNextPage = false) {
  const query = new URLSearchParams({ limit: "25" });
  if (byId("outcome").value) query.set("outcome", byId("outcome").value);
  if (isNextPage && nextCursor) query.set("cursor", nextCursor);
  const page = await get(`/payments?${query}`);
  nextCursor = page.next_cursor || null;
  byId("decisions-more").hidden = nextCursor === null;
  const rows = page.items.map(row);
  const place = byId("decisions");
  const body = place.querySelector("tbody");
  if (isNextPage && body) {
    body.append(...rows);
  } else if (rows.length) {
    fill(place, table("Newest decisions", COLUMNS, rows));
  } else {
    fill(place, element("p", { class: "quiet" }, "No decisions."));
  }
}

function row(item) {
  const tableRow = element("tr", {});
  const open = element("button", {
    label: `Evidence of ${item.reference || item.id}`,
    onClick: () => showEvidence(item.id, tableRow).catch((error) => showStatus(error.message, true)),
  }, "Show");
  tableRow.append(
    element("td", {}, time(item.received_at_ms)),
    element("td", {}, item.reference || "erased"),
    element("td", { class: "number" }, money(item.amount_minor, item.currency)),
    element("td", {}, item.method),
    element("td", {}, badge(item.outcome)),
    element("td", {}, open),
  );
  return tableRow;
}

async function showEvidence(id, row) {
  const decision = await get(`/decisions/${encodeURIComponent(id)}`);
  shownId = id;
  for (const current of document.querySelectorAll("tr[aria-current]")) current.removeAttribute("aria-current");
  row.setAttribute("aria-current", "true");
  byId("replay-result").textContent = "";
  fill(byId("evidence"), summary(decision), reasons(decision), rules(decision), payment(decision));
  byId("evidence-section").hidden = false;
  byId("evidence-title").focus();
}

function summary(decision) {
  return definitions([
    ["Id", element("span", { class: "mono" }, decision.id)],
    ["Outcome", badge(decision.outcome)],
    ["Received", time(decision.received_at_ms)],
    ["Revision", decision.revision ? decision.revision.number : "none was active"],
    ["Engine", element("span", { class: "mono" }, decision.engine)],
    ["Journal", `batch ${decision.position.sequence}, place ${decision.position.position}`],
  ]);
}

function reasons(decision) {
  const items = decision.reasons.map((reason) => element("li", {},
    element("strong", {}, reason.code),
    reason.rule ? ` (${reason.rule}, ${reason.verdict})` : "",
    reason.message ? `: ${reason.message}` : "",
    reason.field ? ` [${reason.field}]` : "",
    reason.overridden ? " – overridden" : ""));
  const none = element("p", { class: "quiet" }, "None.");
  return element("div", {}, element("h3", {}, "Reasons"), items.length ? element("ul", {}, ...items) : none);
}

function rules(decision) {
  const sections = decision.rules.map((rule) => element("div", { class: "rule" },
    element("h3", {}, rule.name, " ", result(rule)),
    definitions([
      ["Plugin", digest(rule.plugin)],
      ["Fuel", rule.fuel_used.toLocaleString()],
      ["Time", `${rule.elapsed_us.toLocaleString()} µs`],
      ["Why it failed", rule.result?.detail],
    ]),
    list("Facts", rule.facts.map(factInWords)),
    list("Notes", rule.result?.notes || [])));
  return element("div", {}, ...sections);
}

function result(rule) {
  if (!rule.result) return badge("shadow");
  const { status, verdict } = rule.result;
  if (status === "failed") return badge("failed");
  return badge(status === "ran" ? verdict : status);
}

function list(title, texts) {
  if (!texts.length) return null;
  return element("div", {}, element("strong", {}, title), element("ul", {}, ...texts.map((text) => element("li", {}, text))));
}

function payment(decision) {
  return element("details", {}, element("summary", {}, "Payment"), json(decision.payment));
}

export async function replayDecision() {
  const replay = await get(`/decisions/${encodeURIComponent(shownId)}/replay`);
  const place = byId("replay-result");
  if (replay.identical) {
    place.textContent = "Replay: identical.";
    return;
  }
  const places = replay.differences.map((difference) => difference.path).join(", ");
  place.textContent = `Replay: differs at ${places}.`;
}

export function closeEvidence() {
  byId("evidence-section").hidden = true;
  const row = document.querySelector("tr[aria-current]");
  row?.removeAttribute("aria-current");
  row?.querySelector("button")?.focus();
}
