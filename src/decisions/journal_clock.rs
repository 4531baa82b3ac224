//! The clock that all nodes on one database share. Payments, their ids and everything that is
//! compared with them use it.
//!
//! It must never return the machine's own time, which may be wrong and different on each node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::corrected_time::{CorrectedTime, Correction};
use crate::domain::time::{Clock, Machine};
use crate::storage::pool::SystemPool;
use crate::storage::{StorageError, clock};

/// Samples at the start of a node. The quicker the response, the more exact the sample.
const FIRST_SAMPLES: u32 = 8;
/// The most samples at the start, if none was quick enough.
const FIRST_SAMPLES_MAX: u32 = 30;

#[derive(Debug)]
pub struct JournalClock {
    system: SystemPool,
    machine: Machine,
    time: Mutex<CorrectedTime>,
    /// Whether the time stands still. This is logged once each time the database's clock goes back.
    waits: AtomicBool,
}

impl JournalClock {
    /// Fails if the database cannot be reached: without a sample there is no time.
    pub async fn start(system: SystemPool, machine: Machine) -> Result<Self, StorageError> {
        let first = clock::read(&system, machine.monotonic.clone()).await?;
        let this = Self {
            system,
            machine,
            time: Mutex::new(CorrectedTime::new(&first)),
            waits: AtomicBool::default(),
        };
        for taken in 0..FIRST_SAMPLES_MAX {
            if taken >= FIRST_SAMPLES && this.is_trusted() {
                break;
            }
            this.follow().await?;
        }
        Ok(this)
    }

    /// Asks the database for its time and corrects this clock.
    pub async fn follow(&self) -> Result<(), StorageError> {
        let read = clock::read(&self.system, self.machine.monotonic.clone()).await;
        if let Ok(sample) = &read {
            let mut time = self.time();
            let correction = time.note(sample, self.machine.monotonic.now_us());
            drop(time);
            let waits = matches!(correction, Correction::Waits { .. });
            let waited = self.waits.swap(waits, Ordering::Relaxed);
            match correction {
                Correction::Slow => {}
                Correction::Stepped { by_us } => {
                    tracing::warn!(
                        by_ms = by_us / 1_000,
                        "the database clock jumped ahead; Tollgate's time follows it"
                    );
                }
                Correction::Waits { .. } if waited => {}
                Correction::Waits { for_us } => tracing::error!(
                    for_ms = for_us / 1_000,
                    "the database clock went back; until it catches up, Tollgate's time stands still and \
                     this node is not ready"
                ),
            }
        }
        // Also if there was no response, since the possible error grows.
        self.report();
        read.map(drop)
    }

    /// Whether this clock is known to be close to the database's, by a recent sample.
    pub fn is_trusted(&self) -> bool {
        self.time().is_trusted(self.machine.monotonic.now_us())
    }

    fn report(&self) {
        let error_us = self.time().error_us(self.machine.monotonic.now_us());
        metrics::gauge!("tollgate_clock_error_seconds").set(error_us as f64 / 1e6);
        let ahead_ms = self.now_ms().cast_signed() - self.machine.system.now_ms().cast_signed();
        metrics::gauge!("tollgate_clock_offset_seconds").set(ahead_ms as f64 / 1e3);
    }

    fn time(&self) -> MutexGuard<'_, CorrectedTime> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for JournalClock {
    fn now_ms(&self) -> u64 {
        let time = self.time();
        // Under the lock, so that a later reading never uses an earlier correction.
        time.at_us(self.machine.monotonic.now_us()) / 1_000
    }
}
