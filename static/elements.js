// Builds elements. Data from the API must be set as text, never as markup.

export const byId = (id) => document.getElementById(id);

export function element(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  if (options.class) node.className = options.class;
  if (options.title) node.title = options.title;
  if (options.scope) node.scope = options.scope;
  if (options.label) node.setAttribute("aria-label", options.label);
  if (options.onClick) {
    node.type = "button";
    node.addEventListener("click", options.onClick);
  }
  for (const child of children) {
    if (child === null || child === undefined) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

export const fill = (place, ...children) => place.replaceChildren(...children.filter(Boolean));

export function table(caption, columns, rows) {
  const heads = columns.map((column) =>
    element("th", { scope: "col", class: column.number ? "number" : "" }, column.title));
  return element("table", { label: caption },
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows));
}

export function definitions(pairs) {
  const parts = pairs
    .filter(([, value]) => value !== undefined && value !== null && value !== "")
    .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  return element("dl", {}, ...parts);
}

export const badge = (word) => element("span", { class: `badge ${word}` }, word);

export const json = (value) => element("pre", {}, JSON.stringify(value, null, 2));

export const digest = (text) => element("span", { class: "mono cut", title: text }, text);

export const time = (ms) => new Date(ms).toLocaleString();

// Formats minor units with the decimals that the browser knows for the currency.
export function money(minor, currency) {
  try {
    const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
    const digits = format.resolvedOptions().maximumFractionDigits;
    return format.format(minor / 10 ** digits);
  } catch {
    return `${minor} ${currency}`;
  }
}

export const size = (bytes) =>
  bytes < 1024 * 1024 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1024 / 1024).toFixed(1)} MiB`;

export function showStatus(text, isError = false) {
  const status = byId("status");
  status.classList.toggle("error", isError);
  status.textContent = text;
}
