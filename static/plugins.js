// The list of plugins, and uploads.

import { get, post } from "./api.js";
import { badge, byId, definitions, digest, element, fill, json, size, table } from "./elements.js";

const COLUMNS = [
  { title: "Name" },
  { title: "Version" },
  { title: "Summary" },
  { title: "State" },
  { title: "Size", number: true },
  { title: "Digest" },
];

const POLL_INTERVAL_MS = 500;

const state = (plugin) => badge(plugin.retired_at_ms ? "retired" : plugin.state);

export async function showPlugins() {
  const { items } = await get("/plugins");
  const rows = items.map((plugin) => element("tr", {},
    element("td", {}, plugin.name ?? ""),
    element("td", {}, plugin.version ?? ""),
    element("td", {}, plugin.summary ?? plugin.why ?? ""),
    element("td", {}, state(plugin)),
    element("td", { class: "number" }, size(plugin.size_bytes)),
    element("td", {}, digest(plugin.digest))));
  const none = element("p", { class: "quiet" }, "No plugins.");
  fill(byId("plugins"), rows.length ? table("Plugins", COLUMNS, rows) : none);
}

const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

// The response to an upload only says that it is waiting, so its state is polled.
export async function upload(file) {
  let plugin = await post("/plugins", file, "application/wasm");
  while (plugin.state === "waiting" || plugin.state === "compiling") {
    fill(byId("uploaded"), element("p", {}, state(plugin), " ", digest(plugin.digest)));
    await pause(POLL_INTERVAL_MS);
    plugin = await get(`/plugins/${plugin.digest}`);
  }
  if (plugin.state === "refused") showRefused(plugin);
  else showReady(plugin);
}

function showRefused(plugin) {
  fill(byId("uploaded"),
    element("h3", {}, "Refused"),
    element("p", {}, plugin.why),
    definitions([["Digest", element("span", { class: "mono" }, plugin.digest)]]));
}

function showReady(plugin) {
  fill(byId("uploaded"),
    element("h3", {}, `Accepted: ${plugin.name} ${plugin.version}`),
    definitions([
      ["Summary", plugin.summary],
      ["Contract", plugin.contract],
      ["Profile", plugin.profile],
      ["Imports", plugin.imports.join(", ") || "nothing"],
      ["Size", size(plugin.size_bytes)],
      ["Compiled in", `${plugin.compile_ms} ms`],
      ["Digest", element("span", { class: "mono" }, plugin.digest)],
    ]),
    element("details", {}, element("summary", {}, "Settings schema"), json(plugin.settings_schema)));
}
