// The settings: one part at a time, each with an address. Parts that a person may not see are absent.

import { element, fill, heading, link, loading } from "../elements.js";
import { go } from "../router.js";
import { can } from "../session.js";
import { settings as texts } from "../texts.js";

const PARTS = [
  { name: "people", needs: "users:read", load: () => import("./settings_people.js") },
  { name: "clients", needs: "clients:read", load: () => import("./settings_clients.js") },
  { name: "second-person", needs: "settings:read", load: () => import("./settings_second_person.js") },
  { name: "openid", needs: "settings:read", load: () => import("./settings_openid.js") },
  { name: "tenants", needs: "tenants:read", load: () => import("./settings_tenants.js") },
  { name: "reviews", needs: "settings:read", load: () => import("./settings_reviews.js") },
  { name: "audit", needs: "audit:read", load: () => import("./settings_audit.js") },
  { name: "retention", needs: "settings:read", load: () => import("./settings_retention.js") },
  { name: "erasure", needs: "payments:erase", load: () => import("./settings_erasure.js") },
  { name: "account", load: () => import("./settings_account.js") },
];

export async function show(context) {
  const parts = PARTS.filter(({ needs }) => needs === undefined || can(needs));
  const part = parts.find(({ name }) => name === context.parameters.part);
  if (!part) {
    go(`settings/${parts[0].name}`, { replace: true });
    return loading();
  }
  const items = parts.map(({ name }) => element("li", {},
    link(`#/settings/${name}`, texts[name])));
  items[parts.indexOf(part)].firstChild.setAttribute("aria-current", "page");
  const view = await part.load();
  return fill(element("div"),
    heading(texts.title),
    element("nav", { "aria-label": texts.parts }, element("ul", { class: "tabs" }, ...items)),
    await view.show(context));
}
