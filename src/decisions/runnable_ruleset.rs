//! A revision in the form in which it is run: with the queries of all rules, each once, and with
//! the position of each rule's facts.

use std::sync::Arc;

use crate::domain::decision::RevisionReference;
use crate::domain::plugin::DigestBuilder;
use crate::domain::quarantine::RuleIdentity;
use crate::domain::ruleset::{DecisionPoint, Mode, PreparedRule, Revision};
use crate::domain::selector::FactQuery;

#[derive(Debug)]
pub struct RunnableRuleset {
    pub revision: RevisionReference,
    pub rules: Vec<RunnableRule>,
    /// The queries of all rules, live and shadow, each once.
    pub queries: Vec<FactQuery>,
}

#[derive(Debug)]
pub struct RunnableRule {
    pub prepared: PreparedRule,
    pub state: Arc<[u8]>,
    pub identity: Arc<RuleIdentity>,
    /// The position of each of this rule's facts in the facts of the ruleset.
    fact_places: Vec<usize>,
}

impl RunnableRule {
    /// The facts of this rule. `all` are those of the ruleset's queries.
    pub fn facts<T: Clone>(&self, all: &[T]) -> Vec<T> {
        self.fact_places.iter().map(|place| all[*place].clone()).collect()
    }
}

/// The binding is a hash of the plugin's digest and the rule's state. The digest has a fixed
/// length, so the two cannot be confused.
pub fn identity_of(point: DecisionPoint, rule: &PreparedRule) -> RuleIdentity {
    let binding = DigestBuilder::default().with(&rule.entry.plugin.0).with(&rule.state).finish();
    RuleIdentity { point, rule: rule.entry.name.clone(), binding }
}

impl RunnableRuleset {
    pub fn new(revision: Revision) -> Self {
        let mut queries: Vec<FactQuery> = Vec::new();
        let rules = revision
            .rules
            .into_iter()
            .map(|mut prepared| {
                let fact_places =
                    prepared.queries.iter().map(|query| place_of(&mut queries, query)).collect();
                let identity = Arc::new(identity_of(revision.point, &prepared));
                let state = std::mem::take(&mut prepared.state).into();
                RunnableRule { prepared, state, identity, fact_places }
            })
            .collect();
        let revision = RevisionReference { number: revision.number, digest: revision.digest };
        Self { revision, rules, queries }
    }

    /// Whether any rule is in shadow mode.
    pub fn has_shadow_rules(&self) -> bool {
        self.rules.iter().any(|rule| rule.prepared.entry.mode == Mode::Shadow)
    }

    pub fn live_rules(&self) -> impl Iterator<Item = &RunnableRule> {
        self.rules.iter().filter(|rule| rule.prepared.entry.mode == Mode::Live)
    }
}

/// The position of a query. A new one is added at the end.
pub(super) fn place_of(queries: &mut Vec<FactQuery>, query: &FactQuery) -> usize {
    queries.iter().position(|known| known == query).unwrap_or_else(|| {
        queries.push(query.clone());
        queries.len() - 1
    })
}
