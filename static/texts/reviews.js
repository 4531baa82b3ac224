// The words of the review queue, of what became of a review, and of the settings of reviews.

const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

export const reviews = {
  title: "Reviews",
  filters: "Filters of the queue",
  state: "State",
  states: [["open,claimed", "waiting"], ["open", "open"], ["claimed", "claimed"], ["decided", "decided"], ["expired", "expired"], ["all", "all"]],
  stateName: { open: "open", claimed: "claimed", decided: "decided", expired: "expired" },
  cause: "Opened by",
  causes: [["", "anything"], ["decision", "a decision"], ["event", "a reported event"]],
  causeName: { decision: "decision", event: "event" },
  currency: "Currency",
  from: "Opened from",
  to: "Opened before",
  mine: "Only mine",
  apply: "Show",
  clear: "All that waits",

  queue: "Queue",
  none: "Nothing waits for a person.",
  noneDetail: "Payments that the rules send to review appear here by themselves.",
  noneLike: "No review is like that. Change the filters.",
  more: "Show more",
  select: "Choose a review from the queue.",
  erased: "erased",
  age: (seconds) => {
    if (seconds < 60) return "just now";
    if (seconds < 3600) return plural(Math.floor(seconds / 60), "minute", "minutes");
    if (seconds < 86_400) return plural(Math.floor(seconds / 3600), "hour", "hours");
    return plural(Math.floor(seconds / 86_400), "day", "days");
  },
  claimedBy: (name) => `claimed by ${name}`,
  byYou: "claimed by you",
  somebody: "somebody",

  approve: "Approve",
  reject: "Reject",
  claim: "Claim",
  renew: "Renew",
  handBack: "Hand back",
  keys: "Keys",
  keysTitle: "Keys of the queue",
  keysOf: [
    ["j", "next review"], ["k", "review before"], ["c", "claim"], ["h", "hand back"], ["a", "approve"], ["r", "reject"],
    ["Ctrl+Enter", "send the note"], ["Escape", "close the note; what is written stays"], ["?", "show these keys"],
  ],
  close: "Close",

  opened: "Opened",
  expiresAt: "ends by itself at",
  left: (seconds) => `yours for ${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`,
  lapsed: "Your claim has ended.",
  claimedUntil: (name) => `${name} has claimed it until`,
  free: "Nobody works on it.",
  by: "by",
  expired: "Nobody decided in time.",
  outcomeName: { approve: "approved", reject: "rejected" },
  note: "Note",

  noteTitle: { approve: "Approve this payment", reject: "Reject this payment" },
  noteLabel: "Why",
  noteHelp: "1 to 2,000 characters, for whoever looks at it later. Ctrl+Enter sends, Escape closes.",
  noteMissing: "Write why.",
  cancel: "Cancel",
  done: { approve: "Approved.", reject: "Rejected." },
  claimed: "Claimed.",
  handedBack: "Handed back.",

  events: "Reported events",
  event: "Event",
  at: "When",
  actor: "Reported by",
  eventNote: "Note",
  open: "The whole decision",

  card: "Review",
  cardOpen: "It waits for a person.",
  cardClaimed: "A person works on it.",
  toQueue: "To the queue",

  waiting: "Waiting for a person",
  waitingOpen: "open",
  waitingClaimed: "claimed",
  waitingOldest: "the oldest",
  waitingDecided: "decided today",
};

export const reviewSettings = {
  title: "How reviews work",
  lease: "A claim holds for",
  leaseHelp: "In minutes. While a person works on a review, the claim is renewed by itself.",
  leaseWrong: "Expected a whole number of minutes from 1 to 1,440.",
  expiresAfter: "A review ends by itself after",
  expiresAfterHelp: "In minutes, whoever has claimed it. Empty: never.",
  expiresAfterWrong: "Expected a whole number of minutes from 1 to 525,600, or nothing.",
  expiresTo: "It then counts as",
  outcomes: [["reject", "rejected"], ["approve", "approved"]],
  kinds: "Reported events that open a review",
  kindsHelp: "A payment has one open review at most: later events join it.",
  kind: [
    ["claimed", "claimed"], ["approved", "approved"], ["rejected", "rejected"], ["expired", "expired"], ["cancelled", "cancelled"],
    ["settled", "settled"], ["failed", "failed"], ["refunded", "refunded"], ["fraud", "fraud"],
  ],
  never: "never",
  none: "none",
  minutes: (count) => plural(count, "minute", "minutes"),
};
