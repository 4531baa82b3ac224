//! A revision in the form in which it is run.
//!
//! Owns which questions it asks and whose answers are whose. Must never know
//! whether it decides, runs beside or is only tried.

use std::sync::Arc;

use crate::domain::decision::RevisionReference;
use crate::domain::plugin::DigestBuilder;
use crate::domain::quarantine::RuleIdentity;
use crate::domain::ruleset::{DecisionPoint, Mode, PreparedRule, Revision};
use crate::domain::selector::FactQuery;

#[derive(Debug)]
pub struct ActiveRuleset {
    pub revision: RevisionReference,
    pub rules: Vec<ActiveRule>,
    /// What all rules ask for, live and shadow, each question once.
    pub queries: Vec<FactQuery>,
}

#[derive(Debug)]
pub struct ActiveRule {
    pub prepared: PreparedRule,
    pub state: Arc<[u8]>,
    /// What it is known by in quarantine.
    pub identity: Arc<RuleIdentity>,
    /// Where the answers to this rule's queries stand in the facts of the ruleset.
    fact_places: Vec<usize>,
}

impl ActiveRule {
    /// Of the answers to the ruleset's queries, those this rule asked for.
    pub fn facts<T: Clone>(&self, all: &[T]) -> Vec<T> {
        self.fact_places.iter().map(|place| all[*place].clone()).collect()
    }
}

/// The binding is the plugin's digest, of a fixed length, and what it made of its settings.
pub fn identity_of(point: DecisionPoint, rule: &PreparedRule) -> RuleIdentity {
    let binding = DigestBuilder::default().add(&rule.entry.plugin.0).add(&rule.state).finish();
    RuleIdentity { point, rule: rule.entry.name.clone(), binding }
}

impl ActiveRuleset {
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
                ActiveRule { prepared, state, identity, fact_places }
            })
            .collect();
        let revision = RevisionReference { number: revision.number, digest: revision.digest };
        Self { revision, rules, queries }
    }

    /// Whether a rule runs beside the others without effect.
    pub fn has_shadow_rules(&self) -> bool {
        self.rules.iter().any(|rule| rule.prepared.entry.mode == Mode::Shadow)
    }

    pub fn live_rules(&self) -> impl Iterator<Item = &ActiveRule> {
        self.rules.iter().filter(|rule| rule.prepared.entry.mode == Mode::Live)
    }
}

/// Where a question stands, put at the end when it is new.
pub(super) fn place_of(queries: &mut Vec<FactQuery>, query: &FactQuery) -> usize {
    queries.iter().position(|known| known == query).unwrap_or_else(|| {
        queries.push(query.clone());
        queries.len() - 1
    })
}
