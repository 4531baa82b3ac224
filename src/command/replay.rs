//! `tollgate replay`: replays stored decisions and compares the results.
//!
//! A server may run at the same time. Must never change anything.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use super::Failure;
use super::administration::on_database;
use super::output::print_result;
use super::progress::Progress;
use crate::app;
use crate::config::Config;
use crate::decisions::journal_clock::JournalClock;
use crate::decisions::replay::history::{HistoryReplays, ReplaySelection};
use crate::decisions::replay::{Replay, ReplayError};
use crate::domain::payment::PaymentId;
use crate::domain::tenant::TenantId;
use crate::domain::time::Clock;
use crate::storage::databases::Databases;
use crate::storage::{StorageError, decisions, tenants};
use crate::world::machine;

/// The most differences that are printed. The summary counts all.
const PRINTED_LINES_MAX: u64 = 50;

/// Parses `90m`, `24h`, `7d` or `30s`.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number followed by s, m, h or d, for example 24h".to_owned();
    let unit_s = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(expected()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    number.checked_mul(unit_s).map(Duration::from_secs).ok_or_else(expected)
}

#[derive(Debug, Default)]
struct ReplaySummary {
    identical: u64,
    different: u64,
    /// How many of the replayed decisions contain rules whose recorded results were used.
    partly_recorded: u64,
    imported: u64,
    erased: u64,
    failed: u64,
}

impl ReplaySummary {
    fn total(&self) -> u64 {
        self.identical + self.different + self.imported + self.erased + self.failed
    }

    /// Returns what to print about this decision.
    fn count(&mut self, id: PaymentId, result: &Result<Replay, ReplayError>) -> Option<String> {
        match result {
            Ok(replay) => {
                self.partly_recorded += u64::from(!replay.not_rerun.is_empty());
                if replay.is_identical() {
                    self.identical += 1;
                    return None;
                }
                self.different += 1;
                let paths: Vec<&str> =
                    replay.differences.iter().map(|difference| difference.path.as_str()).collect();
                (self.different <= PRINTED_LINES_MAX).then(|| format!("{id} differs at {}", paths.join(", ")))
            }
            Err(ReplayError::Imported) => {
                self.imported += 1;
                None
            }
            Err(ReplayError::Storage(StorageError::Erased)) => {
                self.erased += 1;
                None
            }
            Err(error) => {
                self.failed += 1;
                (self.failed <= PRINTED_LINES_MAX).then(|| format!("{id} could not be replayed: {error}"))
            }
        }
    }
}

impl std::fmt::Display for ReplaySummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (total, identical, different) = (self.total(), self.identical, self.different);
        write!(f, "{total} decisions: {identical} identical, {different} different, ")?;
        write!(f, "{} imported (nothing to replay), ", self.imported)?;
        write!(f, "{} erased, {} not replayable; ", self.erased, self.failed)?;
        write!(
            f,
            "in {} at least one rule could not be compared and its recorded result was used",
            self.partly_recorded
        )
    }
}

pub async fn replay(
    config: Config,
    since: Option<Duration>,
    tenant: Option<String>,
) -> Result<ExitCode, Failure> {
    let own = config.clone();
    let mut summary = ReplaySummary::default();
    on_database(config, async |pools| {
        let tenant = match &tenant {
            Some(name) => Some(tenant_named(pools, name).await?),
            None => None,
        };
        let now_ms = JournalClock::start(pools.system.clone(), machine()).await?.now_ms();
        let since_ms =
            since.map_or(0, |age| now_ms.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
        let replays = app::replays(&own, pools, std::env::current_exe()?).await?;
        let replays = Arc::new(HistoryReplays::new(Arc::new(replays)));
        let (replayed, rate) = replay_all(replays, pools, ReplaySelection { tenant, since_ms }).await?;
        print_result!("{replayed}; {rate:.0} per second");
        summary = replayed;
        Ok(())
    })
    .await?;
    Ok(if summary.different + summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn tenant_named(pools: &Databases, name: &str) -> Result<TenantId, Failure> {
    let found = tenants::tenant_by_name(&pools.system, name).await?;
    found.ok_or_else(|| format!("--tenant: there is no tenant {name}").into())
}

async fn replay_all(
    replays: Arc<HistoryReplays>,
    pools: &Databases,
    selection: ReplaySelection,
) -> Result<(ReplaySummary, f64), StorageError> {
    let mut summary = ReplaySummary::default();
    let total = decisions::count(&pools.system, selection.tenant, selection.since_ms).await?;
    let mut progress = Progress::new(total, "replayed");
    let mut replayed = std::pin::pin!(replays.replay_all(pools.system.clone(), selection));
    while let Some(results) = replayed.next().await {
        for (id, result) in results? {
            if let Some(line) = summary.count(id, &result) {
                progress.tell(&line);
            }
            progress.add(1);
        }
    }
    progress.end();
    Ok((summary, progress.rate()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        for (text, seconds) in [("30s", 30), ("90m", 5_400), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(parse_age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "24", "24x", "-1h", "1.5h", "1é", "99999999999999999999d"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
    }
}
