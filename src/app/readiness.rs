//! The conditions under which this node is not ready.
//!
//! A failure that concerns a single tenant must never be such a condition: no node would be ready.
//! That tenant's requests get 503, and those of other tenants are served.

use std::sync::Arc;
use std::time::Duration;

use crate::decisions::deployments::Deployments;
use crate::decisions::journal_clock::JournalClock;
use crate::http::readiness::{DatabaseCheck, LocalCheck, Readiness};
use crate::storage::facts::FactReader;
use crate::storage::journal::Journal;
use crate::storage::pool::AppPool;

/// An activation takes effect within a second. A node that has not read the activation log for
/// two more seconds may decide by an old revision.
const BEHIND_MAX: Duration = Duration::from_secs(3);

pub fn readiness(
    app: AppPool,
    facts: FactReader,
    journal: Arc<Journal>,
    clock: Arc<JournalClock>,
    active: Arc<Deployments>,
) -> Readiness {
    let followed = active.clone();
    let local: Vec<LocalCheck> = vec![
        Box::new(move || (!journal.is_writing()).then_some("The journal cannot store decisions.")),
        Box::new(move || (!clock.is_trusted()).then_some("The database time is not known precisely enough.")),
        Box::new(move || {
            let behind = followed.behind() > BEHIND_MAX;
            behind.then_some("This node cannot read new activations: its active rulesets may be out of date.")
        }),
        Box::new(move || {
            let (tenants, not_loaded) = active.not_loaded();
            let most = not_loaded * 2 > tenants;
            most.then_some("For most tenants, the rules of the active ruleset are not loaded on this node.")
        }),
    ];
    let database = DatabaseCheck {
        query: Box::new(move || {
            let app = app.clone();
            Box::pin(async move { app.check().await.is_ok() })
        }),
        reason: "The database cannot be reached.",
    };
    let facts = DatabaseCheck {
        query: Box::new(move || {
            let facts = facts.clone();
            Box::pin(async move { facts.can_read().await.is_ok() })
        }),
        reason: "Facts cannot be read.",
    };
    Readiness::new(local, vec![database, facts])
}
