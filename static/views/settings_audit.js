// The audit log, with filters in the address, so that a search can be shared, and as a file.

import { actor, namesOf } from "../actors.js";
import { all, get, withoutPart } from "../api.js";
import { announce, button, card, definitions, element, empty, field, form, input, json, mono, pagedTable, quiet, select, time } from "../elements.js";
import { csv, jsonLines, save } from "../files.js";
import { can } from "../session.js";
import { audit as texts } from "../texts.js";

const EXPORTED_MAX = 100_000;
const PAGE = 200;
const COLUMNS = ["sequence", "at_ms", "actor", "actor_name", "action", "subject", "before", "after"];

// What the first word of an action says about its subject, which is then an id.
const SUBJECT_KINDS = {
  user: "user", user_link: "user", password: "user", second_factor: "user", sign_ins: "user",
  client: "client", client_secret: "client",
};

export async function show({ query, signal, setQuery }) {
  const fields = filterFields(query, await actorChoices(query.get("actor"), signal));
  const asked = () => filterOf(fields);
  const list = pagedTable({
    caption: texts.title,
    columns: [texts.time, texts.actor, texts.action, texts.subject, texts.values].map((title) => ({ title })),
    load: (cursor) => get("/audit", { query: { ...asked(), cursor }, signal }).catch((error) => { throw withoutPart(error); }),
    row: rowOf,
    whenEmpty: () => empty(Object.keys(asked()).length ? texts.none : texts.noneYet),
  });
  const search = async () => {
    setQuery(asked());
    await list.refresh();
  };
  const clear = button(texts.clear, async () => {
    for (const { control } of Object.values(fields)) control.value = "";
    await search();
  });
  const filters = form(fields, texts.search, search, { label: texts.filters, extra: [clear] });
  filters.node.classList.add("filters");
  return card(texts.title, filters.node, list.node, exports(asked, signal));
}

function filterFields(query, actors) {
  const text = (label, name, help) => field(label, input({ value: query.get(name), spellcheck: "false" }), { help });
  const moment = (label, name) => field(label, input({ type: "datetime-local", step: 1, value: localTime(query.get(name)) }));
  return {
    action: text(texts.action, "action", texts.actionHelp),
    actor: actors
      ? field(texts.actor, select(actors, query.get("actor") ?? ""), { help: texts.actorChoiceHelp })
      : text(texts.actor, "actor", texts.actorHelp),
    subject: text(texts.subject, "subject", texts.subjectHelp),
    from_ms: moment(texts.from, "from_ms"),
    to_ms: moment(texts.until, "to_ms"),
  };
}

// The members of the API's query that the person filled in.
function filterOf(fields) {
  const values = Object.entries(fields).map(([name, { value }]) => {
    const text = value().trim();
    return [name, name.endsWith("_ms") && text ? new Date(text).getTime() : text];
  });
  return Object.fromEntries(values.filter(([, value]) => value !== "" && !Number.isNaN(value)));
}

// As a control for times has it: local, without a zone.
function localTime(ms) {
  if (!ms || Number.isNaN(Number(ms))) return null;
  const at = new Date(Number(ms));
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

// Whom one can choose by name, or null if the person may see neither people nor clients.
async function actorChoices(chosen, signal) {
  const named = async (scope, path, kind, nameOf) => {
    if (!can(scope)) return [];
    const items = await all(path, { signal }).catch(() => []);
    return items.map((item) => [`${kind}:${item.id}`, texts.choice[kind](nameOf(item))]);
  };
  const found = (await Promise.all([
    named("users:read", "/users", "user", (user) => user.display_name),
    named("clients:read", "/clients", "client", (client) => client.name),
  ])).flat();
  if (!found.length) return null;
  const choices = [["", texts.anyone], ...found, [texts.commandLine, texts.commandLine]];
  const isMissing = chosen && !choices.some(([id]) => id === chosen);
  if (!isMissing) return choices;
  const name = (await namesOf([chosen]).catch(() => new Map())).get(chosen);
  return [...choices, [chosen, name ?? chosen]];
}

// A person or a client to whom something was done has a name as well.
function subjectOf({ action, subject }) {
  const kind = SUBJECT_KINDS[action.split(".")[0]];
  return kind ? actor(`${kind}:${subject}`) : mono(subject);
}

function rowOf(act) {
  const has = act.before !== undefined || act.after !== undefined;
  return [
    time(act.at_ms),
    actor(act.actor),
    act.action,
    subjectOf(act),
    has ? element("details", {}, element("summary", {}, texts.show), definitions([
      [texts.before, act.before === undefined ? null : json(act.before)],
      [texts.after, act.after === undefined ? null : json(act.after)]])) : "",
  ];
}

function exports(asked, signal) {
  const progress = quiet();
  progress.setAttribute("role", "status");
  const exported = async (ending, textOf) => {
    const items = await everything(asked(), signal, (count) => { progress.textContent = texts.exporting(count); });
    save("audit", ending, textOf(items));
    progress.textContent = "";
    announce(items.length < EXPORTED_MAX ? texts.exported(items.length) : texts.cut(items.length));
  };
  const asCsv = (items) => csv(COLUMNS, items.map((item) => COLUMNS.map((column) => item[column])));
  return element("div", { class: "actions" },
    button(texts.csv, () => exported("csv", asCsv)), button(texts.lines, () => exported("jsonl", jsonLines)), progress);
}

async function everything(filter, signal, onProgress) {
  const items = [];
  let cursor;
  do {
    const page = await get("/audit", { query: { ...filter, limit: PAGE, cursor }, signal });
    items.push(...page.items);
    onProgress(items.length);
    cursor = page.next_cursor;
  } while (cursor && items.length < EXPORTED_MAX);
  const names = await namesOf(items.map((item) => item.actor));
  return items.map((item) => ({ ...item, actor_name: names.get(item.actor) }));
}
