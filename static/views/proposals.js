// Changes that wait for a second person, and what became of earlier ones.

import { actor } from "../actors.js";
import { get, post } from "../api.js";
import { announce, badge, button, card, copyButton, definitions, dialog, element, empty, field, heading, input, mono, pagedTable, quiet, time } from "../elements.js";
import { ask, linkButton, titled } from "../rules/blocks.js";
import { changeDetails, changeInWords } from "../proposals/words.js";
import { can, person } from "../session.js";
import { people as peopleTexts, proposals as texts } from "../texts.js";

export async function show({ signal }) {
  const isNeeded = can("settings:read") ? (await get("/settings/second-person", { signal })).needed : true;
  const refresh = () => Promise.all([open.refresh(), decided.refresh()]);
  const listOf = (caption, states, columns, row, whenEmpty) => pagedTable({
    caption, columns: titled(...columns), row, whenEmpty,
    load: async (cursor) => withStates(await get("/proposals", { query: { ...states, cursor }, signal }), states),
  });
  const open = listOf(texts.waiting, { state: "open" }, [texts.what, texts.by, texts.when, texts.acts],
    (proposal) => [about(proposal), actor(proposal.proposed_by), time(proposal.proposed_at_ms), acts(proposal, refresh)],
    () => nothingWaits(isNeeded));
  const decided = listOf(texts.decided, {}, [texts.what, texts.by, texts.when, texts.state],
    (proposal) => [about(proposal), actor(proposal.proposed_by), time(proposal.proposed_at_ms), decision(proposal)],
    () => empty(texts.noneDecided));
  return element("div", { class: "view" }, heading(texts.title),
    card(texts.waiting, quiet(texts.waitingHelp), open.node), card(texts.decided, decided.node));
}

// The API filters by one state; of all, the open ones stand above already.
const withStates = (page, { state }) => (state ? page : { ...page, items: page.items.filter((one) => one.state !== "open") });

const nothingWaits = (isNeeded) => (isNeeded
  ? empty(texts.none)
  : empty(texts.noneOff, linkButton("#/settings/second-person", texts.toSetting)));

const about = (proposal) => element("div", {}, element("strong", {}, changeInWords(proposal)), ...changeDetails(proposal));

const decision = ({ state, decided_by, decided_at_ms, note }) => element("div", {},
  badge(state, texts.stateName[state]), " ", actor(decided_by), ", ", time(decided_at_ms), note ? quiet(note) : null);

function acts(proposal, refresh) {
  const isOwn = proposal.proposed_by === `user:${person().id}`;
  if (isOwn) return element("div", {}, quiet(texts.own), button(texts.withdraw, () => withdraw(proposal, refresh)));
  if (!can("proposals:approve")) return quiet(texts.own);
  return element("div", { class: "actions" },
    button(texts.approve, () => approve(proposal, refresh), { kind: "primary", label: `${texts.approve}: ${changeInWords(proposal)}` }),
    button(texts.decline, () => decline(proposal, refresh), { label: `${texts.decline}: ${changeInWords(proposal)}` }));
}

async function approve(proposal, refresh) {
  let response = null;
  const hasActed = await ask({
    title: texts.approveTitle,
    content: [about(proposal)],
    confirm: texts.approve,
    act: async () => { response = await post(`/proposals/${proposal.id}/approve`); },
  });
  if (!hasActed) return;
  announce(texts.approved);
  await refresh();
  if (response.password_link) await showLink(response.password_link);
}

// The link is in this response only.
const showLink = ({ url, expires_at_ms }) => dialog(peopleTexts.linkTitle, (close) => [
  element("p", {}, peopleTexts.linkDetail),
  definitions([[peopleTexts.linkLabel, mono(url)], [peopleTexts.linkUntil, time(expires_at_ms)]]),
  element("div", { class: "actions" }, copyButton(url),
    element("button", { type: "button", on: { click: () => close() } }, peopleTexts.done)),
]);

async function decline(proposal, refresh) {
  const note = field(texts.why, input({ maxlength: 500 }), { help: texts.whyHelp });
  const hasActed = await ask({
    title: texts.declineTitle,
    content: [about(proposal), note.node],
    confirm: texts.decline,
    act: () => post(`/proposals/${proposal.id}/decline`, note.value().trim() ? { note: note.value().trim() } : {}),
  });
  if (!hasActed) return;
  announce(texts.declined);
  await refresh();
}

async function withdraw(proposal, refresh) {
  await post(`/proposals/${proposal.id}/withdraw`);
  announce(texts.withdrawn);
  await refresh();
}
