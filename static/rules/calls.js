// The calls of the API about rulesets. A change sends the tag that was read before, so that it is
// refused if somebody else has changed the ruleset meanwhile.

import { call, get } from "../api.js";

const POINT = "/rulesets/payment";

// What was filled in. The API takes no empty texts.
export const filled = (members) =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined && value !== null && value !== ""));

const part = encodeURIComponent;

// With the tag of what was read.
export async function tagged(path) {
  const { body, headers } = await call("GET", path);
  return { body, tag: headers.get("ETag") };
}

export const guarded = (tag) => (tag ? { "If-Match": tag } : {});

// A change that the tenant may leave to a second person: then it is only proposed.
const change = (method, path, tag, options = {}) => call(method, path, { ...options, headers: guarded(tag) });

export const readActive = () => tagged(POINT);
export const revision = (number) => get(`${POINT}/revisions/${part(number)}`);
export const revisions = (query) => get(`${POINT}/revisions`, { query });
export const activations = (query) => get(`${POINT}/activations`, { query });
export const ruleReports = (number) => get(`${POINT}/revisions/${part(number)}/rules`);
export const createRevision = (rules, note) => call("POST", `${POINT}/revisions`, { body: filled({ rules, note }) });

export const activate = (number, guard, tag) =>
  change("POST", `${POINT}/activations`, tag, { body: filled({ revision: number, guard }) });
export const rollBack = (tag) => change("POST", `${POINT}/rollback`, tag);
export const startCanary = (number, sharePercent, tag) =>
  change("PUT", `${POINT}/canary`, tag, { body: { revision: number, share_percent: sharePercent } });
export const endCanary = (tag) => change("DELETE", `${POINT}/canary`, tag);
export const startShadow = (number, tag) => change("PUT", `${POINT}/shadow`, tag, { body: { revision: number } });
export const endShadow = (tag) => change("DELETE", `${POINT}/shadow`, tag);
export const canaryReport = (query) => get(`${POINT}/canary`, { query });
export const shadowReport = (query) => get(`${POINT}/shadow`, { query });
export const shadowExamples = (query) => get(`${POINT}/shadow/examples`, { query });
export const liftQuarantine = (id) => call("DELETE", `${POINT}/quarantines/${part(id)}`);

export const dryRun = (body) => call("POST", `${POINT}/dry-runs`, { body });
export const backtests = (query) => get(`${POINT}/backtests`, { query });
export const backtest = (id) => get(`${POINT}/backtests/${part(id)}`);
export const backtestExamples = (id, query) => get(`${POINT}/backtests/${part(id)}/examples`, { query });
export const startBacktest = (body) => call("POST", `${POINT}/backtests`, { body });
export const cancelBacktest = (id) => call("POST", `${POINT}/backtests/${part(id)}/cancel`);

export const plugins = async () => (await get("/plugins")).items;
export const plugin = (digest) => get(`/plugins/${part(digest)}`);
export const uploadPlugin = (file) => call("POST", "/plugins", { body: file, contentType: "application/wasm" });
export const retirePlugin = (digest) => call("POST", `/plugins/${part(digest)}/retire`);

export const payments = (query) => get("/payments", { query });
