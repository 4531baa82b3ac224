// The words of changes that wait for a second person.

export const proposals = {
  title: "Proposals",
  waiting: "Waiting for a second person",
  waitingHelp: "A change below takes effect when another administrator approves it.",
  none: "Nothing waits. When somebody activates a revision, edits a list or changes a setting that needs a second person, it appears here.",
  noneOff: "Nothing waits, since one person is enough in this tenant. That can be changed in the settings.",
  toSetting: "Second person",
  decided: "Decided",
  noneDecided: "Nothing has been decided yet.",
  what: "What",
  by: "Proposed by",
  when: "When",
  state: "Decision",
  acts: "Acts",
  stateName: { open: "open", approved: "approved", declined: "declined", withdrawn: "withdrawn" },
  approve: "Approve",
  approveTitle: "Approve this change?",
  approved: "Approved: the change is made.",
  decline: "Decline",
  declineTitle: "Decline this change?",
  declined: "Declined: the change is not made.",
  withdraw: "Withdraw",
  withdrawn: "Withdrawn.",
  why: "Why",
  whyHelp: "Without personal data: it stays in the audit log.",
  own: "Another administrator has to approve it.",
  hidden: "Your roles do not show what it is about.",
  see: "See it",
  entriesMore: (count) => `and ${count} more`,
};

// What a change would do, by its kind.
export const changes = {
  activation: ({ revision }) => `Activate revision ${revision}`,
  guarded: (percent) => `only if a backtest changed at most ${percent} % of the outcomes`,
  canary: ({ canary }) => (canary ? `Let revision ${canary.revision} decide ${canary.share_percent} % of the payments` : "End the canary"),
  list_entries: ({ list, entry_count }) => `Add ${entry_count} ${entry_count === 1 ? "entry" : "entries"} to the list ${list}`,
  list_entry_closed: ({ list, value }) => `Close the entry ${value} of the list ${list}`,
  list_closed: ({ list }) => `Close the list ${list} for good`,
  table_activation: ({ table, version }) => `Use version ${version} of the table ${table}`,
  table_closed: ({ table }) => `Close the table ${table} for good`,
  erasure: ({ payment_id }) => `Erase the personal data of the payment ${payment_id}`,
  retention: ({ months }) => (months ? `Keep decisions for ${months} ${months === 1 ? "month" : "months"}` : "Keep decisions for ever"),
  user: ({ user_id, email }) => (user_id ? `Change the roles or the state of ${email}` : `Invite ${email}`),
  userDetail: (roles, disabled) => [
    roles ? `roles: ${roles}` : "",
    disabled === undefined ? "" : disabled ? "disabled" : "enabled",
  ].filter(Boolean).join("; "),
  password_link: ({ email }) => `Make a link with which ${email} chooses a new password`,
  second_factor_removed: ({ email }) => `Remove the second factor of ${email}`,
  openid: ({ openid }) => (openid ? `Sign in with the company accounts of ${openid.issuer}` : "Sign in with company accounts no longer"),
  openidDetail: ({ client_id, roles_claim, role_mapping, password_sign_in }, roles) =>
    `client ${client_id}; the claim ${roles_claim} gives: ${role_mapping.map(({ value, role }) => `${value} → ${roles[role] ?? role}`).join(", ")}; ${password_sign_in ? "passwords work too" : "passwords no longer work"}`,
  review_settings: ({ reviews }) => (reviews.expires_after_min
    ? `Let reviews end after ${reviews.expires_after_min} minutes with the outcome ${reviews.expires_to}`
    : "Let reviews wait until somebody decides"),
  reviewDetail: ({ lease_min, event_kinds = [] }) =>
    `a claim holds for ${lease_min} minutes; events that open a review: ${event_kinds.join(", ") || "none"}`,
  second_person_off: () => "Let one person be enough for changes like these",
  other: (kind) => `A change of the kind ${kind}`,
};

export const secondPerson = {
  title: "Second person",
  detail: "If a second person is needed, nobody changes alone what decides about payments: activating a revision, a canary, lists and tables, erasure, retention, and who is an administrator. Such a change is only proposed, and another administrator approves it. A roll back never needs a second person.",
  on: "A second person is needed.",
  off: "One person is enough.",
  turnOn: "Need a second person",
  turnOnTitle: "Need a second person from now on?",
  turnOnDetail: "From then on, another administrator has to approve such changes, also this one back.",
  turnOff: "Propose that one person is enough",
  machines: "Programs can propose changes, and never approve them.",
};
