// The differences between two revisions in words, such as `review above: 10,000.00 → 1,000.00 EUR`.

import { majorUnits, isCurrencyCode, plainNumber } from "./amounts.js";
import { canShow, fieldsOf, fits, isObject, isSame } from "./schema.js";
import { nameInWords, readableDuration } from "./units.js";
import { rules as texts } from "../texts.js";

const JSON_LENGTH_MAX = 120;
const DIGEST_LENGTH = 8;

// Members that tell one item of a list from another.
const TELLING = ["name", "list", "table", "selector", "currency", "method"];

export const shortDigest = (digest) => digest.slice(0, DIGEST_LENGTH);

// Compares the rules of two revisions. `pluginOf` gives what is known of a plugin by its digest.
// Gives one group for each rule that differs: `{ rule, kind, lines }`.
export function differences(before, after, pluginOf = () => undefined) {
  const { pairs, added, removed } = pairRules(before, after);
  const moved = movedNames(pairs, before, after);
  const changed = after.flatMap((rule, place) => {
    const earlier = pairs.get(rule);
    if (!earlier) return [{ rule: rule.name, kind: "added", lines: aboutAdded(rule, place, pluginOf) }];
    const lines = ruleLines(earlier, rule, pluginOf);
    if (moved.has(rule)) lines.unshift(texts.moved(before.indexOf(earlier) + 1, place + 1));
    return lines.length ? [{ rule: rule.name, kind: "changed", lines }] : [];
  });
  const gone = removed.map((rule) => ({ rule: rule.name, kind: "removed", lines: [pluginInWords(rule.plugin, pluginOf)] }));
  return added.length + gone.length + changed.length === 0 ? [] : [...changed, ...gone];
}

// A rule keeps its identity by its name. A rule that only got another name is found by all the rest.
function pairRules(before, after) {
  const pairs = new Map();
  for (const rule of after) {
    const same = before.find((earlier) => earlier.name === rule.name);
    if (same) pairs.set(rule, same);
  }
  const isPaired = (earlier) => [...pairs.values()].includes(earlier);
  for (const rule of after.filter((one) => !pairs.has(one))) {
    const renamed = before.find((earlier) => !isPaired(earlier) && isSameButName(earlier, rule));
    if (renamed) pairs.set(rule, renamed);
  }
  return {
    pairs,
    added: after.filter((rule) => !pairs.has(rule)),
    removed: before.filter((earlier) => !isPaired(earlier)),
  };
}

const isSameButName = (a, b) => a.plugin === b.plugin && a.mode === b.mode && a.on_failure === b.on_failure
  && a.overridable === b.overridable && isSame(a.settings, b.settings);

// The rules that have to be moved to get from the earlier order to the later one: all except a
// longest run that keeps its order.
function movedNames(pairs, before, after) {
  const kept = after.filter((rule) => pairs.has(rule));
  const places = kept.map((rule) => before.indexOf(pairs.get(rule)));
  const staying = longestRising(places);
  return new Set(kept.filter((_, place) => !staying.has(place)));
}

function longestRising(numbers) {
  const best = numbers.map(() => ({ length: 1, from: -1 }));
  let end = -1;
  numbers.forEach((number, place) => {
    for (let earlier = 0; earlier < place; earlier += 1) {
      if (numbers[earlier] < number && best[earlier].length + 1 > best[place].length) {
        best[place] = { length: best[earlier].length + 1, from: earlier };
      }
    }
    if (end < 0 || best[place].length > best[end].length) end = place;
  });
  const places = new Set();
  for (let place = end; place >= 0; place = best[place].from) places.add(place);
  return places;
}

function aboutAdded(rule, place, pluginOf) {
  const lines = [pluginInWords(rule.plugin, pluginOf), texts.atPlace(place + 1)];
  if (rule.mode === "shadow") lines.push(texts.inShadow);
  const field = settingsField(pluginOf(rule.plugin));
  return [...lines, ...settingsInWords(field, rule.settings)];
}

