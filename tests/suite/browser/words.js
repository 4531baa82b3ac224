// Checks of the differences between revisions in words. Arguments: the folder of the page's files,
// the schemas of the shipped rules by their names. Gives the differences.

const [base, schemas, done] = arguments;

const rule = (name, settings, changes = {}) =>
  ({ name, plugin: name.padEnd(64, "0"), settings, on_failure: "review", overridable: false, mode: "live", ...changes });

const pluginOf = (digest) => {
  const name = digest.replace(/0+$/, "");
  return schemas[name] && { name, version: "1.1.0", settings_schema: schemas[name] };
};

const before = [
  rule("amount-limits", { limits: [{ currency: "EUR", review_above_minor: 1_000_000 }, { currency: "JPY", maximum_minor: 500_000 }] }),
  rule("velocity", { limits: [{ selector: "debtor_account", window_seconds: 86_400, verdict: "review", max_count: 5 }] }),
  rule("account-check", {}),
  rule("new-payee", { limits: [] }),
];

const after = [
  rule("account-check", { iban: "off" }, { mode: "shadow" }),
  rule("amount-limits", { limits: [{ currency: "JPY", maximum_minor: 600_000 }, { currency: "EUR", review_above_minor: 100_000 }] }),
  rule("velocity", { limits: [{ selector: "debtor_account", window_seconds: 5_400, verdict: "review", max_count: 5 }] }, { overridable: true }),
  rule("name-screening", { lists: [{ list: "sanctions", review_from_score: 80 }] }),
];

import(`${base}rules/words.js`).then(({ differences }) => {
  const told = differences(before, after, pluginOf);
  done([...told.map(({ rule, kind, lines }) => [rule, kind, ...lines].join(" | ")), ...differences(after, after, pluginOf).map(String)]);
}).catch((error) => done([String(error.stack)]));
