//! Payments that wait for their shadow runs.
//!
//! Owns the order, in turns of the tenants, and the bounds. Must never wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::super::active::{Course, Deployed};
use crate::domain::selector::Fact;
use crate::domain::tenant::TenantId;
use crate::storage::decisions::StoredDecision;

/// A decision that is stored, and what was deployed when it was made.
#[derive(Debug)]
pub struct Due {
    pub decision: Arc<StoredDecision>,
    pub deployed: Arc<Deployed>,
    /// From the payment's key: chooses the course.
    pub drawn: u64,
    /// The answers to the queries of the course.
    pub facts: Vec<Fact>,
}

impl Due {
    pub fn course(&self) -> &Course {
        self.deployed.course(self.drawn)
    }

    fn tenant(&self) -> TenantId {
        self.decision.decision.tenant
    }
}

#[derive(Debug)]
pub struct Queue {
    room: usize,
    of_one_tenant_max: usize,
    waiting: usize,
    by_tenant: HashMap<TenantId, VecDeque<Due>>,
    /// Each tenant with something that waits, once.
    turns: VecDeque<TenantId>,
}

impl Queue {
    pub fn new(room: usize) -> Self {
        let (by_tenant, turns) = (HashMap::new(), VecDeque::new());
        Self { room, of_one_tenant_max: (room / 4).max(1), waiting: 0, by_tenant, turns }
    }

    /// False when there is no room, or none for this tenant.
    pub fn put(&mut self, due: Due) -> bool {
        let tenant = due.tenant();
        let own = self.by_tenant.get(&tenant).map_or(0, VecDeque::len);
        if self.waiting >= self.room || own >= self.of_one_tenant_max {
            return false;
        }
        if own == 0 {
            self.turns.push_back(tenant);
        }
        self.by_tenant.entry(tenant).or_default().push_back(due);
        self.waiting += 1;
        true
    }

    /// The oldest of the tenant whose turn it is.
    pub fn take(&mut self, most: usize) -> Vec<Due> {
        let Some(tenant) = self.turns.pop_front() else { return Vec::new() };
        let Some(own) = self.by_tenant.get_mut(&tenant) else { return Vec::new() };
        let taken: Vec<Due> = own.drain(..own.len().min(most)).collect();
        self.waiting -= taken.len();
        if own.is_empty() {
            self.by_tenant.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        taken
    }
}
