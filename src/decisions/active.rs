//! The rulesets that decide at the moment, in memory.
//!
//! Owns the snapshot of every tenant's active revision and keeps it in step
//! with the activation log. A payment takes one `Arc` and sees one revision to
//! its end. Must never hand out a revision whose plugins this node has not loaded.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::PgPool;
use thiserror::Error;
use tokio::sync::Mutex;

use super::plugins::Plugins;
use crate::domain::decision::RevisionReference;
use crate::domain::ruleset::{Activation, Mode, PreparedRule, Revision};
use crate::domain::selector::FactQuery;
use crate::domain::tenant::TenantId;
use crate::storage::{StorageError, rulesets};

/// A revision in the form a decision wants it.
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
    /// Where the answers to this rule's queries stand in the facts of the ruleset.
    pub fact_places: Vec<usize>,
}

/// A ruleset is active, and this node cannot run it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the active ruleset is not loaded on this node")]
pub struct NotLoaded;

impl ActiveRuleset {
    pub fn new(revision: Revision) -> Self {
        let mut queries: Vec<FactQuery> = Vec::new();
        let rules = revision
            .rules
            .into_iter()
            .map(|mut prepared| {
                let fact_places = prepared
                    .queries
                    .iter()
                    .map(|query| {
                        queries.iter().position(|known| known == query).unwrap_or_else(|| {
                            queries.push(query.clone());
                            queries.len() - 1
                        })
                    })
                    .collect();
                let state = std::mem::take(&mut prepared.state).into();
                ActiveRule { prepared, state, fact_places }
            })
            .collect();
        let revision = RevisionReference { number: revision.number, digest: revision.digest };
        Self { revision, rules, queries }
    }

    pub fn live_rules(&self) -> impl Iterator<Item = &ActiveRule> {
        self.rules.iter().filter(|rule| rule.prepared.entry.mode == Mode::Live)
    }
}

#[derive(Debug)]
pub struct ActiveRulesets {
    system: PgPool,
    plugins: Arc<Plugins>,
    /// Nothing for a tenant whose first activation is held back.
    by_tenant: RwLock<HashMap<TenantId, Option<Arc<ActiveRuleset>>>>,
    /// The last activation taken over. Held while catching up, so that two
    /// catch-ups cannot put an older revision over a newer one.
    caught_up_to: Mutex<i64>,
}

impl ActiveRulesets {
    pub fn new(system: PgPool, plugins: Arc<Plugins>) -> Self {
        Self { system, plugins, by_tenant: RwLock::default(), caught_up_to: Mutex::new(0) }
    }

    /// Nothing only where nothing was ever activated.
    pub fn of(&self, tenant: TenantId) -> Result<Option<Arc<ActiveRuleset>>, NotLoaded> {
        let by_tenant = self.by_tenant.read().unwrap_or_else(PoisonError::into_inner);
        by_tenant.get(&tenant).map(|active| active.clone().ok_or(NotLoaded)).transpose()
    }

    /// Takes over what the activation log has gained. An activation whose
    /// plugins cannot be loaded yet stops the catch-up there: the tenant keeps
    /// its earlier revision, or has its payments refused where there is none,
    /// and the next call tries again.
    pub async fn catch_up(&self) -> Result<(), StorageError> {
        let mut caught_up_to = self.caught_up_to.lock().await;
        let gained = if *caught_up_to == 0 {
            rulesets::latest_activations(&self.system).await?
        } else {
            rulesets::activations_since(&self.system, *caught_up_to).await?
        };
        let mut latest: HashMap<TenantId, &Activation> = HashMap::new();
        for (tenant, activation) in &gained {
            let newest = latest.entry(*tenant).or_insert(activation);
            if activation.sequence > newest.sequence {
                *newest = activation;
            }
        }
        let mut held_back = None;
        for (tenant, activation) in latest {
            if let Err(error) = self.take_over(tenant, activation).await {
                tracing::warn!(%tenant, revision = activation.revision, %error, "activation held back");
                self.by_tenant.write().unwrap_or_else(PoisonError::into_inner).entry(tenant).or_insert(None);
                held_back = held_back.min(Some(activation.sequence)).or(Some(activation.sequence));
            }
        }
        let newest = gained.iter().map(|(_, activation)| activation.sequence).max();
        if let Some(sequence) = held_back.map(|sequence| sequence - 1).or(newest) {
            *caught_up_to = sequence.max(*caught_up_to);
        }
        Ok(())
    }

    async fn take_over(&self, tenant: TenantId, activation: &Activation) -> Result<(), StorageError> {
        let revision = rulesets::revision_any(&self.system, tenant, activation.point, activation.revision)
            .await?
            .ok_or(StorageError::Unreadable { what: "revision" })?;
        for rule in &revision.rules {
            self.plugins.ensure_loaded(rule.entry.plugin).await?;
        }
        let active = Arc::new(ActiveRuleset::new(revision));
        self.by_tenant.write().unwrap_or_else(PoisonError::into_inner).insert(tenant, Some(active));
        Ok(())
    }
}
