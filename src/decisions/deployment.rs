//! A tenant's deployment with its rulesets loaded: what decides, and what runs in shadow.
//!
//! It never changes: the next activation makes another one.

use std::collections::HashMap;
use std::sync::Arc;

use super::runnable_ruleset::{RunnableRuleset, place_of};
use super::trial::RulesetOverlap;
use crate::domain::ruleset::{Deployment, Share};
use crate::domain::selector::{Fact, FactQuery};

#[derive(Debug)]
pub struct LoadedDeployment {
    active: DecisionPath,
    canary: Option<(Share, DecisionPath)>,
}

/// The ruleset that decides a payment, and the shadow ruleset that runs on it without effect.
#[derive(Debug)]
pub struct DecisionPath {
    pub ruleset: Arc<RunnableRuleset>,
    pub shadow: Option<Arc<RunnableRuleset>>,
    /// What the shadow ruleset has in common with the ruleset. That part need not run again.
    pub overlap: Option<RulesetOverlap>,
    /// The queries of both rulesets, each once. Those of `ruleset` come first, in its order.
    pub queries: Arc<[FactQuery]>,
    /// The position in `queries` of each query of the shadow ruleset.
    shadow_places: Vec<usize>,
}

impl LoadedDeployment {
    /// `None` if `rulesets` lacks one of its revisions.
    pub(super) fn new(deployment: Deployment, rulesets: &HashMap<i32, Arc<RunnableRuleset>>) -> Option<Self> {
        let shadow = match deployment.shadow {
            Some(number) => Some(rulesets.get(&number)?.clone()),
            None => None,
        };
        let path = |number| Some(DecisionPath::new(rulesets.get(&number)?.clone(), shadow.clone()));
        let canary = match deployment.canary {
            Some(canary) => Some((canary.share, path(canary.revision)?)),
            None => None,
        };
        Some(Self { active: path(deployment.revision)?, canary })
    }

    /// `draw` is computed from the payment's key, so that a retry takes the same path.
    pub fn path(&self, draw: u64) -> &DecisionPath {
        match &self.canary {
            Some((share, canary)) if share.holds(draw) => canary,
            _ => &self.active,
        }
    }
}

impl DecisionPath {
    fn new(ruleset: Arc<RunnableRuleset>, shadow: Option<Arc<RunnableRuleset>>) -> Self {
        let mut queries = ruleset.queries.clone();
        let asked = shadow.iter().flat_map(|shadow| &shadow.queries);
        let shadow_places = asked.map(|query| place_of(&mut queries, query)).collect();
        let overlap = shadow.as_ref().map(|shadow| RulesetOverlap::new(shadow, Some(&ruleset)));
        Self { ruleset, shadow, overlap, queries: queries.into(), shadow_places }
    }

    /// Whether any rule runs in shadow on the payments of this path.
    pub fn has_shadow(&self) -> bool {
        self.shadow.is_some() || self.ruleset.has_shadow_rules()
    }

    /// The facts of the ruleset that decides. `facts` are those of `queries`.
    pub fn own_facts<'f>(&self, facts: &'f [Fact]) -> &'f [Fact] {
        &facts[..self.ruleset.queries.len()]
    }

    /// The facts of the shadow ruleset, in the order of its own queries.
    pub fn shadow_facts(&self, facts: &[Fact]) -> Vec<Fact> {
        self.shadow_places.iter().map(|place| facts[*place].clone()).collect()
    }
}
