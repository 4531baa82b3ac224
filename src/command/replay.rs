//! `tollgate replay`: everything that was decided since a time, computed again.
//!
//! Owns the progress and the summary. Works beside a running server and must
//! never change anything.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::StreamExt;

use super::Failure;
use super::administration::on_database;
use crate::app;
use crate::config::Config;
use crate::decisions::replay::{Replay, ReplayError, Replays};
use crate::domain::payment::PaymentId;
use crate::domain::tenant::TenantId;
use crate::domain::time::Clock;
use crate::storage::pool::Databases;
use crate::storage::{StorageError, decisions};
use crate::world::SystemClock;

const PAGE: u32 = 1_000;
const AT_ONCE: usize = 16;
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Differences told one by one; the summary counts all.
const TOLD_MAX: u64 = 50;

/// `90m`, `24h`, `7d`, `30s`.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number and s, m, h or d, such as 24h".to_owned();
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
struct Summary {
    identical: u64,
    different: u64,
    /// Of those, how many have rules that were taken as recorded.
    partly_recorded: u64,
    erased: u64,
    failed: u64,
}

impl Summary {
    fn total(&self) -> u64 {
        self.identical + self.different + self.erased + self.failed
    }

    fn count(&mut self, id: PaymentId, result: &Result<Replay, ReplayError>) {
        match result {
            Ok(replay) => {
                self.partly_recorded += u64::from(!replay.not_rerun.is_empty());
                if replay.is_identical() {
                    self.identical += 1;
                    return;
                }
                self.different += 1;
                if self.different <= TOLD_MAX {
                    let paths: Vec<&str> =
                        replay.differences.iter().map(|difference| difference.path.as_str()).collect();
                    println!("{id} differs at {}", paths.join(", "));
                }
            }
            Err(ReplayError::Storage(StorageError::Erased)) => self.erased += 1,
            Err(error) => {
                self.failed += 1;
                if self.failed <= TOLD_MAX {
                    println!("{id} could not be replayed: {error}");
                }
            }
        }
    }
}

pub async fn replay(config: Config, since: Option<Duration>) -> Result<ExitCode, Failure> {
    let since_ms = since.map_or(0, |age| {
        SystemClock.now_ms().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    });
    let own = config.clone();
    let mut summary = Summary::default();
    on_database(config, async |pools| {
        let replays = app::replays(&own, pools, std::env::current_exe()?).await?;
        summary = replay_all(&replays, pools, since_ms).await?;
        Ok(())
    })
    .await?;
    println!(
        "{} decisions: {} identical, {} different, {} erased, {} not replayable; in {} some rule was taken as recorded",
        summary.total(),
        summary.identical,
        summary.different,
        summary.erased,
        summary.failed,
        summary.partly_recorded
    );
    Ok(if summary.different + summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn replay_all(replays: &Replays, pools: &Databases, since_ms: u64) -> Result<Summary, StorageError> {
    let mut summary = Summary::default();
    let mut after: Option<(TenantId, PaymentId)> = None;
    let (begun, mut told_at) = (Instant::now(), Instant::now());
    loop {
        let page = decisions::all_ids(&pools.system, since_ms, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(summary) };
        after = Some(*last);
        let attempts =
            page.into_iter().map(|(tenant, id)| async move { (id, replays.replay(tenant, id).await) });
        let mut attempts = futures::stream::iter(attempts).buffer_unordered(AT_ONCE);
        while let Some((id, result)) = attempts.next().await {
            summary.count(id, &result);
            if told_at.elapsed() >= PROGRESS_EVERY {
                told_at = Instant::now();
                let rate = summary.total() as f64 / begun.elapsed().as_secs_f64();
                eprintln!(
                    "{} replayed, {} different, {rate:.0} a second",
                    summary.total(),
                    summary.different
                );
            }
        }
    }
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
