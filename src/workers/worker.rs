//! One worker, as those who ask it see it.
//!
//! It is *well* once it has shown that it runs the same engine and reads the same messages. Then it is
//! asked for what it has the plugins of; it is given the others meanwhile, which is done here and
//! nowhere else. A call that fails on its way makes it unwell until it was looked at. After several
//! failures in a row its circuit breaker opens, and it is looked at only after a pause, which grows if
//! looking fails as well.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failsafe::StateMachine;
use failsafe::failure_policy::{self, ConsecutiveFailures};
use futures::StreamExt;
use prost::bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::batches::{AFTER_DEADLINE, Batches};
use super::known_plugins::KnownPlugins;
use super::messages::answers::RulesetResult;
use super::messages::rule_engine_client::RuleEngineClient;
use super::messages::{
    AddPluginRequest, DescribeRequest, FORMAT, GetPluginRequest, START_KEY, UnreadableMessage, digest_bytes,
    profile_number,
};
use crate::domain::plugin::{Digest, Plugin, Profile};
use crate::rules::{AddPluginError, RulesetCall, engine_id};

/// How often a worker that is well is looked at, and one that is not.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_AT_UNWELL_EVERY: Duration = Duration::from_millis(100);
/// A worker that does not say who it is or what it has within this time is not well.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// Longer than the largest plugin may be compiled.
const ADD_WITHIN: Duration = Duration::from_secs(900);
/// How many plugins a worker is given at once.
const GIVEN_AT_ONCE: usize = 2;
/// The pause before a plugin that a worker did not take is given to it again.
const GIVE_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Failures in a row after which the circuit breaker opens, and for how long: twice as long each time.
const FAILURES_MAX: u32 = 3;
const OPEN_FIRST: Duration = Duration::from_millis(500);
const OPEN_MAX: Duration = Duration::from_secs(10);
/// More than the reasons and notes of a whole batch.
const ANSWER_MAX_BYTES: usize = 160 << 20;

pub(super) type Client = RuleEngineClient<Channel>;

type Pauses = std::iter::Successors<Duration, fn(&Duration) -> Option<Duration>>;

/// What an asked worker led to.
#[derive(Debug)]
pub(super) enum AskError {
    /// It gave no answer. Another worker may.
    NoAnswer(Status),
    /// No worker would answer this: it is too large, or cannot be read.
    Impossible(Status),
}

impl From<Status> for AskError {
    fn from(status: Status) -> Self {
        // What the connection says about itself has a cause; what the worker says has none.
        let is_answer = std::error::Error::source(&status).is_none();
        match status.code() {
            Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted if is_answer => {
                Self::Impossible(status)
            }
            _ => Self::NoAnswer(status),
        }
    }
}

pub(super) struct Worker {
    name: String,
    client: Client,
    batches: Batches,
    breaker: StateMachine<ConsecutiveFailures<Pauses>, ()>,
    is_well: AtomicBool,
    /// Whether the log was told that it is ready, since it became well.
    is_told: AtomicBool,
    in_progress: AtomicUsize,
    /// Ends the pause between two looks.
    look_again: Notify,
    /// Ends the pause before the next plugins are given.
    give_again: Notify,
    has: Mutex<WorkerPlugins>,
}

/// What a worker has, since its last start.
#[derive(Default)]
struct WorkerPlugins {
    start: Bytes,
    plugins: HashMap<Digest, Plugin>,
    /// Those that it did not take, and when.
    not_taken: HashMap<Digest, Instant>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.name)
            .field("is_well", &self.is_well)
            .finish_non_exhaustive()
    }
}

