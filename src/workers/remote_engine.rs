//! The rule engine that asks workers.
//!
//! Rules are pure, so whatever got no answer may be asked again, of another worker, until the
//! payment's deadline. What a worker answered counts, errors included: asking another one would only
//! double the load of those who are busy.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use futures::future::join_all;
use prost::bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Error;

use super::batches::AFTER_DEADLINE;
use super::known_plugins::KnownPlugins;
use super::messages::{
    DiagnoseRequest, EvaluateInBackgroundRequest, PrepareRequest, RulesetCall as CallMessage, digest_bytes,
};
use super::resolution::FoundWorkers;
use super::settings::RemoteSettings;
use super::worker::{AskError, Worker};
use crate::domain::decision::EngineId;
use crate::domain::plugin::{Digest, Plugin, Profile};
use crate::domain::verdict::RuleResult;
use crate::rules::{
    AddPluginError, Diagnosis, EngineError, FailedCall, MissedDeadline, PrepareError, PreparedSettings,
    RuleEngine, RuleRun, RulesetCall, engine_id,
};

/// How often a call is asked at most.
const ATTEMPTS_MAX: usize = 16;
/// The pauses between attempts.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(2))
    .with_max_delay(Duration::from_millis(200))
    .with_max_times(ATTEMPTS_MAX)
    .with_jitter();
/// How long a start waits for the first worker.
const FIRST_WORKER_MAX: Duration = Duration::from_secs(5);
const FIRST_WORKER_EVERY: Duration = Duration::from_millis(20);
/// Time limits of calls that are not part of deciding a payment.
const PREPARE_WITHIN: Duration = Duration::from_secs(30);
const DIAGNOSE_WITHIN: Duration = Duration::from_secs(120);
/// How much longer than its calls a request for the background may take.
const BACKGROUND_EXTRA: Duration = Duration::from_secs(1);
/// Calls of the background travel in parts of about this size.
const PART_BYTES: usize = 16 << 20;

const NO_WORKER: &str = "no rule worker can be reached";

/// Where the bytes of plugins come from, for workers that do not have them.
#[async_trait]
pub trait PluginSource: Send + Sync + std::fmt::Debug {
    /// `None` if there is no such plugin. The error says why it cannot be read now.
    async fn bytes(&self, digest: Digest) -> Result<Option<Arc<[u8]>>, String>;
}

#[derive(Debug)]
pub struct RemoteEngine {
    id: EngineId,
    workers: Arc<FoundWorkers>,
    known: Arc<KnownPlugins>,
    /// Decides if no worker can. It has every plugin that the workers have.
    in_process: Option<Arc<dyn RuleEngine>>,
    _follows: AbortOnDropHandle<()>,
}

impl RemoteEngine {
    /// `in_process` is the fallback, if it is an engine. Fails if the certificates cannot be used.
    pub fn start(
        settings: &RemoteSettings,
        source: Arc<dyn PluginSource>,
        in_process: Option<Arc<dyn RuleEngine>>,
    ) -> Result<Self, Error> {
        let known = Arc::new(KnownPlugins::new(source));
        let workers = Arc::new(FoundWorkers::new(settings, known.clone())?);
        let follows = AbortOnDropHandle::new(tokio::spawn(workers.clone().follow()));
        Ok(Self { id: engine_id(), workers, known, in_process, _follows: follows })
    }

    /// Waits a while for the first worker. Returns whether there is one.
    pub async fn found_a_worker(&self) -> bool {
        let until = Instant::now() + FIRST_WORKER_MAX;
        while self.workers.well().is_empty() && Instant::now() < until {
            tokio::time::sleep(FIRST_WORKER_EVERY).await;
        }
        !self.workers.well().is_empty()
    }

    /// Asks one worker after another until one answers. `None` if none did, or none has the plugins.
    async fn ask<T, F>(
        &self,
        plugins: &[Digest],
        until: Instant,
        ask: impl Fn(Arc<Worker>) -> F,
    ) -> Option<Result<T, EngineError>>
    where
        F: Future<Output = Result<T, AskError>>,
    {
        let (mut tried, mut has_failed): (Vec<Arc<Worker>>, bool) = (Vec::new(), false);
        for pause in PAUSES.build() {
            if let Some(worker) = self.workers.choose(plugins, &tried) {
                if has_failed {
                    metrics::counter!("tollgate_rule_worker_calls_total", "result" => "asked_again")
                        .increment(1);
                }
                match ask(worker.clone()).await {
                    Ok(answer) => return Some(Ok(answer)),
                    Err(AskError::Impossible(status)) => {
                        return Some(Err(EngineError::Unavailable(status.message().to_owned())));
                    }
                    Err(AskError::NoAnswer(_)) => tried.push(worker),
                }
                has_failed = true;
            } else if self.in_process.is_some() || !(has_failed || self.workers.may_return()) {
                // An engine in this process decides as well as a worker that would be waited for.
                return None;
            } else {
                // Perhaps only the connections were lost, and they answer again.
                (has_failed, tried) = (true, Vec::new());
            }
            if Instant::now() + pause >= until {
                return None;
            }
            tokio::time::sleep(pause).await;
        }
        None
    }

