// Calls of the API. Every failure becomes a `Problem` with words for people.

import { api as texts } from "./texts.js";
import { renewed, token } from "./session.js";
import { request } from "./request.js";

export { Problem } from "./request.js";

// A query is an object; members without a value are left out.
export const get = async (path, options) => (await call("GET", path, options)).body;
export const post = async (path, body, options) => (await call("POST", path, { ...options, body })).body;
export const put = async (path, body, options) => (await call("PUT", path, { ...options, body })).body;
export const patch = async (path, body, options) => (await call("PATCH", path, { ...options, body })).body;
export const remove = async (path, options) => (await call("DELETE", path, options)).body;

// Gives `{body, status, headers}`. A call whose token has expired is repeated after a new sign-in.
export async function call(method, path, options = {}) {
  const response = await answered(method, path, options);
  if (isProposed(response)) tellProposed();
  return response;
}

async function answered(method, path, options) {
  const attempt = () => request(method, `/api/v1${path}`, { ...options, headers: { ...options.headers, Authorization: `Bearer ${token()}` } });
  const used = token();
  try {
    return await attempt();
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    await renewed(used);
    options.signal?.throwIfAborted();
    return attempt();
  }
}

let tellProposed = () => {};

// The listener hears of every change that waits for a second person, instead of being made.
export const whenProposed = (listener) => { tellProposed = listener; };

export const isProposal = (body) => body?.proposed_by !== undefined;

export const isProposed = ({ status, body }) => status === 202 && isProposal(body);

// Every item of a list, for short lists only.
export async function all(path, { query, signal, most = 2000 } = {}) {
  const items = [];
  let cursor;
  do {
    const page = await get(path, { query: { ...query, limit: 200, cursor }, signal });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < most);
  return items;
}

// Whether the server does not have this part of the API.
export const isMissing = (problem) => problem.status === 404 || problem.status === 405;

// The words for a part that this server does not have.
export const withoutPart = (error) => (isMissing(error) ? Object.assign(error, { detail: texts.notAvailable }) : error);
