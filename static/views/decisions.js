// The search for decisions.

import { get } from "../api.js";
import { card, element, empty, heading, pagedTable } from "../elements.js";
import { COLUMNS, row } from "../decisions/list.js";
import { searchForm } from "../decisions/search_form.js";
import { go } from "../router.js";
import { search as texts } from "../texts.js";

const PAGE_LENGTH = 50;

export async function show({ query, signal, setQuery, refresh }) {
  const conditions = Object.fromEntries(query);
  const search = searchForm(query, {
    onSearch: (next) => {
      setQuery(next);
      return refresh();
    },
    onId: (id) => go(`decisions/${id}`),
  });
  const hasConditions = query.size > 0;
  const list = pagedTable({
    caption: texts.found,
    columns: COLUMNS,
    // An idempotency key stands alone: the API takes nothing beside it.
    load: (cursor) => get("/payments", { query: conditions.idempotency_key ? conditions : { ...conditions, limit: PAGE_LENGTH, cursor }, signal })
      .catch((problem) => {
        if (problem.errors?.length) search.show(problem);
        throw problem;
      }),
    row,
    whenEmpty: () => (hasConditions
      ? empty(texts.none, element("p", { class: "quiet" }, texts.noneDetail))
      : empty(texts.noPayments, element("p", { class: "quiet" }, texts.noPaymentsDetail))),
  });
  list.node.id = "found";
  return element("div", {}, heading(texts.title), card(texts.filters, search.node), card(texts.found, list.node));
}