const settingsField = (plugin) => fieldsOf(plugin?.settings_schema);

export function pluginInWords(digest, pluginOf) {
  const plugin = pluginOf(digest);
  const short = shortDigest(digest);
  return plugin?.name ? texts.pluginVersion(plugin.name, plugin.version, short) : texts.unknownPlugin(short);
}

function ruleLines(before, after, pluginOf) {
  const lines = [];
  if (before.name !== after.name) lines.push(texts.change(texts.name, before.name, after.name));
  if (before.plugin !== after.plugin) {
    lines.push(texts.change(texts.plugin, pluginInWords(before.plugin, pluginOf), pluginInWords(after.plugin, pluginOf)));
  }
  for (const [member, label] of [["mode", texts.stage], ["on_failure", texts.onFailure]]) {
    if (before[member] !== after[member]) {
      lines.push(texts.change(label, texts.wordOf(before[member]), texts.wordOf(after[member])));
    }
  }
  if (before.overridable !== after.overridable) {
    lines.push(texts.change(texts.overridable, texts.yesOrNo(before.overridable), texts.yesOrNo(after.overridable)));
  }
  const field = settingsField(pluginOf(after.plugin) ?? pluginOf(before.plugin));
  return [...lines, ...settingsLines(field, before.settings, after.settings)];
}

const settingsLines = (field, before, after) => compare(field, before, after, { path: [], siblings: [{}, {}] });

// The settings themselves, a line for each setting and each item of a list.
export function settingsInWords(field, settings) {
  if (!isObject(settings)) return [json(settings)];
  return Object.entries(settings).flatMap(([name, value]) => {
    const member = memberOf(field, name);
    if (member.kind !== "list" || !Array.isArray(value)) return [texts.setTo(nameInWords(name), whole(valueInWords(member, value, settings)))];
    return value.map((item, place) => texts.setTo(itemInWords(member.item, item, place), membersInWords(member.item, item, isTelling)));
  });
}

const memberOf = (field, name) => field.members?.find((known) => known.name === name) ?? { kind: "json", name };

const isTelling = (name) => TELLING.includes(name);

// `context.siblings` are the objects around both values: they may have the currency of an amount.
function compare(field, before, after, context) {
  if (isSame(before, after)) return [];
  if (isObject(before) && isObject(after) && (field.kind === "object" || field.kind === "json")) {
    return compareObjects(field, before, after, context);
  }
  if (field.kind === "list" && Array.isArray(before ?? []) && Array.isArray(after ?? [])) {
    return compareLists(field, before ?? [], after ?? [], context);
  }
  const [from, to] = [valueInWords(field, before, context.siblings[0]), valueInWords(field, after, context.siblings[1])];
  const label = context.path.join(texts.pathJoint) || texts.settings;
  if (from.unit && from.unit === to.unit) return [texts.changeOfUnit(label, from.text, to.text, to.unit)];
  return [texts.change(label, whole(from), whole(to))];
}

const whole = ({ text, unit }) => (unit ? `${text} ${unit}` : text);

function compareObjects(field, before, after, context) {
  const names = new Set([...(field.members ?? []).map((member) => member.name), ...Object.keys(before), ...Object.keys(after)]);
  return [...names].flatMap((name) => {
    const member = memberOf(field, name);
    const inner = { path: [...context.path, nameInWords(name)], siblings: [before, after] };
    return compare(member, before[name], after[name], inner);
  });
}

function compareLists(field, before, after, context) {
  const pairs = pairItems(before, after);
  const label = (item, place) => [...context.path, itemInWords(field.item, item, place)];
  const lines = after.flatMap((item, place) => {
    const path = label(item, place);
    const earlier = pairs.get(place);
    if (earlier === undefined) return [texts.itemAdded(path.join(texts.pathJoint), membersInWords(field.item, item))];
    return compare(field.item, before[earlier], item, { path, siblings: context.siblings });
  });
  const kept = new Set(pairs.values());
  const gone = before.flatMap((item, place) =>
    (kept.has(place) ? [] : [texts.itemRemoved(label(item, place).join(texts.pathJoint))]));
  const order = [...pairs.entries()].sort(([a], [b]) => a - b).map(([, earlier]) => earlier);
  const isReordered = order.some((place, index) => index > 0 && place < order[index - 1]);
  return [...lines, ...gone, ...(isReordered ? [texts.itemsReordered(context.path.join(texts.pathJoint))] : [])];
}

