// Building the page out of elements. Whatever comes from the API is set as
// text and never read as markup.

export const byId = (id) => document.getElementById(id);

export function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  if (options.class) made.className = options.class;
  if (options.title) made.title = options.title;
  if (options.scope) made.scope = options.scope;
  if (options.label) made.setAttribute("aria-label", options.label);
  if (options.onClick) {
    made.type = "button";
    made.addEventListener("click", options.onClick);
  }
  for (const child of children) {
    if (child === null || child === undefined) continue;
    made.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return made;
}

export const fill = (place, ...children) => place.replaceChildren(...children.filter(Boolean));

export function table(caption, columns, rows) {
  const heads = columns.map((column) =>
    element("th", { scope: "col", class: column.number ? "number" : "" }, column.title));
  const made = element("table", { label: caption },
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows));
  return made;
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

// Minor units by the currency's own digits, as the browser knows them.
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

export function say(text, isError = false) {
  const status = byId("status");
  status.classList.toggle("error", isError);
  status.textContent = text;
}
