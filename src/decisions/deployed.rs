//! What decides for a tenant and what runs beside it.
//!
//! Owns the way of a payment through it, the same for every retry. Must never
//! change: the next activation makes another one.

use std::collections::HashMap;
use std::sync::Arc;

use super::active_ruleset::{ActiveRuleset, place_of};
use super::trial::Likeness;
use crate::domain::ruleset::{Deployment, Share};
use crate::domain::selector::{Fact, FactQuery};

/// As one activation said.
#[derive(Debug)]
pub struct Deployed {
    active: Course,
    canary: Option<(Share, Course)>,
}

/// What a payment goes through: the ruleset that decides, and the one whose
/// answer changes nothing.
#[derive(Debug)]
pub struct Course {
    pub ruleset: Arc<ActiveRuleset>,
    pub shadow: Option<Arc<ActiveRuleset>>,
    /// Of the shadow to the ruleset: what is decided already need not run again.
    pub likeness: Option<Likeness>,
    /// What both ask for, each question once. Those of the ruleset stand first, in its order.
    pub queries: Arc<[FactQuery]>,
    /// Where the answers to the shadow's queries stand among them.
    shadow_places: Vec<usize>,
}

impl Deployed {
    /// Nothing when `rulesets` lacks one of its revisions.
    pub(super) fn new(deployment: Deployment, rulesets: &HashMap<i32, Arc<ActiveRuleset>>) -> Option<Self> {
        let shadow = match deployment.shadow {
            Some(number) => Some(rulesets.get(&number)?.clone()),
            None => None,
        };
        let course = |number| Some(Course::new(rulesets.get(&number)?.clone(), shadow.clone()));
        let canary = match deployment.canary {
            Some(canary) => Some((canary.share, course(canary.revision)?)),
            None => None,
        };
        Some(Self { active: course(deployment.revision)?, canary })
    }

    /// The course of a payment. `drawn` comes from its key, so that a retry goes the same way.
    pub fn course(&self, drawn: u64) -> &Course {
        match &self.canary {
            Some((share, canary)) if share.holds(drawn) => canary,
            _ => &self.active,
        }
    }
}

impl Course {
    fn new(ruleset: Arc<ActiveRuleset>, shadow: Option<Arc<ActiveRuleset>>) -> Self {
        let mut queries = ruleset.queries.clone();
        let asked = shadow.iter().flat_map(|shadow| &shadow.queries);
        let shadow_places = asked.map(|query| place_of(&mut queries, query)).collect();
        let likeness = shadow.as_ref().map(|shadow| Likeness::new(shadow, Some(&ruleset)));
        Self { ruleset, shadow, likeness, queries: queries.into(), shadow_places }
    }

    /// Whether anything runs without effect on the payments of this course.
    pub fn has_shadow(&self) -> bool {
        self.shadow.is_some() || self.ruleset.has_shadow_rules()
    }

    /// Of the answers to `queries`, those of the ruleset that decides.
    pub fn own_facts<'f>(&self, facts: &'f [Fact]) -> &'f [Fact] {
        &facts[..self.ruleset.queries.len()]
    }

    /// Of the answers to `queries`, those of the shadow, as its own queries stand.
    pub fn shadow_facts(&self, facts: &[Fact]) -> Vec<Fact> {
        self.shadow_places.iter().map(|place| facts[*place]).collect()
    }
}
