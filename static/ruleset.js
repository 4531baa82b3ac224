// The active ruleset.

import { get } from "./api.js";
import { badge, byId, definitions, digest, element, fill, json, time } from "./elements.js";

export async function showRuleset() {
  const active = await get("/rulesets/payment");
  const place = byId("ruleset");
  if (!active.revision) {
    fill(place, element("p", {}, "No ruleset is active. Every payment goes to review."));
    return;
  }
  const { activation, revision } = active;
  const about = definitions([
    ["Revision", revision.number],
    ["Note", revision.note],
    ["Activated", `${time(activation.activated_at_ms)} by ${activation.activated_by}`],
  ]);
  const rules = revision.rules.map(rule);
  const none = element("p", {}, "This revision has no rules. Every payment is approved.");
  fill(place, about, element("div", {}, ...(rules.length ? rules : [none])));
}

function rule(entry) {
  const title = element("h3", {}, entry.name, " ", entry.mode === "shadow" ? badge("shadow") : null);
  const about = definitions([
    ["Plugin", digest(entry.plugin)],
    ["On failure", entry.on_failure],
    ["Overridable", entry.overridable ? "yes" : "no"],
  ]);
  const settings = element("details", {}, element("summary", {}, "Settings"), json(entry.settings));
  return element("div", { class: "rule" }, title, about, settings);
}
