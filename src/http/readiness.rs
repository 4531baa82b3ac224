//! Whether this node should get requests, and why not.
//!
//! Owns the list of what a decision needs. Must never decide by itself what
//! stands against it: the wiring says what to look at.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use rocket::tokio::sync::Mutex;
use rocket::tokio::time::{Instant, timeout};

/// A database that takes longer to answer cannot carry payments. A pool takes a second to see that
/// a connection is lost, and then makes another.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// An answer of the database younger than this is used again. So checks take one connection
/// at a time at most from payments, however often somebody asks.
const ANSWER_AGE_MAX: Duration = Duration::from_millis(250);

/// A sentence for the operator if this keeps the node from being ready.
type Reason = &'static str;

/// A check that needs no answer from outside. Answers the reason, if there is one.
pub type Condition = Box<dyn Fn() -> Option<Reason> + Send + Sync>;

/// A check that asks the database. One that takes too long is abandoned, never cancelled.
pub struct Question {
    pub ask: Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
    pub without: Reason,
}

pub struct Readiness {
    shutting_down: AtomicBool,
    conditions: Vec<Condition>,
    questions: Vec<Question>,
    /// The reasons that the database's answers gave, and when.
    answered: Mutex<Option<(Instant, Vec<Reason>)>>,
}

impl Readiness {
    pub fn new(conditions: Vec<Condition>, questions: Vec<Question>) -> Self {
        Self { shutting_down: AtomicBool::new(false), conditions, questions, answered: Mutex::default() }
    }

    /// From now on load balancers are told to look elsewhere.
    pub fn shut_down(&self) {
        self.shutting_down.store(true, Ordering::SeqCst);
    }

    /// All reasons why this node is not ready; empty when it is.
    pub async fn reasons(&self) -> Vec<Reason> {
        if self.shutting_down.load(Ordering::SeqCst) {
            return vec!["The node is shutting down."];
        }
        let mut reasons: Vec<Reason> = self.conditions.iter().filter_map(|lacks| lacks()).collect();
        reasons.extend(self.answers().await);
        reasons
    }

    async fn answers(&self) -> Vec<Reason> {
        let mut last = self.answered.lock().await;
        if let Some((asked_at, reasons)) = &*last
            && asked_at.elapsed() < ANSWER_AGE_MAX
        {
            return reasons.clone();
        }
        let reasons = join_all(self.questions.iter().map(Question::lacks)).await;
        let reasons: Vec<Reason> = reasons.into_iter().flatten().collect();
        *last = Some((Instant::now(), reasons.clone()));
        reasons
    }
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").field("without", &self.without).finish_non_exhaustive()
    }
}

impl Question {
    async fn lacks(&self) -> Option<Reason> {
        let asking = rocket::tokio::spawn((self.ask)());
        (!matches!(timeout(ANSWER_MAX, asking).await, Ok(Ok(true)))).then_some(self.without)
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
    async fn however_many_ask_the_database_is_asked_once_in_a_while() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let ask = move || -> BoxFuture<'static, bool> {
            let asked = counted.clone();
            Box::pin(async move {
                rocket::tokio::time::sleep(Duration::from_millis(20)).await;
                asked.fetch_add(1, Ordering::Relaxed) > 0
            })
        };
        let question = Question { ask: Box::new(ask), without: "It does not answer." };
        let readiness = Readiness::new(vec![Box::new(|| Some("It lacks something."))], vec![question]);
        let first = join_all((0..50).map(|_| readiness.reasons())).await;
        assert_eq!(first, vec![vec!["It lacks something.", "It does not answer."]; 50]);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        rocket::tokio::time::sleep(ANSWER_AGE_MAX).await;
        assert_eq!(readiness.reasons().await, ["It lacks something."], "asked anew");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_node_that_shuts_down_asks_nobody() {
        let question = Question { ask: Box::new(|| panic!("asked")), without: "" };
        let readiness = Readiness::new(Vec::new(), vec![question]);
        readiness.shut_down();
        assert_eq!(readiness.reasons().await, ["The node is shutting down."]);
    }
}
