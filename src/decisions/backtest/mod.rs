//! Backtests: a candidate revision on a tenant's stored decisions.
//!
//! A node works on one backtest at a time, under a lease. Live payments come first: backtests
//! compute on threads of low priority and use at most two connections at a time, with a third one
//! briefly to renew the lease. They hold no connection between two statements.

mod compare;
mod connections;
mod run;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::decisions::backfill::AggregateBackfill;
use crate::decisions::plugins::Plugins;
use crate::domain::time::World;
use crate::rules::{BACKGROUND_NICENESS, EngineError, RuleEngine, Threads};
use crate::storage::StorageError;
use crate::storage::backtests::{self, ClaimedBacktest};
use crate::storage::pool::SystemPool;
use crate::storage::reference::ReferenceMemory;
use connections::Connections;

/// How often a node without a backtest looks for one.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// How long a node waits after an error that may pass.
const PAUSE: Duration = Duration::from_secs(3);

/// Why a turn ended early.
#[derive(Debug, Error)]
enum BacktestError {
    /// The backtest was cancelled, or another node has claimed it.
    #[error("the claim on the backtest was lost")]
    ClaimLost,
    /// It would happen again on every node. The backtest fails, and the tenant sees this text.
    #[error("{0}")]
    Permanent(String),
    #[error("{0}")]
    Transient(String),
}

impl From<StorageError> for BacktestError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Unavailable(_) | StorageError::Abandoned => Self::Transient(error.to_string()),
            StorageError::Unreadable { .. } | StorageError::Erased | StorageError::ProposalDecided => {
                Self::Permanent(error.to_string())
            }
            StorageError::Database(_) if error.is_passing() => {
                Self::Transient("the database took too long".to_owned())
            }
            StorageError::Database(_) => {
                // The database's text is only for the operator.
                tracing::error!(?error, "the database rejected a statement of a backtest");
                Self::Permanent("the database rejected a statement".to_owned())
            }
        }
    }
}

impl From<EngineError> for BacktestError {
    fn from(error: EngineError) -> Self {
        Self::Transient(error.to_string())
    }
}

#[derive(Debug)]
pub struct Backtests {
    connections: Connections,
    engine: Arc<dyn RuleEngine>,
    plugins: Arc<Plugins>,
    reference: Arc<ReferenceMemory>,
    backfill: Arc<AggregateBackfill>,
    world: World,
    threads: Threads,
    /// Parts of a history that are compared at once. While one waits for the database or the
    /// engine, another computes.
    at_once: usize,
}

impl Backtests {
    /// Must be called on the server's runtime, which the statements will use.
    pub fn new(
        system: SystemPool,
        engine: Arc<dyn RuleEngine>,
        plugins: Arc<Plugins>,
        reference: Arc<ReferenceMemory>,
        backfill: Arc<AggregateBackfill>,
        world: World,
    ) -> std::io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = Threads::start("backtests", count, BACKGROUND_NICENESS)?;
        let connections = Connections::new(system);
        Ok(Self { connections, engine, plugins, reference, backfill, world, threads, at_once: count * 2 })
    }

    /// Works on the backtests that wait, turn after turn, until `end`.
    pub async fn work(self: Arc<Self>, end: CancellationToken) {
        let mut logged = false;
        let mut pause = POLL_EVERY;
        while end.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            pause = match self.turn(&end).await {
                Ok(true) => Duration::ZERO,
                Ok(false) => POLL_EVERY,
                Err(error) => {
                    if !logged {
                        tracing::warn!(%error, "backtests are on hold");
                    }
                    logged = true;
                    PAUSE
                }
            };
            logged &= pause == PAUSE;
        }
    }

    /// One turn on one backtest. False if there was nothing to do.
    async fn turn(&self, end: &CancellationToken) -> Result<bool, BacktestError> {
        let (by, now_ms) = (self.world.uuid_v7(self.world.now_ms()), self.world.now_ms());
        let claimed =
            self.connections.run(move |system| async move { backtests::claim(&system, by, now_ms).await });
        let Some(ClaimedBacktest { claim, backtest, reached }) = claimed.await? else { return Ok(false) };
        let trouble = match self.run(claim, backtest, reached, end).await {
            Ok(()) | Err(BacktestError::ClaimLost) => return Ok(true),
            Err(trouble) => trouble,
        };
        let now_ms = self.world.now_ms();
        match trouble {
            BacktestError::Permanent(why) => {
                tracing::warn!(tenant = %claim.tenant, backtest = %claim.backtest, why, "a backtest failed");
                let failing = move |system: SystemPool| async move {
                    backtests::fail(&system, claim, why, now_ms).await
                };
                self.connections.run(failing).await?;
                Ok(true)
            }
            trouble => {
                // Any node may then continue at once instead of when the lease expires.
                let releasing =
                    move |system: SystemPool| async move { backtests::release(&system, claim).await };
                let _ = self.connections.run_at_once(releasing).await;
                Err(trouble)
            }
        }
    }
}