    /// Asks for a call whose plugins must all be there; or, without an engine in this process, for the
    /// rules whose plugins are.
    async fn evaluate_by_workers(&self, call: &RulesetCall) -> Option<Result<Vec<RuleRun>, EngineError>> {
        let plugins = plugins_of(call);
        let whole = self.ask(&plugins, call.deadline, |worker| async move {
            let answer = worker.evaluate(call).await?;
            let is_whole = !answer.as_ref().is_ok_and(|runs| lacks_plugins(runs));
            if is_whole { Ok(answer) } else { Err(lost(&worker, &plugins_of(call))) }
        });
        let answer = match whole.await {
            None if self.in_process.is_none() => {
                let partly = |worker: Arc<Worker>| async move { worker.evaluate(call).await };
                self.ask(&[], call.deadline, partly).await
            }
            answer => answer,
        };
        answer.map(|answer| answer.and_then(|answer| answer))
    }

    async fn evaluate_without_workers(&self, call: RulesetCall) -> Result<Vec<RuleRun>, EngineError> {
        match &self.in_process {
            Some(engine) => engine.evaluate(call).await,
            None => {
                let not_run = RuleRun { result: RuleResult::Unavailable, fuel_used: 0, elapsed_us: 0 };
                Ok(vec![not_run; call.rules.len()])
            }
        }
    }

    /// Evaluates a part of the calls of the background.
    async fn evaluate_part(&self, calls: &[RulesetCall]) -> Result<Vec<Vec<RuleRun>>, EngineError> {
        let plugins: Vec<Digest> = calls.iter().flat_map(plugins_of).collect();
        let last = calls.iter().map(|call| call.deadline).max().unwrap_or_else(Instant::now);
        let until = last + BACKGROUND_EXTRA;
        let answer = self.ask(&plugins, until, |worker| async move {
            let messages = (0..).zip(calls).map(|(number, call)| CallMessage::of(number, call)).collect();
            let request = EvaluateInBackgroundRequest { calls: messages };
            let answer = worker
                .ask(
                    until,
                    request,
                    |mut client, request| async move { client.evaluate_in_background(request).await },
                    |answer| answer.read(calls.len()),
                )
                .await?;
            let lacking = |(_, runs): &(&RulesetCall, &Vec<RuleRun>)| lacks_plugins(runs);
            match answer.as_ref().ok().and_then(|all| calls.iter().zip(all).find(lacking)) {
                Some((call, _)) => Err(lost(&worker, &plugins_of(call))),
                None => Ok(answer),
            }
        });
        match (answer.await, &self.in_process) {
            (Some(answer), _) => answer?,
            (None, Some(engine)) => engine.evaluate_in_background(calls.to_vec()).await,
            (None, None) => Err(EngineError::Unavailable(NO_WORKER.to_owned())),
        }
    }

    /// Adds a plugin everywhere it is needed. If the answers differ, a refusal of the
    /// bytes counts most, then a success, then an error.
    async fn add_everywhere(&self, bytes: &Arc<[u8]>, most: Profile) -> Result<Plugin, AddPluginError> {
        let digest = Digest::of(bytes);
        let workers = self.workers.well();
        let by_workers = join_all(workers.iter().map(|worker| async {
            let answer = match worker.ask_for(digest).await {
                Ok(None) => worker.add(digest, Bytes::from_owner(bytes.clone()), most).await,
                Ok(Some(plugin)) => Ok(Ok(plugin)),
                Err(error) => Err(error),
            };
            answer.unwrap_or_else(|_| Err(unavailable()))
        }));
        let in_process = async {
            match &self.in_process {
                Some(engine) => Some(engine.add_plugin(bytes.clone(), most).await),
                None => None,
            }
        };
        let (by_workers, in_process) = tokio::join!(by_workers, in_process);
        let mut added: Result<Plugin, AddPluginError> = Err(unavailable());
        for answer in by_workers.into_iter().chain(in_process) {
            match answer {
                Err(error @ (AddPluginError::Refused(_) | AddPluginError::NeedsLarge)) => return Err(error),
                Err(error) if added.is_err() => added = Err(error),
                Err(_) => {}
                // The longest time, which is what an upload takes.
                Ok(plugin) => match &mut added {
                    Ok(slowest) if plugin.compile_ms <= slowest.compile_ms => {}
                    added => *added = Ok(plugin),
                },
            }
        }
        added
    }
}

fn plugins_of(call: &RulesetCall) -> Vec<Digest> {
    call.rules.iter().map(|rule| rule.plugin).collect()
}

/// Whether a rule was not run for want of its plugin.
fn lacks_plugins(runs: &[RuleRun]) -> bool {
    runs.iter().any(|run| run.result == RuleResult::Unavailable)
}

