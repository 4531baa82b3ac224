// Blocks that the views about rules, lists and tables are made of.

import { button, dialog, element, field, fill, messageOf } from "../elements.js";
import { blocks as texts } from "../texts.js";

// A place for what happened, read out to people who do not see it. Takes a text, a node or an error,
// of which all parts are shown.
export function reportLine() {
  const node = element("div", { class: "report", role: "status" });
  const show = (what) => {
    const isError = what instanceof Error;
    node.classList.toggle("failure", isError);
    if (!isError) return fill(node, what ? element("p", {}, what) : null);
    const parts = (what.errors ?? []).map(({ pointer, parameter, detail }) => texts.partOf(pointer ?? parameter, detail));
    return fill(node, element("p", {}, messageOf(what)), parts.length ? lines(parts) : null);
  };
  return { node, show };
}

// A failure that a person can mend, with the places of what is wrong.
export const mendable = (detail, errors = []) => Object.assign(new Error(detail), { detail, errors });

// A button that reports below what went wrong.
export const reportingButton = (label, action, report, kind) => button(label, async () => {
  report("");
  try {
    await action();
  } catch (error) {
    report(error);
  }
}, { kind });

export const lines = (words) => element("ul", {}, ...words.map((word) => element("li", {}, word)));

// The buttons of a part, and below what became of them.
export const actions = (...buttons) => element("div", { class: "actions" }, ...buttons);

export const labelled = (text, control, help) => field(text, control, { help }).node;

// A list of nodes that grows page by page.
export async function pagedList({ load, item, whenEmpty }) {
  const list = element("ol", { class: "time-line" });
  const more = button(texts.more, async () => add(await load(more.cursor)));
  const add = (page) => {
    list.append(...page.items.map(item));
    more.cursor = page.next_cursor;
    more.hidden = !page.next_cursor;
  };
  const first = await load(undefined);
  if (first.items.length === 0) return whenEmpty();
  add(first);
  return element("div", {}, list, more);
}

// Asks before something that decides payments or cannot be undone. `content` may have fields. The
// dialog stays open with the error if `act` fails. Gives whether it was done.
export const ask = ({ title, content = [], confirm, kind = "primary", act }) => dialog(title, (close) => {
  const report = reportLine();
  const agree = async () => {
    await act();
    close(true);
  };
  return [...content, report.node, actions(
    reportingButton(confirm, agree, report.show, kind), button(texts.cancel, () => close(false)))];
});

// A link that looks like a button.
export const linkButton = (address, text, kind = "") => element("a", { href: address, class: `button ${kind}` }, text);

// Names of columns as tables take them.
export const titled = (...titles) => titles.map((title) => ({ title }));
