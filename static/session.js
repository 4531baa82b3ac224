// The session of the signed-in person. The access token must stay in this module's memory; the cookie
// that renews it is out of reach of scripts.

import { Problem, request } from "./request.js";

// A token is renewed this long before its end, or after half of a shorter life.
const AHEAD_S = 60;

let session = null;
let renewal = null;
let timer = null;
let askAgain = () => Promise.reject(new Problem({ status: 401 }));
const listeners = new Set();

export const token = () => session?.access_token ?? "";
export const person = () => session?.user ?? null;
export const tenant = () => session?.tenant ?? null;
export const can = (scope) => session?.scopes.has(scope) ?? false;
export const isSignedIn = () => session !== null;

// The listener hears of every sign-in and sign-out.
export const whenChanged = (listener) => listeners.add(listener);

// `ask` shows a dialog and resolves after a new sign-in.
export const whenEnded = (ask) => { askAgain = ask; };

const sessionCall = (method, path, body) => request(method, path, { body, credentials: "same-origin" });

export async function signIn(credentials) {
  const { body } = await sessionCall("POST", "/session", credentials);
  begin(body);
  tell();
}

// Continues the session of an earlier visit. Gives whether there is one.
export async function resume() {
  try {
    const { body } = await sessionCall("POST", "/session/refresh");
    begin(body);
    tell();
    return true;
  } catch (problem) {
    if (problem.status >= 400 && problem.status < 500) return false;
    throw problem;
  }
}

export async function signOut() {
  try {
    await sessionCall("DELETE", "/session");
  } finally {
    end();
    tell();
  }
}

// Forgets the session without telling the server, which has ended it already.
export function end() {
  session = null;
  clearTimeout(timer);
}

export const setPassword = (oneTimeToken, password) => sessionCall("POST", "/session/password", { token: oneTimeToken, password });

// Resolves when there is a token other than `used`: many callers, one renewal. If the session has
// ended, it waits for the person to sign in again.
export function renewed(used) {
  if (token() && token() !== used) return Promise.resolve();
  renewal ??= renew().finally(() => { renewal = null; });
  return renewal;
}

async function renew() {
  const before = session;
  try {
    const { body } = await sessionCall("POST", "/session/refresh");
    begin(body);
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    await askAgain(before);
  }
}

function begin(body) {
  session = { ...body, scopes: new Set(body.scope.split(" ").filter(Boolean)) };
  clearTimeout(timer);
  const ahead_s = Math.min(AHEAD_S, body.expires_in / 2);
  timer = setTimeout(() => renewed(session?.access_token).catch(() => {}), (body.expires_in - ahead_s) * 1000);
}

const tell = () => listeners.forEach((listener) => listener());
