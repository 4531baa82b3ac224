// Edits a revision: its rules in their order, with the changes in words and a dry run beside it.
// A revision is never changed: saving makes a new one, which decides nothing yet.

import { button, card, element, heading, input, link, quiet, select } from "../elements.js";
import { actions, labelled, mendable, reportLine, reportingButton } from "../rules/blocks.js";
import { all } from "../api.js";
import * as calls from "../rules/calls.js";
import { differencesList } from "../rules/differences_list.js";
import { dryRunPanel } from "../rules/dry_run.js";
import { ruleTabs } from "../rules/navigation.js";
import { makeMovable } from "../rules/order.js";
import { ruleEditor } from "../rules/rule_editor.js";
import { pluginInWords } from "../rules/words.js";
import { go } from "../router.js";
import { can } from "../session.js";
import { editing as texts } from "../texts.js";

const PAUSE_MS = 250;

export async function show(context) {
  const number = context.parameters.number === "new" ? null : Number(context.parameters.number);
  const [base, active, plugins, suggestions] = await Promise.all([
    number === null ? { rules: [], note: "" } : calls.revision(number),
    calls.readActive(),
    calls.plugins().then((items) => items.filter((plugin) => plugin.state === "ready")),
    namesToSuggest(),
  ]);
  const editor = rulesEditor(base.rules, plugins, suggestions);
  const known = (digest) => plugins.find((plugin) => plugin.digest === digest);
  const changes = element("div", { "aria-live": "polite" });
  const compare = () => {
    const after = editor.read(null);
    changes.replaceChildren(differencesList(active.body.revision?.rules ?? [], after, known));
  };
  compare();
  editor.node.addEventListener("input", debounced(compare));
  editor.node.addEventListener("change", debounced(compare));

  const readOrSay = () => {
    const problems = [];
    const rules = editor.read(problems);
    if (problems.length) throw mendable(texts.fixFirst, problems);
    return rules;
  };
  const title = number === null ? texts.newRevision : texts.editRevision(number);
  const beside = element("aside", {},
    card(texts.changes(active.body.revision?.number), changes),
    can("rulesets:write") ? card(texts.dryRun, dryRunPanel(() => ({ rules: readOrSay() }))) : null);
  return element("div", { class: "view" }, heading(title), ruleTabs("revisions"),
    element("div", { class: "beside" },
      card(texts.rules, quiet(texts.help), editor.node, savePart(editor, readOrSay)), beside));
}

async function namesToSuggest() {
  if (!can("lists:read")) return {};
  const [allLists, allTables] = await Promise.all([all("/lists"), all("/tables")]);
  const open = (items) => items.filter((item) => !item.closed_at_ms).map((item) => item.name);
  return { list: open(allLists), table: open(allTables) };
}

function debounced(run) {
  let timer = null;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(run, PAUSE_MS);
  };
}

function rulesEditor(rules, plugins, suggestions) {
  const list = element("ol", { class: "items" });
  const editors = new Map();
  const said = element("span", { class: "visually-hidden", "aria-live": "polite" });
  const ordered = () => [...list.children].map((child) => editors.get(child));
  const renumber = () => ordered().forEach((editor, place) => editor.place(place, editors.size));
  const changed = () => {
    renumber();
    list.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const add = (rule, isOpen) => {
    const editor = ruleEditor(rule, {
      plugins,
      suggestions,
      isOpen,
      remove: () => {
        const next = editor.node.nextElementSibling ?? editor.node.previousElementSibling;
        editors.delete(editor.node);
        editor.node.remove();
        changed();
        (editors.get(next)?.handle ?? addButton).focus();
      },
    });
    editors.set(editor.node, editor);
    list.append(editor.node);
    return editor;
  };
  rules.forEach((rule) => add(rule, rules.length === 1));
  renumber();
  makeMovable(list, (child) => editors.get(child)?.handle, (from, to) => {
    changed();
    said.textContent = texts.ruleMoved(from + 1, to + 1);
  });

  const usable = plugins.filter((plugin) => !plugin.retired_at_ms);
  const options = usable.map((plugin) => [plugin.digest, pluginInWords(plugin.digest, () => plugin)]);
  const chosen = select(options, undefined, { "aria-label": texts.pluginToAdd });
  const addButton = button(texts.addRule, () => {
    const plugin = usable.find((one) => one.digest === chosen.value);
    const editor = add({ name: freeName(plugin.name, ordered()), plugin: plugin.digest, settings: {} }, true);
    changed();
    editor.focus();
  });
  const adding = usable.length
    ? actions(chosen, addButton)
    : element("p", {}, link("#/rules/plugins", texts.noPlugins));
  const node = element("div", {}, list, said, adding);
  const read = (problems) => ordered().map((editor, place) => editor.read(problems, place));
  const showProblem = ({ pointer, detail }) => {
    const [, index, rest] = /^\/rules\/(\d+)(.*)$/.exec(pointer ?? "") ?? [];
    const editor = index === undefined ? undefined : ordered()[Number(index)];
    editor?.showProblem({ pointer: rest, detail });
    return editor !== undefined;
  };
  return { node, read, showProblem };
}

function freeName(name, editors) {
  const taken = editors.map((editor) => editor.read(null, 0).name);
  let free = name;
  for (let number = 2; taken.includes(free); number += 1) free = `${name}-${number}`;
  return free;
}

function savePart(editor, readOrSay) {
  if (!can("rulesets:write")) return null;
  const note = input({ maxlength: "500" });
  const report = reportLine();
  const save = async () => {
    try {
      const { body } = await calls.createRevision(readOrSay(), note.value);
      go(`rules/revisions/${body.number}`);
    } catch (error) {
      // Errors that have a place in the form are shown there.
      const [...errors] = error.errors ?? [];
      errors.reverse().forEach((part) => editor.showProblem(part));
      throw error;
    }
  };
  return element("div", { class: "save" }, labelled(texts.note, note, texts.noteHelp),
    actions(reportingButton(texts.save, save, report.show, "primary")), report.node);
}
