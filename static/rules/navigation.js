// The tabs of the views about rules. Each has an address.

import { element } from "../elements.js";
import { rules as texts } from "../texts.js";

const TABS = ["active", "revisions", "live", "backtests", "plugins"];

export function ruleTabs(current) {
  const links = TABS.map((tab) => {
    const href = tab === "active" ? "#/rules" : `#/rules/${tab}`;
    return element("a", { href, ...(tab === current ? { "aria-current": "page" } : {}) }, texts.tab[tab]);
  });
  return element("nav", { class: "tabs", "aria-label": texts.tabs }, ...links);
}
