// Reads JSON that a person wrote. A number that this browser would change is refused.

import { rules as texts } from "../texts.js";

export function readJson(text) {
  let changed = null;
  const check = (_, value, { source } = {}) => {
    const isWhole = typeof value === "number" && /^-?\d+$/.test(source ?? "");
    if (isWhole && !Number.isSafeInteger(value)) changed = source;
    return value;
  };
  try {
    const value = JSON.parse(text, check);
    return changed === null ? { value } : { error: texts.numberTooLarge(changed) };
  } catch (error) {
    return { error: texts.notJson(error.message) };
  }
}
