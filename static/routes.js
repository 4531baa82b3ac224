// The views and their addresses. A view module exports `async function show(context)`, which gives a
// node. `needs` is the scope without which the view is absent. Views with a `title` stand in the
// navigation.

import { navigation as texts } from "./texts.js";

export const ROUTES = [
  { path: "now", load: () => import("./views/now.js"), needs: "decisions:read", title: texts.now },
  { path: "reviews", load: () => import("./views/reviews.js"), needs: "reviews:read", title: texts.reviews },
  { path: "rules", load: () => import("./views/rules.js"), needs: "rulesets:read", title: texts.rules },
  { path: "rules/revisions/:number", load: () => import("./views/revision.js"), needs: "rulesets:read" },
  { path: "rules/revisions", load: () => import("./views/rules_revisions.js"), needs: "rulesets:read" },
  { path: "rules/live", load: () => import("./views/rules_live.js"), needs: "rulesets:read" },
  { path: "rules/backtests", load: () => import("./views/rules_backtests.js"), needs: "rulesets:read" },
  { path: "rules/backtests/:id", load: () => import("./views/rules_backtest.js"), needs: "rulesets:read" },
  { path: "rules/plugins", load: () => import("./views/rules_plugins.js"), needs: "plugins:read" },
  { path: "rules/edit/:number", load: () => import("./views/revision_editor.js"), needs: "rulesets:write" },
  { path: "rules/compare/:before/:after", load: () => import("./views/revision_comparison.js"), needs: "rulesets:read" },
  { path: "decisions", load: () => import("./views/decisions.js"), needs: "payments:read", title: texts.decisions },
  { path: "decisions/:id", load: () => import("./views/decision.js"), needs: "decisions:read" },
  { path: "lists", load: () => import("./views/lists.js"), needs: "lists:read", title: texts.lists },
  { path: "lists/:name", load: () => import("./views/list.js"), needs: "lists:read" },
  { path: "tables", load: () => import("./views/tables.js"), needs: "lists:read", title: texts.tables },
  { path: "tables/:name", load: () => import("./views/table.js"), needs: "lists:read" },
  { path: "proposals", load: () => import("./views/proposals.js"), needs: "rulesets:read", title: texts.proposals },
  { path: "settings", load: () => import("./views/settings.js"), title: texts.settings },
  { path: "settings/:part", load: () => import("./views/settings.js") },
];

export const SIGN_IN = "sign-in";
export const SET_PASSWORD = "set-password";
