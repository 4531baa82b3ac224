// The way to the API. The token lives in this module's memory and nowhere else.

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
  const body = new URLSearchParams({
    grant_type: "client_credentials",
    client_id: clientId,
    client_secret: clientSecret,
  });
  const response = await reach("/oauth/token", { method: "POST", body });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(answer.error_description || answer.detail || "Sign-in failed.");
  token = answer.access_token;
  clearTimeout(expiryTimer);
  expiryTimer = setTimeout(expire, answer.expires_in * 1000);
  return { scopes: answer.scope.split(" "), expiresAt: Date.now() + answer.expires_in * 1000 };
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
  const response = await reach(`/api/v1${path}`, { ...request, headers });
  if (response.status === 401) expire();
  const answer = await response.json().catch(() => null);
  if (!response.ok) {
    const detail = answer?.detail || answer?.title || `The server answered ${response.status}.`;
    throw new ApiError(detail, answer?.errors || []);
  }
  return answer;
}

async function reach(path, request) {
  try {
    return await fetch(path, { ...request, cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer" });
  } catch {
    throw new ApiError("The server cannot be reached.");
  }
}
