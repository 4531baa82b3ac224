// Calls of the API. The access token must stay in this module's memory.

let token = null;
let onExpiry = () => {};
let expiryTimer = null;

export class ApiError extends Error {
  constructor(message, errors = []) {
    super(message);
    this.errors = errors;
  }
}

export const isSignedIn = () => token !== null;
export const whenExpired = (listener) => { onExpiry = listener; };

export async function signIn(clientId, clientSecret) {
  const form = new URLSearchParams({
    grant_type: "client_credentials",
    client_id: clientId,
    client_secret: clientSecret,
  });
  const response = await send("/oauth/token", { method: "POST", body: form });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(body.error_description || body.detail || "Sign-in failed.");
  token = body.access_token;
  clearTimeout(expiryTimer);
  expiryTimer = setTimeout(expire, body.expires_in * 1000);
  return { scopes: body.scope.split(" "), expiresAt: Date.now() + body.expires_in * 1000 };
}

export function signOut() {
  token = null;
  clearTimeout(expiryTimer);
}

function expire() {
  if (!isSignedIn()) return;
  signOut();
  onExpiry();
}

export const get = (path) => call(path, {});
export const post = (path, body, contentType) =>
  call(path, { method: "POST", body, headers: { "Content-Type": contentType } });

async function call(path, request) {
  const headers = { ...request.headers, Authorization: `Bearer ${token}` };
  const response = await send(`/api/v1${path}`, { ...request, headers });
  if (response.status === 401) expire();
  const body = await response.json().catch(() => null);
  if (!response.ok) {
    const detail = body?.detail || body?.title || `The server answered ${response.status}.`;
    throw new ApiError(detail, body?.errors || []);
  }
  return body;
}

async function send(path, request) {
  try {
    return await fetch(path, { ...request, cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer" });
  } catch {
    throw new ApiError("The server cannot be reached.");
  }
}