// Which item of the later list was which of the earlier one: the same, or of the same name, or at
// the same place.
function pairItems(before, after) {
  const pairs = new Map();
  const taken = new Set();
  const pairWhere = (matches) => after.forEach((item, place) => {
    if (pairs.has(place)) return;
    const earlier = before.findIndex((other, index) => !taken.has(index) && matches(other, item, index, place));
    if (earlier < 0) return;
    pairs.set(place, earlier);
    taken.add(earlier);
  });
  pairWhere(isSame);
  pairWhere((a, b) => tellingOf(a).length > 0 && isSame(tellingOf(a), tellingOf(b)));
  pairWhere((a, b, index, place) => index === place);
  return pairs;
}

const tellingOf = (item) => (isObject(item) ? TELLING.filter((name) => item[name] !== undefined).map((name) => item[name]) : []);

// An item of a list by its place and what tells it from the others: `limit 1 (EUR)`.
export function itemInWords(field, item, place) {
  const telling = TELLING.filter((name) => isObject(item) && item[name] !== undefined && item[name] !== null);
  const known = telling.map((name) => {
    return whole(valueInWords(memberOf(field, name), item[name], item));
  });
  return texts.item(nameInWords(field.name || "") || texts.entry, place + 1, known.join(", "));
}

function membersInWords(field, item, isLeftOut = () => false) {
  if (!isObject(item)) return whole(valueInWords(field, item, {}));
  const told = Object.entries(item).filter(([name, value]) => value !== null && !isLeftOut(name));
  return told.map(([name, value]) => `${nameInWords(name)} ${whole(valueInWords(memberOf(field, name), value, item))}`).join(", ");
}

// A value as `{ text, unit }`.
export function valueInWords(field, value, around = {}) {
  if (value === undefined || value === null) return absent(field, around);
  if (!canShow(field, value)) return { text: json(value) };
  switch (field.kind) {
    case "integer":
    case "number": return numberInWords(field.unit, value, around);
    case "boolean": return { text: texts.yesOrNo(value) };
    case "text": return { text: value };
    case "set": return { text: value.map(texts.wordOf).join(", ") || texts.none };
    case "choice": return choiceInWords(field, value);
    case "list": return { text: value.map((item) => whole(valueInWords(field.item, item, around))).join("; ") || texts.none };
    case "object": return { text: membersInWords(field, value) };
    default: return { text: json(value) };
  }
}

function absent(field, around) {
  if (field.fallback === undefined || field.fallback === null) return { text: texts.notSet };
  return { text: texts.byDefault(whole(valueInWords({ ...field, fallback: undefined }, field.fallback, around))) };
}

function choiceInWords(field, value) {
  const option = field.options.find((known) => fits(known, value));
  return option?.field ? valueInWords(option.field, value) : { text: texts.wordOf(value) };
}

function numberInWords(unit, value, around) {
  switch (unit) {
    case "money": return isCurrencyCode(around.currency) && Number.isSafeInteger(value)
      ? { text: majorUnits(value, around.currency), unit: around.currency }
      : { text: plainNumber(value), unit: texts.minorUnits };
    case "percent": return { text: texts.percent(plainNumber(value)) };
    case undefined: return { text: plainNumber(value) };
    default: {
      const readable = readableDuration(value, unit);
      return { text: texts.quantity(plainNumber(readable.value), readable.unit, readable.value === 1) };
    }
  }
}

function json(value) {
  const text = JSON.stringify(value);
  return text.length > JSON_LENGTH_MAX ? `${text.slice(0, JSON_LENGTH_MAX)}…` : text;
}