impl Worker {
    pub(super) fn new(name: String, channel: Channel) -> Self {
        let client = RuleEngineClient::new(channel)
            .max_decoding_message_size(ANSWER_MAX_BYTES)
            .max_encoding_message_size(usize::MAX);
        let longer: fn(&Duration) -> Option<Duration> = |pause| Some((*pause * 2).min(OPEN_MAX));
        let pauses = std::iter::successors(Some(OPEN_FIRST), longer);
        Self {
            name,
            batches: Batches::start(client.clone()),
            client,
            breaker: StateMachine::new(failure_policy::consecutive_failures(FAILURES_MAX, pauses), ()),
            is_well: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            in_progress: AtomicUsize::new(0),
            look_again: Notify::new(),
            give_again: Notify::new(),
            has: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_well(&self) -> bool {
        self.is_well.load(Ordering::Acquire)
    }

    /// Whether the worker may be well again in a moment: it is unwell, but its circuit breaker is closed.
    pub(super) fn may_return(&self) -> bool {
        !self.is_well() && self.breaker.is_call_permitted()
    }

    pub(super) fn in_progress(&self) -> usize {
        self.in_progress.load(Ordering::Relaxed)
    }

    pub(super) fn has_plugins(&self, plugins: &[Digest]) -> bool {
        let has = self.has();
        plugins.iter().all(|digest| has.plugins.contains_key(digest))
    }

    /// The worker has lost plugins, and is given them before it is asked for them again.
    pub(super) fn lacks(&self, plugins: &[Digest]) {
        let mut has = self.has();
        plugins.iter().for_each(|digest| _ = has.plugins.remove(digest));
        self.give_again.notify_one();
    }

    pub(super) async fn evaluate(&self, call: &RulesetCall) -> Result<RulesetResult, AskError> {
        let _counted = CountedCall::begin(&self.in_progress);
        let start = self.has().start.clone();
        let answer = timeout_at(call.deadline + AFTER_DEADLINE, self.batches.evaluate(call, start)).await;
        self.note(answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer until the deadline"))))
    }

    /// Makes another call, which must end by then. The answer is read with `read`.
    pub(super) async fn ask<Q, A, T, F>(
        &self,
        until: Instant,
        message: Q,
        call: impl FnOnce(Client, Request<Q>) -> F,
        read: impl FnOnce(A) -> Result<T, UnreadableMessage>,
    ) -> Result<T, AskError>
    where
        F: Future<Output = Result<tonic::Response<A>, Status>>,
    {
        let _counted = CountedCall::begin(&self.in_progress);
        let request = of_start(Request::new(message), &self.has().start);
        let Ok(answer) = timeout_at(until, call(self.client.clone(), request)).await else {
            // No payment waited for this. Whether the worker is well is seen by looking at it.
            return Err(AskError::NoAnswer(Status::deadline_exceeded("no answer in time")));
        };
        self.note(answer.and_then(|answer| read(answer.into_inner()).map_err(unreadable)))
    }

    fn note<T>(&self, answer: Result<T, Status>) -> Result<T, AskError> {
        let status = match answer {
            Ok(answer) => {
                self.breaker.on_success();
                return Ok(answer);
            }
            Err(status) => status,
        };
        let error = AskError::from(status);
        match &error {
            AskError::Impossible(status) => {
                tracing::error!(
                    worker = self.name,
                    error = status.message(),
                    "a call of rules is impossible"
                );
            }
            AskError::NoAnswer(status) => {
                metrics::counter!("tollgate_rule_worker_failures_total").increment(1);
                // The calls that a lost connection takes with it are one failure.
                if self.is_well.swap(false, Ordering::AcqRel) {
                    // With this code it has only been started again.
                    if status.code() != Code::FailedPrecondition {
                        self.breaker.on_error();
                    }
                    tracing::warn!(worker = self.name, why = why(status), "a rule worker failed");
                }
                self.look_again.notify_one();
            }
        }
        Err(error)
    }

    /// Looks at the worker and gives it plugins, again and again. Giving may take minutes, and the
    /// worker is looked at meanwhile.
    pub(super) async fn follow(&self, known: &KnownPlugins) {
        tokio::join!(self.look_again_and_again(), self.give_again_and_again(known));
    }

    async fn look_again_and_again(&self) {
        let mut told = None;
        loop {
            if self.breaker.is_call_permitted() {
                match self.look().await {
                    Ok(()) => told = None,
                    Err(why) => {
                        self.breaker.on_error();
                        self.is_well.store(false, Ordering::Release);
                        if told.as_ref() != Some(&why) {
                            tracing::warn!(worker = self.name, why, "a rule worker cannot be used");
                            told = Some(why);
                        }
                    }
                }
            }
            let pause = if self.is_well() { LOOK_EVERY } else { LOOK_AT_UNWELL_EVERY };
            let _ = timeout(pause, self.look_again.notified()).await;
        }
    }

    async fn give_again_and_again(&self, known: &KnownPlugins) {
        loop {
            if self.is_well() && self.give_all(known).await && !self.is_told.swap(true, Ordering::AcqRel) {
                tracing::info!(worker = self.name, "a rule worker is ready");
            }
            let _ = timeout(LOOK_EVERY, self.give_again.notified()).await;
        }
    }

    /// Returns once the worker has shown that it is well.
    async fn look(&self) -> Result<(), String> {
        let mut client = self.client.clone();
        let described = timeout(LOOK_WITHIN, client.describe(DescribeRequest {})).await;
        let described = described.map_err(|_| "it does not answer".to_owned())?;
        let described = described.map_err(|status| why(&status))?.into_inner();
        let own = engine_id().0;
        if (&described.engine, described.format) != (&own, FORMAT) {
            return Err(format!(
                "it runs the engine {} with messages of format {}; expected {own} and {FORMAT}",
                described.engine, described.format
            ));
        }
        let mut has = self.has();
        if has.start != described.start {
            *has = WorkerPlugins { start: described.start, ..WorkerPlugins::default() };
            self.is_told.store(false, Ordering::Release);
            self.give_again.notify_one();
        }
        drop(has);
        if !self.is_well.swap(true, Ordering::AcqRel) {
            // Closes a breaker that was open. The failures of calls that a closed one has counted stay.
            self.breaker.reset();
            self.is_told.store(false, Ordering::Release);
            self.give_again.notify_one();
        }
        Ok(())
    }

    /// Gives the worker what it lacks. Returns whether it has everything.
    async fn give_all(&self, known: &KnownPlugins) -> bool {
        let lacking: Vec<(Digest, Profile)> = {
            let has = self.has();
            let is_wanted = |digest: &Digest| {
                let tried = has.not_taken.get(digest);
                !has.plugins.contains_key(digest) && tried.is_none_or(|at| at.elapsed() > GIVE_AGAIN_AFTER)
            };
            known.all().into_iter().filter(|(digest, _)| is_wanted(digest)).collect()
        };
        futures::stream::iter(lacking)
            .for_each_concurrent(GIVEN_AT_ONCE, |(digest, most)| async move {
                // If it did not answer, it is given the plugin when it does.
                if let Ok(Some(why)) = self.give(known, digest, most).await {
                    self.has().not_taken.insert(digest, Instant::now());
                    tracing::warn!(worker = self.name, %digest, why, "a rule worker lacks a plugin");
                }
            })
            .await;
        let all: Vec<Digest> = known.all().into_iter().map(|(digest, _)| digest).collect();
        self.is_well() && self.has_plugins(&all)
    }

    /// Returns why the worker does not have the plugin, if it answered.
    async fn give(
        &self,
        known: &KnownPlugins,
        digest: Digest,
        most: Profile,
    ) -> Result<Option<String>, AskError> {
        if self.ask_for(digest).await?.is_some() {
            return Ok(None);
        }
        let bytes = match known.bytes(digest).await {
            Ok(bytes) => bytes,
            Err(why) => return Ok(Some(why)),
        };
        let added = self.add(digest, bytes, most).await?;
        Ok(added.err().map(|error| error.to_string()))
    }

    /// Asks the worker, unless it is known to have the plugin.
    pub(super) async fn ask_for(&self, digest: Digest) -> Result<Option<Plugin>, AskError> {
        if let Some(plugin) = self.has().plugins.get(&digest) {
            return Ok(Some(plugin.clone()));
        }
        let (until, request) =
            (Instant::now() + LOOK_WITHIN, GetPluginRequest { digest: digest_bytes(digest) });
        let plugin = self
            .ask(
                until,
                request,
                |mut client, request| async move { client.get_plugin(request).await },
                |answer| answer.plugin.map(|plugin| plugin.read_as(digest)).transpose(),
            )
            .await?;
        if let Some(plugin) = &plugin {
            self.has().plugins.insert(digest, plugin.clone());
        }
        Ok(plugin)
    }

    pub(super) async fn add(
        &self,
        digest: Digest,
        bytes: Bytes,
        most: Profile,
    ) -> Result<Result<Plugin, AddPluginError>, AskError> {
        let request = AddPluginRequest { digest: digest_bytes(digest), bytes, most: profile_number(most) };
        let added = self
            .ask(
                Instant::now() + ADD_WITHIN,
                request,
                |mut client, request| async move { client.add_plugin(request).await },
                |answer| answer.read(digest),
            )
            .await?;
        if let Ok(plugin) = &added {
            self.has().plugins.insert(digest, plugin.clone());
        }
        Ok(added)
    }

    fn has(&self) -> MutexGuard<'_, WorkerPlugins> {
        self.has.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names the start of the worker that is meant: another one has other plugins, and perhaps another
/// engine.
pub(super) fn of_start<T>(mut request: Request<T>, start: &Bytes) -> Request<T> {
    let start = tonic::metadata::MetadataValue::from_bytes(start);
    request.metadata_mut().insert_bin(START_KEY, start);
    request
}

fn unreadable(error: UnreadableMessage) -> Status {
    Status::data_loss(error.to_string())
}

/// The status with its causes, such as a certificate that was refused.
fn why(status: &Status) -> String {
    let mut text = format!("{}: {}", status.code().description(), status.message());
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

struct CountedCall<'a>(&'a AtomicUsize);

impl<'a> CountedCall<'a> {
    fn begin(in_progress: &'a AtomicUsize) -> Self {
        in_progress.fetch_add(1, Ordering::Relaxed);
        Self(in_progress)
    }
}

impl Drop for CountedCall<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