/// The worker has lost plugins. Another one, or the fallback, may have them.
fn lost(worker: &Worker, plugins: &[Digest]) -> AskError {
    worker.lacks(plugins);
    AskError::NoAnswer(tonic::Status::unavailable("the worker lacks a plugin"))
}

fn unavailable() -> AddPluginError {
    AddPluginError::Engine(EngineError::Unavailable(NO_WORKER.to_owned()))
}

#[async_trait]
impl RuleEngine for RemoteEngine {
    fn id(&self) -> &EngineId {
        &self.id
    }

    async fn evaluate(&self, call: RulesetCall) -> Result<Vec<RuleRun>, EngineError> {
        let count = |result: &'static str| {
            metrics::counter!("tollgate_rule_worker_calls_total", "result" => result).increment(1);
        };
        match timeout_at(call.deadline + AFTER_DEADLINE, self.evaluate_by_workers(&call)).await {
            Ok(Some(answer)) => {
                count("answered");
                answer
            }
            Ok(None) if Instant::now() < call.deadline => {
                count("fallback");
                self.evaluate_without_workers(call).await
            }
            Ok(None) | Err(_) => {
                count("late");
                Err(EngineError::Deadline(MissedDeadline::default()))
            }
        }
    }

    async fn evaluate_in_background(
        &self,
        calls: Vec<RulesetCall>,
    ) -> Result<Vec<Vec<RuleRun>>, EngineError> {
        let mut all = Vec::with_capacity(calls.len());
        let mut rest = &calls[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|call| {
                bytes += size_bytes(call);
                bytes <= PART_BYTES
            });
            let (part, later) = rest.split_at(fitting.count().max(1));
            all.extend(self.evaluate_part(part).await?);
            rest = later;
        }
        Ok(all)
    }

    async fn prepare(&self, plugin: Digest, settings: String) -> Result<PreparedSettings, PrepareError> {
        let (plugins, settings, until) = ([plugin], &settings, Instant::now() + PREPARE_WITHIN);
        let answer = self.ask(&plugins, until, |worker| async move {
            let request = PrepareRequest { plugin: digest_bytes(plugin), settings: settings.clone() };
            let call =
                |mut client: super::worker::Client, request| async move { client.prepare(request).await };
            let answer = worker.ask(until, request, call, |answer| answer.read(plugin)).await?;
            let is_lost = matches!(answer, Err(PrepareError::UnknownPlugin(_)));
            if is_lost { Err(lost(&worker, &[plugin])) } else { Ok(answer) }
        });
        match (answer.await, &self.in_process) {
            (Some(answer), _) => answer?,
            (None, Some(engine)) => engine.prepare(plugin, settings.clone()).await,
            (None, None) if self.workers.well().is_empty() => {
                Err(EngineError::Unavailable(NO_WORKER.to_owned()).into())
            }
            (None, None) => Err(PrepareError::UnknownPlugin(plugin)),
        }
    }

    async fn add_plugin(&self, bytes: Arc<[u8]>, most: Profile) -> Result<Plugin, AddPluginError> {
        let added = self.add_everywhere(&bytes, most).await;
        if let Ok(plugin) = &added {
            self.known.add(plugin);
        }
        added
    }

    async fn plugin(&self, digest: Digest) -> Option<Plugin> {
        let workers = self.workers.well();
        let by_workers = join_all(workers.iter().map(|worker| worker.ask_for(digest)));
        let mut found = match &self.in_process {
            Some(engine) => Some(engine.plugin(digest).await?),
            // Nobody can be asked, and adding it again would not help.
            None if workers.is_empty() => self.known.get(digest),
            None => None,
        };
        // A worker that fails is given the plugin before it is asked again.
        for answer in by_workers.await.into_iter().flatten() {
            found = Some(answer?);
        }
        if let Some(plugin) = &found {
            self.known.add(plugin);
        }
        found
    }

    async fn diagnose(&self, call: FailedCall, bytes: Arc<[u8]>) -> Result<Option<Diagnosis>, EngineError> {
        let (call, bytes, until) = (&call, &bytes, Instant::now() + DIAGNOSE_WITHIN);
        let plugins = [call.plugin()];
        let answer = self.ask(&plugins, until, |worker| async move {
            let request = DiagnoseRequest::of(call, Bytes::from_owner(bytes.clone()));
            let call =
                |mut client: super::worker::Client, request| async move { client.diagnose(request).await };
            worker.ask(until, request, call, super::messages::DiagnoseResponse::read).await
        });
        match (answer.await, &self.in_process) {
            (Some(answer), _) => answer?,
            (None, Some(engine)) => engine.diagnose(call.clone(), bytes.clone()).await,
            (None, None) => Err(EngineError::Unavailable(NO_WORKER.to_owned())),
        }
    }
}

/// About the size of a call in a message.
fn size_bytes(call: &RulesetCall) -> usize {
    prost::Message::encoded_len(&CallMessage::of(0, call))
}
