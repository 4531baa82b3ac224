// One list: its entries, searched by value and by time, with who added and closed them and why.

import { actor } from "../actors.js";
import { isProposed } from "../api.js";
import { badge, button, card, element, empty, heading, input, link, pagedTable, select, time } from "../elements.js";
import { actions, ask, labelled, reportLine, reportingButton, titled } from "../rules/blocks.js";
import * as calls from "../rules/list_calls.js";
import { go } from "../router.js";
import { can } from "../session.js";
import { lists as texts } from "../texts.js";

const PAGE = 50;

export async function show(context) {
  const { name } = context.parameters;
  const filter = { value: undefined, at_ms: undefined };
  const list = entriesTable(name, filter, (value) => search.lookUp(value), () => list.refresh());
  const search = searchPart(filter, () => list.refresh());
  const mayWrite = can("lists:write");
  return element("div", { class: "view" }, heading(name), element("p", {}, link("#/lists", texts.allLists)),
    card(texts.entriesTitle, search.node, list.node, mayWrite ? closePart(name) : null),
    mayWrite ? card(texts.addOne, oneEntry(name, () => list.refresh())) : null,
    mayWrite ? card(texts.addMany, manyEntries(name, () => list.refresh())) : null);
}

function searchPart(filter, refresh) {
  const value = input({ type: "search", maxlength: "200" });
  const at = input({ type: "datetime-local" });
  const apply = async () => {
    filter.value = value.value.trim();
    filter.at_ms = at.value ? new Date(at.value).getTime() : undefined;
    await refresh();
  };
  const start = button(texts.search, apply);
  value.addEventListener("keydown", (event) => { if (event.key === "Enter") start.click(); });
  const lookUp = (text) => {
    value.value = text;
    return apply();
  };
  const node = element("div", {},
    element("div", { class: "fields" }, labelled(texts.value, value, texts.valueHelp), labelled(texts.validAt, at)), actions(start));
  return { node, lookUp };
}

const entriesTable = (name, filter, lookUp, refresh) => pagedTable({
  caption: texts.entriesOf(name),
  columns: titled(texts.value, texts.why, texts.valid, texts.added, texts.closedTitle, texts.change),
  load: (cursor) => calls.entries(name, { ...filter, limit: PAGE, cursor }),
  row: (entry) => entryRow(name, entry, filter, lookUp, refresh),
  whenEmpty: () => empty(filter.value || filter.at_ms ? texts.nothingFound : texts.noEntries),
});

function entryRow(name, entry, filter, lookUp, refresh) {
  const now = Date.now();
  const isEnded = entry.valid_to_ms !== undefined && entry.valid_to_ms <= now;
  const state = isEnded ? texts.ended : entry.valid_from_ms > now ? texts.notYet : texts.isValid;
  const close = () => ask({
    title: texts.closeEntryTitle,
    content: [element("p", {}, entry.value), element("p", {}, texts.closeEntryHelp)],
    confirm: texts.close,
    act: () => calls.closeEntry(name, entry.id),
  }).then((hasActed) => hasActed && refresh());
  const comparedAs = entry.compared_as === entry.value ? "" : element("span", { class: "quiet" }, ` ${texts.comparedAs(entry.compared_as)}`);
  const end = entry.valid_to_ms === undefined ? [texts.noEnd] : [" – ", time(entry.valid_to_ms)];
  const closing = entry.closed_by ? actor(entry.closed_by) : entry.closed_because;
  return [
    element("span", {}, entry.value, comparedAs),
    entry.reason,
    element("span", {}, badge("", state), " ", time(entry.valid_from_ms), ...end),
    actor(entry.added_by),
    closing ?? "",
    element("span", { class: "actions" },
      filter.value ? null : button(texts.history, () => lookUp(entry.value)),
      can("lists:write") && entry.valid_to_ms === undefined ? button(texts.close, close) : null)];
}

function closePart(name) {
  const close = () => ask({
    title: texts.closeListTitle(name),
    content: [element("p", {}, texts.closeListHelp)],
    confirm: texts.closeList,
    act: () => calls.closeList(name),
  }).then((hasActed) => hasActed && go("lists"));
  return actions(button(texts.closeList, close));
}

function oneEntry(name, refresh) {
  const value = input({ maxlength: "200" });
  const reason = input({ maxlength: "500" });
  const from = input({ type: "datetime-local" });
  const to = input({ type: "datetime-local" });
  const report = reportLine();
  const add = async () => {
    const response = await calls.addEntry(name, {
      value: value.value, reason: reason.value, ...validity(from, "valid_from_ms"), ...validity(to, "valid_to_ms"),
    });
    value.value = "";
    await refresh();
    report.show(isProposed(response) ? "" : texts.addedOne);
  };
  return element("div", {},
    element("div", { class: "fields" },
      labelled(texts.value, value), labelled(texts.why, reason),
      labelled(texts.from, from, texts.fromHelp), labelled(texts.to, to, texts.toHelp)),
    actions(reportingButton(texts.add, add, report.show, "primary")), report.node);
}

const validity = (field, member) => (field.value ? { [member]: new Date(field.value).getTime() } : {});

function manyEntries(name, refresh) {
  const format = select(texts.formats, "values");
  const area = element("textarea", { rows: "8", class: "mono", spellcheck: "false" });
  const reason = input({ maxlength: "500" });
  const reasonField = labelled(texts.whyAll, reason);
  const file = element("input", { type: "file", accept: ".csv,.jsonl,.txt,text/csv" });
  const report = reportLine();
  format.addEventListener("change", () => { reasonField.hidden = format.value !== "values"; });
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    area.value = await chosen.text();
    if (/\.csv$/i.test(chosen.name)) format.value = "csv";
    if (/\.jsonl$/i.test(chosen.name)) format.value = "jsonl";
    format.dispatchEvent(new Event("change"));
  });
  const add = async () => {
    const [text, type] = bodyOf(format.value, area.value, reason.value);
    const response = await calls.addEntries(name, text, type);
    area.value = "";
    await refresh();
    report.show(isProposed(response) ? "" : texts.addedMany(response.body.added, response.body.already_there));
  };
  return element("div", {},
    element("div", { class: "fields" }, labelled(texts.format, format, texts.formatHelp), labelled(texts.file, file)),
    labelled(texts.paste, area), reasonField,
    actions(reportingButton(texts.addAll, add, report.show, "primary")), report.node);
}

function bodyOf(format, text, reason) {
  if (format === "csv") return [text, "text/csv"];
  if (format === "jsonl") return [text, "application/x-ndjson"];
  const values = text.split("\n").map((line) => line.trim());
  // An empty line keeps its place, so that errors name the line that a person sees.
  return [values.map((value) => (value ? JSON.stringify({ value, reason }) : "")).join("\n"), "application/x-ndjson"];
}
