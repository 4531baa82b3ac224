// Changes that wait for a second person, where the tenant asks for one.

import { call, get, isMissing } from "../api.js";
import { card, element, input, quiet, time } from "../elements.js";
import { actions, ask, labelled, reportLine, reportingButton } from "./blocks.js";
import { can, person } from "../session.js";
import { rules as texts } from "../texts/rules.js";

// A section with the open proposals, or null if there are none.
export async function openProposals(refresh) {
  if (!can("rulesets:read")) return null;
  const page = await get("/proposals", { query: { state: "open" } }).catch((error) => {
    if (isMissing(error) || error.status === 403) return { items: [] };
    throw error;
  });
  if (page.items.length === 0) return null;
  const report = reportLine();
  const items = page.items.map((proposal) => proposalItem(proposal, refresh, report.show));
  return card(texts.proposals, element("p", {}, texts.proposalsHelp), element("ul", { class: "items" }, ...items), report.node);
}

function proposalItem(proposal, refresh, report) {
  const decide = (act) => async () => {
    await call("POST", `/proposals/${encodeURIComponent(proposal.id)}/${act}`);
    await refresh();
  };
  const isOwn = proposal.proposed_by === `user:${person()?.id}`;
  const buttons = isOwn
    ? [reportingButton(texts.withdraw, decide("withdraw"), report)]
    : person()?.roles.includes("admin")
      ? [
        reportingButton(texts.approve, decide("approve"), report, "primary"),
        reportingButton(texts.decline, () => decline(proposal, refresh), report),
      ]
      : [];
  return element("li", { class: "item" },
    element("p", {}, element("strong", {}, proposal.summary)),
    quiet(texts.proposedBy(proposal.proposed_by), " ", time(proposal.proposed_at_ms)),
    actions(...buttons));
}

function decline(proposal, refresh) {
  const note = input({ maxlength: "500" });
  return ask({
    title: texts.declineTitle,
    content: [element("p", {}, proposal.summary), labelled(texts.why, note)],
    confirm: texts.decline,
    act: () => call("POST", `/proposals/${encodeURIComponent(proposal.id)}/decline`, { body: { note: note.value } }),
  }).then((hasActed) => hasActed && refresh());
}
