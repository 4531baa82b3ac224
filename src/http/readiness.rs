//! Whether this node should get requests, and if not, why not.
//!
//! `app` supplies the checks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use rocket::tokio::sync::Mutex;
use rocket::tokio::time::{Instant, timeout};

/// A database that takes longer cannot serve payments. Long enough for a pool to notice a lost
/// connection, which takes a second, and to open another.
const DATABASE_CHECK_MAX: Duration = Duration::from_secs(3);

/// Younger results of the database checks are reused. So these checks use at most one
/// connection at a time, however often clients ask.
const RESULT_AGE_MAX: Duration = Duration::from_millis(250);

/// A sentence for the operator.
type NotReadyReason = &'static str;

/// A check that needs no database. Returns the reason why the node is not ready, if any.
pub type LocalCheck = Box<dyn Fn() -> Option<NotReadyReason> + Send + Sync>;

/// A check that queries the database. If it takes too long, its result is ignored, but it is
/// not cancelled.
pub struct DatabaseCheck {
    pub query: Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
    /// The reason if the query fails.
    pub reason: NotReadyReason,
}

pub struct Readiness {
    shutting_down: AtomicBool,
    local: Vec<LocalCheck>,
    database: Vec<DatabaseCheck>,
    /// The last result of the database checks, and its time.
    last: Mutex<Option<(Instant, Vec<NotReadyReason>)>>,
}

impl Readiness {
    pub fn new(local: Vec<LocalCheck>, database: Vec<DatabaseCheck>) -> Self {
        Self { shutting_down: AtomicBool::new(false), local, database, last: Mutex::default() }
    }

    /// From now on this node is not ready, so that load balancers choose other nodes.
    pub fn shut_down(&self) {
        self.shutting_down.store(true, Ordering::SeqCst);
    }

    /// All reasons why this node is not ready; empty if it is.
    pub async fn reasons(&self) -> Vec<NotReadyReason> {
        if self.shutting_down.load(Ordering::SeqCst) {
            return vec!["The node is shutting down."];
        }
        let mut reasons: Vec<NotReadyReason> = self.local.iter().filter_map(|check| check()).collect();
        reasons.extend(self.database_reasons().await);
        reasons
    }

    async fn database_reasons(&self) -> Vec<NotReadyReason> {
        let mut last = self.last.lock().await;
        if let Some((checked_at, reasons)) = &*last
            && checked_at.elapsed() < RESULT_AGE_MAX
        {
            return reasons.clone();
        }
        let reasons = join_all(self.database.iter().map(DatabaseCheck::run)).await;
        let reasons: Vec<NotReadyReason> = reasons.into_iter().flatten().collect();
        *last = Some((Instant::now(), reasons.clone()));
        reasons
    }
}

impl std::fmt::Debug for DatabaseCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseCheck").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl DatabaseCheck {
    async fn run(&self) -> Option<NotReadyReason> {
        let query = rocket::tokio::spawn((self.query)());
        (!matches!(timeout(DATABASE_CHECK_MAX, query).await, Ok(Ok(true)))).then_some(self.reason)
    }
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readiness").field("shutting_down", &self.shutting_down).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn many_requests_at_once_cause_one_database_check_and_later_ones_another() {
        let checks = Arc::new(AtomicUsize::new(0));
        let counter = checks.clone();
        let query = move || -> BoxFuture<'static, bool> {
            let checks = counter.clone();
            Box::pin(async move {
                rocket::tokio::time::sleep(Duration::from_millis(20)).await;
                checks.fetch_add(1, Ordering::Relaxed) > 0
            })
        };
        let check = DatabaseCheck { query: Box::new(query), reason: "The query failed." };
        let readiness = Readiness::new(vec![Box::new(|| Some("The local check failed."))], vec![check]);
        let first = join_all((0..50).map(|_| readiness.reasons())).await;
        assert_eq!(first, vec![vec!["The local check failed.", "The query failed."]; 50]);
        assert_eq!(checks.load(Ordering::Relaxed), 1);
        rocket::tokio::time::sleep(RESULT_AGE_MAX).await;
        assert_eq!(readiness.reasons().await, ["The local check failed."], "checked again");
        assert_eq!(checks.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_node_that_shuts_down_runs_no_check() {
        let check = DatabaseCheck { query: Box::new(|| panic!("checked")), reason: "" };
        let readiness = Readiness::new(Vec::new(), vec![check]);
        readiness.shut_down();
        assert_eq!(readiness.reasons().await, ["The node is shutting down."]);
    }
}
