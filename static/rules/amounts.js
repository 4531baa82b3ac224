// Amounts as people write them, and as settings have them: whole numbers of minor units.
// Never calculate with fractions here: amounts up to 2^53-1 minor units must stay exact.

const EXPONENTS = {
  0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
  3: "BHD IQD JOD KWD LYD OMR TND",
  4: "UYW CLF",
};

const EXPONENT_OF = new Map(Object.entries(EXPONENTS).flatMap(([exponent, codes]) =>
  codes.split(" ").map((code) => [code, Number(exponent)])));

const MINUS = "-";

// The digits after the decimal point of a currency. Browsers' own tables differ from ISO 4217.
export const exponentOf = (currency) => EXPONENT_OF.get(currency) ?? 2;

export const isCurrencyCode = (text) => typeof text === "string" && /^[A-Z]{3}$/.test(text);

// A whole number of minor units as a decimal number with grouped digits: `10,000.00`.
export function majorUnits(minor, currency) {
  const exponent = exponentOf(currency);
  const isNegative = minor < 0;
  const digits = String(BigInt(minor)).replace(MINUS, "").padStart(exponent + 1, "0");
  const whole = grouped(digits.slice(0, digits.length - exponent));
  const fraction = exponent === 0 ? "" : `.${digits.slice(-exponent)}`;
  return `${isNegative ? MINUS : ""}${whole}${fraction}`;
}

export const grouped = (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ",");

// A plain number as people read it.
export function plainNumber(value) {
  const [, sign, digits, rest] = /^(-?)(\d+)(.*)$/.exec(String(value)) ?? [];
  return digits === undefined ? String(value) : `${sign}${grouped(digits)}${rest}`;
}

// Digits without their grouping. Undefined if the text is no decimal number: a comma that does not
// stand before three digits might be meant as a decimal point.
function ungrouped(text) {
  const tight = text.trim().replace(/[\s\u00a0\u202f'’]/g, "");
  if (!/^-?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?$/.test(tight)) return undefined;
  return tight.replace(/,/g, "");
}

// The text of an amount in major units. Gives `{value}` in minor units, or `{error}`, the name of a
// text about what is wrong.
export function minorUnits(text, currency) {
  const number = ungrouped(text);
  if (number === undefined) return { error: "notAnAmount" };
  const exponent = exponentOf(currency);
  const [whole, written = ""] = number.split(".");
  const fraction = written.replace(/0+$/, "");
  if (fraction.length > exponent) return { error: "tooManyDecimals" };
  return safe(whole + fraction.padEnd(exponent, "0"));
}

// The text of a whole number.
export function wholeNumber(text) {
  const number = ungrouped(text);
  if (number === undefined || number.includes(".")) return { error: "notAWholeNumber" };
  return safe(number);
}

export function decimalNumber(text) {
  const number = ungrouped(text);
  return number === undefined ? { error: "notANumber" } : { value: Number(number) };
}

function safe(digits) {
  const value = Number(digits);
  return Number.isSafeInteger(value) ? { value } : { error: "tooLarge" };
}
