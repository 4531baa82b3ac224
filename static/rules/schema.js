// Reads a JSON Schema of settings as fields of a form.
// What it does not understand becomes a field of the kind `json`, so that no setting is ever lost.
//
// Kinds: object, list, set, choice, boolean, integer, number, text, constant, json.

import { unitOf } from "./units.js";

const DEPTH_MAX = 12;

export function fieldsOf(schema) {
  const root = isObject(schema) ? schema : {};
  return field(root, { root, name: "", depth: 0 });
}

export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

export function isSame(a, b) {
  if (a === b) return true;
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, place) => isSame(item, b[place]));
  }
  if (!isObject(a) || !isObject(b)) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && isSame(a[name], b[name]));
}

// Whether a value has the form of a field, as far as a control needs it to show the value.
export function canShow(field, value) {
  switch (field.kind) {
    case "object": return isObject(value);
    case "list": return Array.isArray(value);
    case "set": return Array.isArray(value) && value.every((item) => field.options.some((option) => option.value === item));
    case "choice": return field.options.some((option) => fits(option, value));
    case "boolean": return typeof value === "boolean";
    case "integer": return Number.isSafeInteger(value);
    case "number": return typeof value === "number";
    case "text": return typeof value === "string";
    case "constant": return isSame(value, field.value);
    default: return true;
  }
}

// Whether a value belongs to an option of a choice.
export function fits(option, value) {
  if (!option.field) return isSame(option.value, value);
  if (!canShow(option.field, value)) return false;
  if (option.field.kind !== "object") return true;
  const { required, members } = option.field;
  const isKnown = (name) => members.some((member) => member.name === name);
  return required.every((name) => Object.hasOwn(value, name)) && Object.keys(value).every(isKnown);
}

function field(schema, place) {
  const resolved = resolve(schema, place.root);
  const about = {
    name: place.name,
    title: text(resolved.title),
    help: text(resolved.description),
    fallback: resolved.default,
    ...withoutNull(resolved, place.root),
  };
  const { plain, ...rest } = about;
  if (place.depth > DEPTH_MAX) return { ...rest, kind: "json" };
  return { ...rest, ...kindOf(plain, { ...place, depth: place.depth + 1 }) };
}

// Follows references to definitions of the same schema. Words beside a reference go before those of
// the definition.
function resolve(schema, root, hops = 0) {
  if (!isObject(schema)) return {};
  if (typeof schema.$ref === "string" && hops < DEPTH_MAX) {
    const { $ref, ...beside } = schema;
    return { ...resolve(definition($ref, root), root, hops + 1), ...beside };
  }
  if (Array.isArray(schema.allOf) && schema.allOf.length === 1 && hops < DEPTH_MAX) {
    const { allOf, ...beside } = schema;
    return { ...resolve(allOf[0], root, hops + 1), ...beside };
  }
  return schema;
}

function definition(reference, root) {
  if (!reference.startsWith("#/")) return undefined;
  const parts = reference.slice(2).split("/").map((part) => part.replace(/~1/g, "/").replace(/~0/g, "~"));
  return parts.reduce((node, part) => (isObject(node) && Object.hasOwn(node, part) ? node[part] : undefined), root);
}

// The schema without the alternative `null`, which an empty field stands for.
function withoutNull(schema, root) {
  if (Array.isArray(schema.type) && schema.type.includes("null")) {
    const types = schema.type.filter((type) => type !== "null");
    return { nullable: true, plain: { ...schema, type: types.length === 1 ? types[0] : types } };
  }
  for (const word of ["anyOf", "oneOf"]) {
    const isNull = (part) => resolve(part, root).type === "null";
    if (!Array.isArray(schema[word]) || !schema[word].some(isNull)) continue;
    const others = schema[word].filter((part) => !isNull(part));
    const { [word]: _, ...beside } = schema;
    if (others.length === 1) return { nullable: true, plain: { ...resolve(others[0], root), ...beside } };
    return { nullable: true, plain: { ...beside, [word]: others } };
  }
  return { nullable: false, plain: schema };
}

function kindOf(schema, place) {
  const alternatives = schema.oneOf ?? schema.anyOf;
  if (Array.isArray(alternatives)) return choice(alternatives, place);
  if (Array.isArray(schema.enum)) return { kind: "choice", options: schema.enum.map((value) => ({ value })) };
  if (Object.hasOwn(schema, "const")) return { kind: "constant", value: schema.const };
  switch (schema.type) {
    case "object": return objectKind(schema, place);
    case "array": return arrayKind(schema, place);
    case "boolean": return { kind: "boolean" };
    case "integer":
    case "number": return numberKind(schema, place.name);
    case "string": return textKind(schema, place.name);
    default: return { kind: "json" };
  }
}

function choice(alternatives, place) {
  const options = alternatives.map((alternative) => {
    const schema = resolve(alternative, place.root);
    const help = text(schema.description);
    if (Object.hasOwn(schema, "const")) return { value: schema.const, help };
    if (Array.isArray(schema.enum) && schema.enum.length === 1) return { value: schema.enum[0], help };
    return { field: field(schema, { ...place, name: "" }), help };
  });
  return { kind: "choice", options };
}

function objectKind(schema, place) {
  if (!isObject(schema.properties)) return { kind: "json" };
  const required = Array.isArray(schema.required) ? schema.required : [];
  const members = Object.entries(schema.properties).map(([name, member]) => ({
    ...field(member, { ...place, name }),
    required: required.includes(name),
  }));
  // What must be set comes first, in the order in which it is declared as required.
  const rank = (member) => (member.required ? required.indexOf(member.name) : required.length);
  return { kind: "object", required, members: members.sort((a, b) => rank(a) - rank(b)) };
}

function arrayKind(schema, place) {
  const item = field(schema.items ?? {}, { ...place, name: singular(place.name) });
  const bounds = { itemsMin: schema.minItems ?? 0, itemsMax: schema.maxItems ?? Infinity };
  const isWord = (option) => !option.field && typeof option.value === "string";
  if (item.kind === "choice" && item.options.every(isWord)) return { kind: "set", options: item.options, ...bounds };
  return { kind: "list", item, ...bounds };
}

const singular = (name) => name.replace(/ies$/, "y").replace(/([^s])s$/, "$1");

function numberKind(schema, name) {
  const bound = (value) => (typeof value === "number" ? value : undefined);
  return {
    kind: schema.type,
    unit: unitOf(name),
    least: bound(schema.minimum),
    most: bound(schema.maximum),
    above: bound(schema.exclusiveMinimum),
    below: bound(schema.exclusiveMaximum),
  };
}

function textKind(schema, name) {
  return {
    kind: "text",
    lengthMin: schema.minLength ?? 0,
    lengthMax: schema.maxLength ?? Infinity,
    pattern: pattern(schema.pattern),
    isCurrency: name === "currency" || name.endsWith("_currency"),
  };
}

// A pattern that this browser cannot read is left to the server.
function pattern(source) {
  if (typeof source !== "string") return undefined;
  try {
    return new RegExp(source, "u");
  } catch {
    return undefined;
  }
}

const text = (value) => (typeof value === "string" ? value.trim().replace(/\s*\n\s*/g, " ") : "");
