// The plugins there are, and the upload of another.

import { get, post } from "./api.js";
import { byId, definitions, digest, element, fill, json, size, table } from "./elements.js";

const COLUMNS = [
  { title: "Name" },
  { title: "Version" },
  { title: "Summary" },
  { title: "Size", number: true },
  { title: "Digest" },
];

export async function showPlugins() {
  const { items } = await get("/plugins");
  const rows = items.map((plugin) => element("tr", {},
    element("td", {}, plugin.name),
    element("td", {}, plugin.version),
    element("td", {}, plugin.summary),
    element("td", { class: "number" }, size(plugin.size_bytes)),
    element("td", {}, digest(plugin.digest))));
  const none = element("p", { class: "quiet" }, "There are none.");
  fill(byId("plugins"), rows.length ? table("Plugins", COLUMNS, rows) : none);
}

export async function upload(file) {
  const plugin = await post("/plugins", file, "application/wasm");
  fill(byId("uploaded"),
    element("h3", {}, `Taken in: ${plugin.name} ${plugin.version}`),
    definitions([
      ["Summary", plugin.summary],
      ["Contract", plugin.contract],
      ["Profile", plugin.profile],
      ["Size", size(plugin.size_bytes)],
      ["Compiled in", `${plugin.compile_ms} ms`],
      ["Digest", element("span", { class: "mono" }, plugin.digest)],
    ]),
    element("details", {}, element("summary", {}, "Schema of its settings"), json(plugin.settings_schema)));
}
