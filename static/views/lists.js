// The lists of values that rules look up.

import { actor } from "../actors.js";
import { badge, card, element, empty, heading, input, link, pagedTable, select, time } from "../elements.js";
import { actions, labelled, reportLine, reportingButton, titled } from "../rules/blocks.js";
import { plainNumber } from "../rules/amounts.js";
import * as calls from "../rules/list_calls.js";
import { go } from "../router.js";
import { can } from "../session.js";
import { lists as texts } from "../texts.js";

const PAGE = 50;

export async function show() {
  const list = pagedTable({
    caption: texts.lists,
    columns: titled(texts.name, texts.kind, texts.entries, texts.about, texts.made),
    load: (cursor) => calls.lists({ limit: PAGE, cursor }),
    row,
    whenEmpty: () => empty(texts.noLists),
  });
  return element("div", { class: "view" }, heading(texts.lists), card(texts.all, list.node),
    can("lists:write") ? card(texts.newList, creation()) : null);
}

const row = (list) => [
  element("span", {}, link(`#/lists/${list.name}`, list.name), " ", list.closed_at_ms ? badge("closed", texts.closed) : null),
  [list.kind, ...(list.further_kinds ?? [])].join(", "),
  plainNumber(list.open_entries),
  list.description,
  element("span", {}, actor(list.created_by), ", ", time(list.created_at_ms))];

function creation() {
  const name = input({ maxlength: "64" });
  const kind = select(texts.kinds, "account");
  const description = input({ maxlength: "500" });
  const report = reportLine();
  const create = async () => {
    const { body } = await calls.createList({ name: name.value, kind: kind.value, description: description.value });
    go(`lists/${body.name}`);
  };
  return element("div", {},
    element("div", { class: "fields" },
      labelled(texts.name, name, texts.nameHelp), labelled(texts.kind, kind, texts.kindHelp),
      labelled(texts.about, description)),
    actions(reportingButton(texts.create, create, report.show, "primary")), report.node);
}
