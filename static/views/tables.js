// The reference tables that rules look rows up in.

import { actor } from "../actors.js";
import { badge, button, card, element, empty, heading, input, link, pagedTable, select, time } from "../elements.js";
import { actions, labelled, reportLine, reportingButton, titled } from "../rules/blocks.js";
import * as calls from "../rules/list_calls.js";
import { go } from "../router.js";
import { can } from "../session.js";
import { tables as texts } from "../texts.js";

const PAGE = 50;

export async function show() {
  const list = pagedTable({
    caption: texts.tables,
    columns: titled(texts.name, texts.keys, texts.columns, texts.newest, texts.about, texts.made),
    load: (cursor) => calls.tables({ limit: PAGE, cursor }),
    row,
    whenEmpty: () => empty(texts.noTables),
  });
  return element("div", { class: "view" }, heading(texts.tables), card(texts.all, list.node),
    can("lists:write") ? card(texts.newTable, creation()) : null);
}

const row = (table) => [
  element("span", {}, link(`#/tables/${table.name}`, table.name), " ", table.closed_at_ms ? badge("closed", texts.closed) : null),
  texts.keyOf(table.kind, table.lookup),
  table.columns.map((column) => column.name).join(", "),
  table.newest_version === undefined ? texts.noVersion : String(table.newest_version),
  table.description,
  element("span", {}, actor(table.created_by), ", ", time(table.created_at_ms))];

function creation() {
  const name = input({ maxlength: "64" });
  const lookup = select(texts.lookups, "exact");
  const kind = select(texts.kinds, "text");
  const description = input({ maxlength: "500" });
  const columns = columnsPart();
  const report = reportLine();
  const create = async () => {
    const body = { name: name.value, lookup: lookup.value, kind: kind.value, columns: columns.read(), description: description.value };
    const response = await calls.createTable(body);
    go(`tables/${response.body.name}`);
  };
  return element("div", {},
    element("div", { class: "fields" },
      labelled(texts.name, name, texts.nameHelp), labelled(texts.lookup, lookup),
      labelled(texts.kind, kind), labelled(texts.about, description)),
    columns.node,
    actions(reportingButton(texts.create, create, report.show, "primary")), report.node);
}

function columnsPart() {
  const list = element("ul", { class: "items" });
  const add = () => {
    const name = input({ maxlength: "40", "aria-label": texts.columnName });
    const kind = select(texts.cellKinds, "text", { "aria-label": texts.columnKind });
    const item = element("li", { class: "item-head" }, name, kind, button(texts.removeColumn, () => item.remove()));
    list.append(item);
    return name;
  };
  add();
  const read = () => [...list.children].map((item) =>
    ({ name: item.querySelector("input").value, kind: item.querySelector("select").value }));
  const node = element("fieldset", { class: "group" },
    element("legend", {}, texts.columns), element("p", { class: "field-help" }, texts.columnsHelp), list,
    button(texts.addColumn, () => add().focus()));
  return { node, read };
}
