//! Sends the traffic at a fixed rate, with a bound on requests in flight, and reports events
//! afterwards.
//!
//! Must never wait for a response before it sends the next payment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::aftermath::{DemoEvent, aftermath};
use super::connection::{ApiClient, EventResponse};
use super::random::Random;
use super::tally::Tally;
use super::traffic::{Order, Traffic};
use crate::command::Failure;
use crate::command::output::{self, print_result};
use crate::domain::time::Clock;
use crate::world::SystemClock;

const IN_FLIGHT_MAX: usize = 256;
/// Events are reported within this time, even if they would take days in reality.
const REPORT_DELAY_MAX_MS: u64 = 4_000;

#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub per_second: f64,
    pub count: Option<u64>,
    pub seconds: Option<u64>,
}

#[derive(Debug)]
struct DriveState {
    connection: ApiClient,
    tally: Mutex<Tally>,
    /// Cancelled at the end. Events that are still waiting are then reported at once.
    hurry: CancellationToken,
    no_place_for_events: AtomicBool,
    seed: u64,
    /// Part of each key, so that the keys differ between runs.
    run: u64,
}

impl Pace {
    fn is_endless(self) -> bool {
        self.count.is_none() && self.seconds.is_none()
    }
}

/// Sends payments until the end or Ctrl-C, and then waits for the requests in flight. A second
/// Ctrl-C ends the wait. Returns the number of payments without a decision.
pub async fn drive(connection: ApiClient, seed: u64, pace: Pace) -> Result<u64, Failure> {
    connection.token().await?;
    let shared = Arc::new(DriveState {
        connection,
        tally: Mutex::default(),
        hurry: CancellationToken::new(),
        no_place_for_events: AtomicBool::new(false),
        seed,
        run: SystemClock.now_ms(),
    });
    let (tasks, begun) = (TaskTracker::new(), Instant::now());
    send_all(&shared, &tasks, pace).await;
    let sent_for = begun.elapsed();
    tasks.close();
    shared.hurry.cancel();
    tokio::select! {
        () = tasks.wait() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    let mut tally = shared.tally();
    print_result!("{}", tally.summary(sent_for));
    Ok(tally.undecided())
}

async fn send_all(shared: &Arc<DriveState>, tasks: &TaskTracker, pace: Pace) {
    let free = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut traffic = Traffic::new(shared.seed);
    let mut ticks = interval(Duration::from_secs_f64(1.0 / pace.per_second));
    // Catches up after a delay, so that the average rate is right.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut every_second = interval(Duration::from_secs(1));
    every_second.tick().await;
    let (mut number, mut seconds) = (0, 0);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    while pace.count.is_none_or(|count| number < count) && pace.seconds.is_none_or(|most| seconds < most) {
        tokio::select! {
            biased;
            _ = &mut interrupted => return,
            _ = every_second.tick() => {
                seconds += 1;
                print_result!("{}", shared.tally().end_second(seconds));
                // If the reader has closed the pipe, nobody sees the rest. An endless run ends
                // here.
                if pace.is_endless() && output::reader_has_gone() {
                    return;
                }
            }
            _ = ticks.tick() => match Arc::clone(&free).try_acquire_owned() {
                Ok(permit) => {
                    number += 1;
                    tasks.spawn(pay(Arc::clone(shared), traffic.next(), number, permit));
                }
                Err(_) => shared.tally().held_back(),
            },
        }
    }
}

async fn pay(shared: Arc<DriveState>, order: Order, number: u64, permit: OwnedSemaphorePermit) {
    let key = format!("demo-{:x}-{number}", shared.run);
    shared.tally().sent(order.payer);
    let submitted = shared.connection.submit(&key, &order.body(SystemClock.now_ms())).await;
    drop(permit);
    match submitted {
        Ok(decided) => {
            shared.tally().decided(order.payer, &decided.outcome, decided.took, decided.retries);
            let mut random = Random::of(shared.seed, number);
            let happenings = aftermath(order.payer, &decided.outcome, &mut random);
            tell_all(&shared, &decided.id, happenings, &mut random).await;
        }
        Err(error) => shared.tally().failed(order.payer, &error.to_string()),
    }
}

async fn tell_all(shared: &DriveState, payment: &str, happenings: Vec<DemoEvent>, random: &mut Random) {
    for DemoEvent { kind, note, .. } in happenings {
        if shared.no_place_for_events.load(Ordering::Relaxed) {
            return;
        }
        tokio::select! {
            () = sleep(Duration::from_millis(random.between(200, REPORT_DELAY_MAX_MS))) => {}
            () = shared.hurry.cancelled() => {}
        }
        match shared.connection.tell(payment, kind, SystemClock.now_ms(), note).await {
            Ok(EventResponse::NoRoute) => {
                if !shared.no_place_for_events.swap(true, Ordering::Relaxed) {
                    print_result!("this server does not accept payment events; no more are sent");
                }
            }
            told => shared.tally().told(kind, told.ok()),
        }
    }
}

impl DriveState {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        // The counts are complete after each step, so a poisoned lock does no harm.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
