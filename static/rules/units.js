// Units of numbers in settings. A member's name ends with its unit, such as `window_seconds`.

const ENDINGS = [
  ["_minor", "money"],
  ["_percent", "percent"],
  ["_basis_points", "basisPoints"],
  ["_bps", "basisPoints"],
  ["_milliseconds", "ms"],
  ["_ms", "ms"],
  ["_seconds", "s"],
  ["_s", "s"],
  ["_minutes", "min"],
  ["_hours", "h"],
  ["_days", "d"],
  ["_months", "months"],
  ["_bytes", "bytes"],
];

const SECOND_MS = 1000;
const DURATIONS = [
  { unit: "d", ms: 86_400 * SECOND_MS },
  { unit: "h", ms: 3_600 * SECOND_MS },
  { unit: "min", ms: 60 * SECOND_MS },
  { unit: "s", ms: SECOND_MS },
  { unit: "ms", ms: 1 },
];

export const unitOf = (name) => ENDINGS.find(([ending]) => name.endsWith(ending))?.[1];

// The name without its unit, in words: `review_above_minor` becomes `review above`.
export function nameInWords(name) {
  const ending = ENDINGS.find(([known]) => name.endsWith(known))?.[0] ?? "";
  return name.slice(0, name.length - ending.length).replace(/[_-]+/g, " ").trim() || name;
}

export const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const lengthOf = (unit) => DURATIONS.find((known) => known.unit === unit)?.ms;

// The units in which a duration that is stored in `unit` can be written, the longest first.
export function durationUnits(unit) {
  const own = lengthOf(unit);
  if (own === undefined) return [];
  return DURATIONS.filter((known) => known.ms >= own).map((known) => known.unit);
}

// The longest unit in which the duration is a whole number.
export function readableDuration(value, unit) {
  const own = lengthOf(unit);
  const fitting = DURATIONS.find(({ ms }) => ms >= own && (value * own) % ms === 0);
  if (value === 0 || fitting === undefined) return { value, unit };
  return { value: (value * own) / fitting.ms, unit: fitting.unit };
}

export const inUnit = (value, from, to) => (value * lengthOf(from)) / lengthOf(to);
