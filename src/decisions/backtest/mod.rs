//! Backtests: a candidate revision over a tenant's stored decisions.
//!
//! Owns the turns of a node: one backtest at a time, for as long as its lease
//! holds. Must never slow a live payment: it computes on threads that stand
//! back, holds at most two connections, a third for a moment to keep its lease,
//! and never one between two statements.

mod compare;
mod connections;
mod run;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::decisions::plugins::Plugins;
use crate::domain::time::World;
use crate::rules::{BACKGROUND_NICENESS, EngineError, RuleEngine, Threads};
use crate::storage::StorageError;
use crate::storage::backtests::{self, Claimed};
use crate::storage::pool::SystemPool;
use connections::Connections;

/// How often a node without work looks for some.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// After trouble that may pass.
const PAUSE: Duration = Duration::from_secs(3);

/// Why a turn ended before its time.
#[derive(Debug, Error)]
enum Trouble {
    /// Cancelled, or another node goes on.
    #[error("the claim on the backtest was lost")]
    Gone,
    /// It would come again on every node: the backtest fails, and this says why to the tenant.
    #[error("{0}")]
    Lasting(String),
    #[error("{0}")]
    Passing(String),
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Unavailable(_) | StorageError::Abandoned => Self::Passing(error.to_string()),
            StorageError::Unreadable { .. } | StorageError::Erased => Self::Lasting(error.to_string()),
            StorageError::Database(_) if error.is_passing() => {
                Self::Passing("the database took too long".to_owned())
            }
            StorageError::Database(_) => {
                // What the database said is for the operator alone.
                tracing::error!(?error, "the database rejected a statement of a backtest");
                Self::Lasting("the database rejected a statement".to_owned())
            }
        }
    }
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Self {
        Self::Passing(error.to_string())
    }
}

#[derive(Debug)]
pub struct Backtests {
    connections: Connections,
    engine: Arc<dyn RuleEngine>,
    plugins: Arc<Plugins>,
    world: World,
    threads: Threads,
    /// Parts of a history that are compared at once: while one waits for the
    /// database or the engine, another computes.
    at_once: usize,
}

impl Backtests {
    /// Must be called where the server runs: the database is reached from there.
    pub fn new(
        system: SystemPool,
        engine: Arc<dyn RuleEngine>,
        plugins: Arc<Plugins>,
        world: World,
    ) -> std::io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = Threads::start("backtests", count, BACKGROUND_NICENESS)?;
        let connections = Connections::new(system);
        Ok(Self { connections, engine, plugins, world, threads, at_once: count * 2 })
    }

    /// Works on whatever waits, turn after turn, until it is told to end.
    pub async fn work(self: Arc<Self>, end: CancellationToken) {
        let mut told = false;
        let mut pause = LOOK_EVERY;
        while end.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            pause = match self.turn(&end).await {
                Ok(true) => Duration::ZERO,
                Ok(false) => LOOK_EVERY,
                Err(error) => {
                    if !told {
                        tracing::warn!(%error, "backtests are on hold");
                    }
                    told = true;
                    PAUSE
                }
            };
            told &= pause == PAUSE;
        }
    }

    /// One turn on one backtest; false when there is nothing to do.
    async fn turn(&self, end: &CancellationToken) -> Result<bool, Trouble> {
        let (by, now_ms) = (self.world.uuid_v7(self.world.now_ms()), self.world.now_ms());
        let claimed =
            self.connections.run(move |system| async move { backtests::claim(&system, by, now_ms).await });
        let Some(Claimed { claim, backtest, reached }) = claimed.await? else { return Ok(false) };
        let trouble = match self.run(claim, backtest, reached, end).await {
            Ok(()) | Err(Trouble::Gone) => return Ok(true),
            Err(trouble) => trouble,
        };
        let now_ms = self.world.now_ms();
        match trouble {
            Trouble::Lasting(why) => {
                tracing::warn!(tenant = %claim.tenant, backtest = %claim.backtest, why, "a backtest failed");
                let failing = move |system: SystemPool| async move {
                    backtests::fail(&system, claim, why, now_ms).await
                };
                self.connections.run(failing).await?;
                Ok(true)
            }
            trouble => {
                // The lease would end by itself; the trouble may be this node's alone.
                let letting_go =
                    move |system: SystemPool| async move { backtests::let_go(&system, claim).await };
                let _ = self.connections.run_at_once(letting_go).await;
                Err(trouble)
            }
        }
    }
}
