//! A decision whose shadow runs are due.
//!
//! Owns what they need of the moment it was made. Must never look anything up again.

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

    pub fn tenant(&self) -> TenantId {
        self.decision.decision.tenant
    }
}
