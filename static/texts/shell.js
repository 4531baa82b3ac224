// The words of the frame around the views: navigation, sign-in, states of lists, failures.

export const navigation = {
  brand: "Tollgate",
  skip: "Skip to the content",
  label: "Views",
  now: "Now",
  reviews: "Reviews",
  rules: "Rules",
  decisions: "Decisions",
  lists: "Lists",
  tables: "Tables",
  settings: "Settings",
  signedInAs: (name, tenant) => `${name}, ${tenant}`,
  signOut: "Sign out",
  signedOut: "You are signed out.",
  missing: "There is nothing at this address",
  missingDetail: "The address may be mistyped, or your roles do not allow you to see it.",
  failed: "This cannot be shown",
  home: "To the start",
};

export const signIn = {
  title: "Sign in",
  again: "Your session has ended",
  againDetail: "Sign in again to go on. What you typed is kept.",
  leave: "Leave without signing in",
  tenant: "Tenant",
  tenantHelp: "The name of your company's tenant.",
  email: "E-mail",
  password: "Password",
  code: "Code of your second factor",
  codeHelp: "Six digits from your authenticator app, or a recovery code.",
  codeNeeded: "Your password is right. Now type the code of your second factor.",
  submit: "Sign in",
  required: "This is required.",
  anotherPerson: "Another person has signed in, so the page was loaded anew.",
  setTitle: "Choose your password",
  setDetail: "This link works once. Choose a password of at least 12 characters.",
  newPassword: "New password",
  repeat: "New password again",
  differ: "The two passwords differ.",
  setSubmit: "Set the password",
  setDone: "Your password is set. Sign in with it.",
};

export const elements = {
  copy: "Copy",
  copied: "Copied.",
  loading: "Loading…",
  retry: "Try again",
  more: "Show more",
  searchGoesOn: "Nothing was found so far. The search has not reached its end.",
  cancel: "Cancel",
  defect: (message) => `The page has failed: ${message}`,
};

export const api = {
  unreachable: "The server cannot be reached. Check your connection and try again.",
  status: (status) => `The server answered with the status ${status}.`,
  retryAfter: (seconds) => `Try again in ${seconds} ${seconds === 1 ? "second" : "seconds"}.`,
  notAvailable: "This is not available on this server.",
};
