// One table: its versions, what differs between two, which one is valid, and looking a value up.

import { actor } from "../actors.js";
import { isProposed } from "../api.js";
import { badge, button, card, definitions, element, empty, heading, input, link, pagedTable, quiet, select, time } from "../elements.js";
import { actions, ask, labelled, mendable, reportLine, reportingButton, titled } from "../rules/blocks.js";
import { plainNumber } from "../rules/amounts.js";
import * as calls from "../rules/list_calls.js";
import { go } from "../router.js";
import { can } from "../session.js";
import { tables as texts } from "../texts.js";

const PAGE = 25;

export async function show(context) {
  const { name } = context.parameters;
  const place = element("div", { class: "view" });
  const refresh = async () => place.replaceChildren(heading(name), ...await parts(name, refresh));
  await refresh();
  return place;
}

async function parts(name, refresh) {
  const [{ body: table, tag }, newest] = await Promise.all([calls.readTable(name), calls.versions(name, { limit: 200 })]);
  const mayWrite = can("lists:write") && !table.closed_at_ms;
  const report = reportLine();
  const change = async (response) => {
    if (!isProposed(response)) await refresh();
  };
  const active = table.activation?.version;
  const versionRow = (version) => versionCells(version, active, mayWrite
    ? reportingButton(texts.activate, async () => change(await calls.activateVersion(name, version.number, tag)), report.show) : "");
  const versions = pagedTable({
    caption: texts.versionsTable,
    columns: titled(texts.version, texts.rows, texts.why, texts.made, texts.change),
    load: (cursor) => calls.versions(name, { limit: PAGE, cursor }),
    row: versionRow,
    whenEmpty: () => empty(texts.noVersions),
  });
  const activations = pagedTable({
    caption: texts.activationsTable,
    columns: titled(texts.what, texts.version, texts.by, texts.validFrom),
    load: (cursor) => calls.tableActivations(name, { limit: PAGE, cursor }),
    row: activationRow,
    whenEmpty: () => empty(texts.noActivations),
  });
  return [
    element("p", {}, link("#/tables", texts.allTables)),
    card(texts.aboutTitle, about(table), newest.items.length ? lookUpPart(name, newest.items) : null),
    mayWrite ? card(texts.upload, uploadPart(name, table, change)) : null,
    card(texts.versions, versions.node, report.node,
      mayWrite && active > 1 ? actions(button(texts.rollBack, () => rollBack(name, tag, change))) : null),
    newest.items.length > 1 ? card(texts.diff, diffPart(name, newest.items, active)) : null,
    card(texts.activations, activations.node),
    mayWrite ? actions(button(texts.closeTable, () => close(name))) : null,
  ].filter(Boolean);
}

function about(table) {
  const columns = table.columns.map(({ name, kind }) => `${name} (${kind})`).join(", ");
  const { activation } = table;
  return element("div", {},
    element("p", {}, table.description || texts.noDescription),
    quiet(texts.keyOf(table.kind, table.lookup), ". ", texts.columnsAre(columns)),
    element("p", {}, ...(activation ? [texts.activeVersion(activation.version), " ", time(activation.valid_from_ms)] : [texts.noVersions]), " ",
      table.closed_at_ms ? badge("closed", texts.closed) : ""));
}

const versionCells = (version, active, button) => [
  element("span", {}, String(version.number), " ", version.number === active ? badge("active", texts.active) : null),
  plainNumber(version.rows), version.note ?? "",
  element("span", {}, actor(version.created_by), ", ", time(version.created_at_ms)),
  version.number === active ? "" : button];

const activationRow = (one) => [texts.activation(one.kind), String(one.version), actor(one.activated_by), time(one.valid_from_ms)];

const rollBack = (name, tag, change) => {
  let response = null;
  return ask({
    title: texts.rollBackTitle,
    content: [element("p", {}, texts.rollBackHelp)],
    confirm: texts.rollBack,
    act: async () => { response = await calls.rollBackTable(name, tag); },
  }).then((hasActed) => hasActed && change(response));
};

const close = (name) => ask({
  title: texts.closeTitle(name),
  content: [element("p", {}, texts.closeHelp)],
  confirm: texts.closeTable,
  act: () => calls.closeTable(name),
}).then((hasActed) => hasActed && go("tables"));

function uploadPart(name, table, change) {
  const header = table.lookup === "range" ? ["from", "to"] : ["key"];
  const file = element("input", { type: "file", accept: ".csv,.jsonl,text/csv" });
  const note = input({ maxlength: "500" });
  const report = reportLine();
  const upload = async () => {
    const [chosen] = file.files;
    if (!chosen) throw mendable(texts.chooseFile);
    const type = /\.jsonl$/i.test(chosen.name) ? "application/x-ndjson" : "text/csv";
    await change(await calls.uploadVersion(name, note.value, chosen, type));
  };
  return element("div", {},
    quiet(texts.uploadHelp([...header, ...table.columns.map((column) => column.name)].join(","))),
    element("div", { class: "fields" }, labelled(texts.file, file), labelled(texts.why, note)),
    actions(reportingButton(texts.uploadButton, upload, report.show, "primary")), report.node);
}

const versionOptions = (versions) => versions.map(({ number }) => [String(number), texts.versionNumber(number)]);

function lookUpPart(name, versions) {
  const key = input({ maxlength: "200" });
  const version = select([["", texts.validNow], ...versionOptions(versions)], "");
  const report = reportLine();
  const found = element("div", { "aria-live": "polite" });
  const look = async () => {
    found.replaceChildren();
    const answer = await calls.lookUp(name, { key: key.value, version: version.value }).catch((error) => {
      if (error.status === 404) return null;
      throw error;
    });
    found.replaceChildren(answer ? rowList(answer) : element("p", {}, texts.noRow));
  };
  const start = reportingButton(texts.lookUp, look, report.show);
  key.addEventListener("keydown", (event) => { if (event.key === "Enter") start.click(); });
  return element("div", {}, element("div", { class: "fields" }, labelled(texts.value, key), labelled(texts.version, version)),
    actions(start), report.node, found);
}

const rowList = ({ version, row }) => element("div", {},
  quiet(texts.versionNumber(version)), definitions(Object.entries(row).map(([column, cell]) => [column, String(cell)])));

function diffPart(name, versions, active) {
  const from = select(versionOptions(versions), String(active ?? versions[1].number));
  const to = select(versionOptions(versions), String(versions.find(({ number }) => number !== active)?.number));
  const report = reportLine();
  const result = element("div", { "aria-live": "polite" });
  const compare = async () => {
    const query = { from: from.value, to: to.value, limit: PAGE };
    const told = element("p", {});
    const load = async (cursor) => {
      const page = await calls.diff(name, { ...query, cursor });
      const { counts } = page;
      if (counts) told.textContent = texts.counts(...[counts.added, counts.removed, counts.changed].map(plainNumber));
      return page;
    };
    const columns = titled(texts.what, texts.before, texts.after);
    const list = pagedTable({ caption: texts.diff, columns, load, row: changeRow, whenEmpty: () => empty(texts.noDifference) });
    result.replaceChildren(told, list.node);
  };
  return element("div", {}, element("div", { class: "fields" }, labelled(texts.earlier, from), labelled(texts.later, to)),
    actions(reportingButton(texts.compare, compare, report.show)), report.node, result);
}

const changeRow = (change) => [badge(change.kind), rowInWords(change.before), rowInWords(change.after)];

const rowInWords = (row) => (row ? Object.entries(row).map(([column, cell]) => `${column} ${cell}`).join(", ") : "");
