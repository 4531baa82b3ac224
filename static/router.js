// Shows the view that belongs to the address. The address is after the `#`, so that a reload and the
// buttons of the browser keep working without the server.

import { can } from "./session.js";

const patterns = [];
let place = null;
let onShown = () => {};
let current = null;

// Gives `{path, parameters, query}` of the address.
export function address() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { path, query: new URLSearchParams(query) };
}

export function go(path, { replace = false } = {}) {
  const hash = `#/${path}`;
  if (!replace) {
    location.hash = hash;
    return;
  }
  history.replaceState(null, "", hash);
  showAddress();
}

export function register(routes) {
  for (const route of routes) {
    const names = [];
    const source = route.path.replace(/:([a-z]+)/g, (_, name) => {
      names.push(name);
      return "([^/]+)";
    });
    patterns.push({ route, names, expression: new RegExp(`^${source}$`) });
  }
}

export function routeOf(path) {
  for (const { route, names, expression } of patterns) {
    const found = expression.exec(path);
    if (found) return { route, parameters: Object.fromEntries(names.map((name, at) => [name, decoded(found[at + 1])])) };
  }
  return null;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const isAllowed = (route) => route.needs === undefined || can(route.needs);

// `views` gives the nodes for addresses that have no view: `missing()`, `failed(error, retry)`; `shown` is
// told what is shown.
export function start(outlet, views, shown) {
  place = { outlet, views };
  onShown = shown;
  window.addEventListener("hashchange", showAddress);
  return showAddress();
}

// Shows the view of the address again, from the beginning.
export async function showAddress() {
  current?.abort();
  const mine = new AbortController();
  current = mine;
  const { path, query } = address();
  const found = routeOf(path);
  place.outlet.setAttribute("aria-busy", "true");
  const node = found && isAllowed(found.route)
    ? await viewOf(found, query, mine.signal)
    : place.views.missing();
  if (mine.signal.aborted) return;
  place.outlet.replaceChildren(node);
  place.outlet.removeAttribute("aria-busy");
  onShown(path, node);
}

// What a view is told: `parameters` and `query` of its address, `signal`, aborted when the view is left,
// `setQuery(object, {replace})`, which changes the address without showing the view again, and `refresh()`.
async function viewOf({ route, parameters }, query, signal) {
  const context = { parameters, query, signal, setQuery, refresh: showAddress };
  try {
    const view = await route.load();
    return await view.show(context);
  } catch (error) {
    // Browsers remember that a module could not be loaded until the page is loaded again.
    const isModule = error instanceof TypeError && /module/i.test(error.message);
    return place.views.failed(error, isModule ? () => location.reload() : showAddress);
  }
}

function setQuery(values, { replace = false } = {}) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== ""));
  const { path } = address();
  const hash = `#/${path}${query.size ? `?${query}` : ""}`;
  if (replace) history.replaceState(null, "", hash);
  else history.pushState(null, "", hash);
}
