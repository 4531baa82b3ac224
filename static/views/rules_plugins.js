// Plugins: uploading one by drop or file, with what was found in it or why it was refused; and all
// that the tenant has.

import { actor } from "../actors.js";
import { badge, button, card, definitions, element, empty, heading, json, link, mono, quiet, size, table, time } from "../elements.js";
import { ask, reportLine, titled } from "../rules/blocks.js";
import { plainNumber } from "../rules/amounts.js";
import * as calls from "../rules/calls.js";
import { ruleTabs } from "../rules/navigation.js";
import { shortDigest } from "../rules/words.js";
import { can } from "../session.js";
import { plugins as texts } from "../texts.js";

const POLL_MS = 400;

export async function show() {
  const list = element("div");
  const refresh = async () => list.replaceChildren(pluginsTable(await calls.plugins(), refresh));
  await refresh();
  return element("div", { class: "view" }, heading(texts.all), ruleTabs("plugins"),
    can("plugins:write") ? card(texts.upload, uploadPart(refresh)) : null,
    card(texts.yours, list));
}

function uploadPart(refresh) {
  const result = element("div", { "aria-live": "polite" });
  const report = reportLine();
  const picker = element("input", { type: "file", accept: ".wasm,application/wasm", id: "plugin-file" });
  const zone = element("div", { class: "drop" }, element("label", { for: "plugin-file" }, texts.drop), picker);
  const take = async (file) => {
    report.show("");
    result.replaceChildren();
    try {
      await followUpload(file, result);
    } catch (error) {
      result.replaceChildren();
      if (error.code === "plugin-refused") result.replaceChildren(refused({ why: error.detail }));
      else report.show(error);
    }
    await refresh();
  };
  picker.addEventListener("change", () => {
    if (picker.files[0]) take(picker.files[0]);
    picker.value = "";
  });
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) take(file);
  });
  return element("div", {}, quiet(texts.uploadHelp), zone, report.node, result);
}

// The response to an upload only says that it waits, so its state is read until it is known.
async function followUpload(file, result) {
  result.replaceChildren(element("p", {}, texts.sending(file.name, size(file.size))));
  let { body: plugin } = await calls.uploadPlugin(file);
  while (plugin.state === "waiting" || plugin.state === "compiling") {
    result.replaceChildren(element("p", {}, badge(plugin.state), " ", plugin.ahead ? texts.ahead(plugin.ahead) : texts.inWork));
    await new Promise((done) => { setTimeout(done, POLL_MS); });
    if (!result.isConnected) return;
    plugin = await calls.plugin(plugin.digest);
  }
  result.replaceChildren(plugin.state === "refused" ? refused(plugin) : found(plugin));
}

const refused = (plugin) => element("div", { class: "failure" },
  element("h3", {}, texts.refused), element("p", {}, plugin.why), plugin.digest ? digestLine(plugin) : null);

function found(plugin) {
  const schema = element("details", {}, element("summary", {}, texts.schema), json(plugin.settings_schema));
  return element("div", { class: "report" },
    element("h3", {}, texts.accepted(plugin.name, plugin.version)), element("p", {}, plugin.summary),
    definitions([
      [texts.size, size(plugin.size_bytes)],
      [texts.contract, plugin.contract],
      [texts.profile, plugin.profile],
      [texts.imports, plugin.imports.join(", ") || texts.noImports],
      [texts.compiled, texts.milliseconds(plainNumber(plugin.compile_ms))],
    ]),
    digestLine(plugin), schema, element("p", {}, link("#/rules/edit/new", texts.useIt)));
}

const digestLine = (plugin) => quiet(mono(plugin.digest));

function pluginsTable(items, refresh) {
  if (items.length === 0) return empty(texts.none);
  const columns = titled(texts.plugin, texts.state, texts.uses, texts.size, texts.uploaded, texts.change);
  return table(texts.all, columns, items.map((plugin) => pluginRow(plugin, refresh)));
}

function pluginRow(plugin, refresh) {
  const isOwn = plugin.state === "ready" && !plugin.shared && !plugin.retired_at_ms;
  const retire = () => ask({
    title: texts.retireTitle(plugin.name, plugin.version),
    content: [element("p", {}, texts.retireHelp)],
    confirm: texts.retire,
    act: () => calls.retirePlugin(plugin.digest),
  }).then((hasActed) => hasActed && refresh());
  const name = plugin.name ? element("span", { title: plugin.summary }, element("strong", {}, plugin.name), ` ${plugin.version} `) : "";
  const uses = (plugin.used_in ?? []).map((use) => texts.use(use.revision, use.rule, use.active));
  return [
    element("span", {}, name, element("span", { class: "mono", title: plugin.digest }, shortDigest(plugin.digest))),
    element("span", {}, badge(plugin.retired_at_ms ? "retired" : plugin.state),
      plugin.shared ? ` ${texts.shared}` : "", plugin.why ? ` ${plugin.why}` : ""),
    uses.slice(0, 3).join(", ") || texts.unused, size(plugin.size_bytes),
    plugin.uploaded_at_ms ? element("span", {}, actor(plugin.uploaded_by), ", ", time(plugin.uploaded_at_ms)) : texts.fromFolder,
    isOwn && can("plugins:write") ? button(texts.retire, retire) : ""];
}
