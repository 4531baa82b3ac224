// One request to the server. Nothing here knows of sessions.

import { api as texts } from "./texts.js";

export class Problem extends Error {
  constructor({ status = 0, code = "", detail, errors = [], retryAfterS = null }) {
    super(detail);
    Object.assign(this, { name: "Problem", status, code, detail, errors, retryAfterS });
  }
}

// A body that is no Blob, text or buffer is sent as JSON.
export async function request(method, path, { query, body, headers = {}, signal, contentType, credentials = "omit" } = {}) {
  const isRaw = body instanceof Blob || typeof body === "string" || body instanceof ArrayBuffer || body === undefined;
  const sent = { ...headers, Accept: "application/json" };
  if (body !== undefined) sent["Content-Type"] = contentType ?? (isRaw ? "application/octet-stream" : "application/json");
  const response = await send(path + suffix(query), {
    method, headers: sent, body: isRaw ? body : JSON.stringify(body), signal, credentials,
  });
  const answer = await response.text();
  const value = parsed(answer);
  if (!response.ok) throw problemOf(response, value);
  return { body: value, status: response.status, headers: response.headers };
}

export async function send(path, options) {
  try {
    return await fetch(path, { cache: "no-store", referrerPolicy: "no-referrer", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ detail: texts.unreachable });
  }
}

export function problemOf(response, value) {
  const code = typeof value?.type === "string" ? value.type.split(/[/:]/).pop() : "";
  const retryAfterS = Number(response.headers.get("Retry-After")) || null;
  const words = [value?.detail || value?.title || texts.status(response.status)];
  if (retryAfterS) words.push(texts.retryAfter(retryAfterS));
  return new Problem({ status: response.status, code, detail: words.join(" "), errors: value?.errors ?? [], retryAfterS });
}

function suffix(query = {}) {
  const parameters = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== ""));
  return parameters.size ? `?${parameters}` : "";
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text === "" ? null : text;
  }
}
