// The calls of the API about lists and tables.

import { call, get } from "../api.js";
import { filled, guarded, tagged } from "./calls.js";

const list = (name) => `/lists/${encodeURIComponent(name)}`;
const table = (name) => `/tables/${encodeURIComponent(name)}`;

export const lists = (query) => get("/lists", { query });
export const createList = (body) => call("POST", "/lists", { body: filled(body) });
export const closeList = (name) => call("DELETE", list(name));
export const entries = (name, query) => get(`${list(name)}/entries`, { query });
export const addEntry = (name, body) => call("POST", `${list(name)}/entries`, { body });
export const addEntries = (name, text, contentType) => call("POST", `${list(name)}/entries`, { body: text, contentType });
export const closeEntry = (name, id) => call("DELETE", `${list(name)}/entries/${encodeURIComponent(id)}`);

export const tables = (query) => get("/tables", { query });
export const readTable = (name) => tagged(table(name));
export const createTable = (body) => call("POST", "/tables", { body: filled(body) });
export const closeTable = (name) => call("DELETE", table(name));
export const versions = (name, query) => get(`${table(name)}/versions`, { query });
export const tableActivations = (name, query) => get(`${table(name)}/activations`, { query });
export const uploadVersion = (name, note, file, contentType) =>
  call("POST", `${table(name)}/versions`, { query: { note }, body: file, contentType });
export const activateVersion = (name, version, tag) =>
  call("POST", `${table(name)}/activations`, { body: { version }, headers: guarded(tag) });
export const rollBackTable = (name, tag) => call("POST", `${table(name)}/rollback`, { headers: guarded(tag) });
export const diff = (name, query) => get(`${table(name)}/diff`, { query });
export const lookUp = (name, query) => get(`${table(name)}/rows`, { query });
