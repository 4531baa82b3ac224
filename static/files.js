// Files that the page makes for the person to keep: CSV and JSON lines.

// Programs for tables read a cell that begins like this as a formula, so it gets an apostrophe.
const FORMULA = /^[=+\-@\t\r]/;

const MEDIA_TYPES = { csv: "text/csv", jsonl: "application/jsonl" };

export function csv(columns, rows) {
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n").concat("\r\n");
}

function cell(value) {
  if (typeof value === "number") return String(value);
  const text = typeof value === "object" && value !== null ? JSON.stringify(value) : String(value ?? "");
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll("\"", "\"\"")}"` : safe;
}

export const jsonLines = (items) => items.map((item) => `${JSON.stringify(item)}\n`).join("");

// Hands a file over to the browser, which stores it where it stores all files.
export function save(name, ending, text) {
  const address = URL.createObjectURL(new Blob([text], { type: MEDIA_TYPES[ending] }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `${name}.${ending}`;
  link.click();
  // The browser reads the file after this task.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
