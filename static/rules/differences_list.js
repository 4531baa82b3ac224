// The differences between two revisions as a list in words.

import { badge, element, empty } from "../elements.js";
import { lines } from "./blocks.js";
import { differences } from "./words.js";
import { editing as texts } from "../texts.js";

export function differencesList(before, after, pluginOf) {
  const groups = differences(before, after, pluginOf);
  if (groups.length === 0) return empty(texts.noChanges);
  return element("ul", { class: "differences" }, ...groups.map((group) => element("li", {},
    element("p", {}, element("strong", {}, group.rule), " ", badge(group.kind)), lines(group.lines))));
}
