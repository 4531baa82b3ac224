//! The engine in this process.
//!
//! Rules must not block the server's threads for more than a few ticks, and one tenant's rules must
//! not take the threads from another's. For that reason:
//!
//! - A ruleset starts on the thread of its payment, which costs nothing. Once it has taken more
//!   processor time than a quick one, it moves to separate threads of lower priority, as one task.
//! - After that, rulesets of the same tenant start on those threads until enough of them were quick.
//! - A ruleset that was only interrupted stays on its thread. On the separate threads it would
//!   wait for the long rulesets.
//! - A running rule yields its thread at every tick of the epoch clock. New payments go first.
//! - A semaphore for each tenant bounds how many of its rulesets run at once.
//!
//! docs/PERFORMANCE.md has the measurements.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::call::{Call, CallFailure, CallOutcome};
use super::contract::{PaymentInput, SettingsAnswer};
use super::diagnosis::{CallInput, DiagnosisRequest, Diagnostics};
use super::engine::{EngineSetupError, Sandboxes};
use super::library::{Library, ReadyPlugin};
use super::limits::{Limits, RULESET_FUEL, TICK_MS};
use super::processor_time::MeteredFuture;
use super::progress::{ComputedMs, RulesetProgress};
use super::settings::EngineSettings;
use super::tenant_limits::{QUICK, TenantLimits};
use super::threads::{BACKGROUND_NICENESS, LIVE_NICENESS, Threads};
use super::{
    AddPluginError, Diagnosis, EngineError, FailedCall, MissedDeadline, PrepareError, PreparedSettings,
    RuleCall, RuleEngine, RuleRun, RulesetCall,
};
use crate::domain::decision::EngineId;
use crate::domain::plugin::{Digest, Plugin, Profile};
use crate::domain::verdict::RuleResult;

/// How many calls of `prepare` run at once. The other instances are left to payments.
const PREPARATIONS_MAX: usize = 2;

#[derive(Debug, Error)]
pub enum LocalEngineError {
    #[error(transparent)]
    Setup(#[from] EngineSetupError),
    #[error("the threads for rules cannot be started: {0}")]
    Threads(std::io::Error),
}

pub struct LocalEngine {
    live: Threads,
    background: Threads,
    /// One permit for each background thread, so that background work takes few of the instances
    /// that payments need.
    background_turns: Arc<Semaphore>,
    library: Arc<Library>,
    tenants: TenantLimits,
    preparations: Arc<Semaphore>,
    diagnostics: Arc<Diagnostics>,
    /// How many threads run live rules.
    threads: u32,
}

impl LocalEngine {
    pub fn start(settings: &EngineSettings) -> Result<Self, LocalEngineError> {
        let threads = settings.threads.max(1);
        let library = Library::new(settings, Sandboxes::new()?);
        let start = |name, niceness| {
            let niceness = if settings.stands_back { niceness } else { 0 };
            Threads::start(name, threads, niceness).map_err(LocalEngineError::Threads)
        };
        let diagnostics = Diagnostics::new(settings, library.sandboxes().id(), library.compiler());
        Ok(Self {
            live: start("rules", LIVE_NICENESS)?,
            background: start("rules-later", BACKGROUND_NICENESS)?,
            background_turns: Arc::new(Semaphore::new(threads)),
            library: Arc::new(library),
            tenants: TenantLimits::new(settings.tenant_concurrency.max(1), settings.tenant_waiting_max),
            preparations: Arc::new(Semaphore::new(PREPARATIONS_MAX)),
            diagnostics: Arc::new(diagnostics),
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
        })
    }

    /// Whether a tenant's rules used at least a quarter of the engine's processor time while one of
    /// its rulesets ran or waited.
    fn is_much(&self, spent: Duration, waited: Duration) -> bool {
        spent * 4 >= waited.saturating_mul(self.threads)
    }

    /// Evaluates one rule of a case file.
    pub(super) async fn evaluate_one(
        &self,
        input: PaymentInput,
        rule: RuleCall,
    ) -> Result<RuleRun, EngineError> {
        let library = self.library.clone();
        self.live
            .run(async move { evaluate(&library, &input, &rule, RULESET_FUEL, &Arc::default()).await })
            .await
    }
}

impl LocalEngine {
    /// Diagnoses the failure of one rule. The input may come from a case file.
    pub(super) async fn diagnose_one(
        &self,
        input: PaymentInput,
        rule: RuleCall,
        bytes: Arc<[u8]>,
    ) -> Result<Option<Diagnosis>, EngineError> {
        let diagnostics = self.diagnostics.clone();
        let diagnosed = self.background.run(async move {
            let spent_before = rule.fuel_spent_before.unwrap_or(0);
            let fuel = Limits::of(rule.profile).fuel_evaluate.min(RULESET_FUEL.saturating_sub(spent_before));
            let call = CallInput::Evaluate { input: &input, facts: &rule.facts, state: &rule.state };
            let (plugin, profile) = (rule.plugin, rule.profile);
            diagnostics.diagnose(DiagnosisRequest { plugin, bytes, profile, fuel, call }).await
        });
        diagnosed.await?
    }
}

#[async_trait]
impl RuleEngine for LocalEngine {
    fn id(&self) -> &EngineId {
        self.library.sandboxes().id()
    }

    async fn evaluate(&self, call: RulesetCall) -> Result<Vec<RuleRun>, EngineError> {
        let deadline = call.deadline;
        let (progress, begun) = (Arc::new(RulesetProgress::default()), Instant::now());
        let account_us = self.tenants.account_us(call.tenant);
        let spent_before_us = account_us.load(Ordering::Relaxed);
        let decided = async {
            let turn = self.tenants.admit(call.tenant).await?;
            let library = self.library.clone();
            let (begins_here, progress) = (turn.is_quick(), progress.clone());
            let mut work = MeteredFuture::new(account_us.clone(), async move {
                let input = PaymentInput::of(call.payment);
                evaluate_all(&library, &input, &call.rules, &progress).await
            });
            if begins_here {
                if let Some((runs, spent)) = work.within(QUICK).await {
                    turn.took(spent);
                    return Ok(runs);
                }
                // Noted now, since the ruleset may never end.
                turn.took(work.spent());
            }
            let rest = async move {
                let (runs, spent) = work.await;
                turn.took(spent);
                runs
            };
            self.live.run(rest).await
        };
        timeout_at(deadline, decided).await.unwrap_or_else(|_| {
            let (runs, running_ms) = progress.take();
            let spent_us = account_us.load(Ordering::Relaxed).saturating_sub(spent_before_us);
            let caused_by_tenant = self.is_much(Duration::from_micros(spent_us), begun.elapsed());
            Err(EngineError::Deadline(MissedDeadline { runs, running_ms, caused_by_tenant }))
        })
    }

    async fn evaluate_in_background(
        &self,
        calls: Vec<RulesetCall>,
    ) -> Result<Vec<Vec<RuleRun>>, EngineError> {
        let turn = self.background_turns.clone().acquire_owned().await;
        let turn = turn.map_err(|error| EngineError::Unavailable(error.to_string()))?;
        let library = self.library.clone();
        let evaluated = self.background.run(async move {
            let _turn = turn;
            let mut answers = Vec::with_capacity(calls.len());
            for call in calls {
                if Instant::now() >= call.deadline {
                    return Err(EngineError::Deadline(MissedDeadline::default()));
                }
                let input = PaymentInput::of(call.payment);
                answers.push(evaluate_all(&library, &input, &call.rules, &RulesetProgress::default()).await);
                tokio::task::yield_now().await;
            }
            Ok(answers)
        });
        evaluated.await?
    }

    async fn prepare(&self, plugin: Digest, settings: String) -> Result<PreparedSettings, PrepareError> {
        let turn = self.preparations.clone().acquire_owned().await;
        let turn = turn.map_err(|error| EngineError::Unavailable(error.to_string()))?;
        let library = self.library.clone();
        self.live
            .run(async move {
                let _turn = turn;
                prepare(&library, plugin, &settings).await
            })
            .await?
    }

    async fn add_plugin(&self, bytes: Arc<[u8]>, most: Profile) -> Result<Plugin, AddPluginError> {
        let library = self.library.clone();
        self.live.run(async move { library.add(bytes, most).await }).await?
    }

    async fn plugin(&self, digest: Digest) -> Option<Plugin> {
        self.library.ready(digest).await
    }

    async fn diagnose(&self, call: FailedCall, bytes: Arc<[u8]>) -> Result<Option<Diagnosis>, EngineError> {
        let (plugin, settings) = match call {
            FailedCall::Evaluate { payment, rule } => {
                return self.diagnose_one(PaymentInput::of(payment), rule, bytes).await;
            }
            FailedCall::Prepare { plugin, settings } => (plugin, settings),
        };
        let Some(Plugin { profile, .. }) = self.library.plugin(plugin) else { return Ok(None) };
        let diagnostics = self.diagnostics.clone();
        let diagnosed = self.background.run(async move {
            let (fuel, call) = (Limits::of(profile).fuel_prepare, CallInput::Prepare { settings: &settings });
            diagnostics.diagnose(DiagnosisRequest { plugin, bytes, profile, fuel, call }).await
        });
        diagnosed.await?
    }
}

/// Returns one run for each rule, in their order.
async fn evaluate_all(
    library: &Arc<Library>,
    input: &PaymentInput,
    rules: &[RuleCall],
    progress: &RulesetProgress,
) -> Vec<RuleRun> {
    let mut fuel_spent: u64 = 0;
    let mut let_go = Instant::now();
    for rule in rules {
        if let_go.elapsed() > Duration::from_millis(TICK_MS.into()) {
            tokio::task::yield_now().await;
            let_go = Instant::now();
        }
        let spent_before = rule.fuel_spent_before.unwrap_or(fuel_spent);
        let fuel_left = RULESET_FUEL.saturating_sub(spent_before);
        let run = evaluate(library, input, rule, fuel_left, progress.running_ms()).await;
        fuel_spent = fuel_spent.saturating_add(run.fuel_used);
        progress.ended(run);
    }
    progress.take().0
}

async fn evaluate(
    library: &Arc<Library>,
    input: &PaymentInput,
    rule: &RuleCall,
    fuel_left: u64,
    computed_ms: &ComputedMs,
) -> RuleRun {
    let Some(ready) = library.bound(rule.plugin, rule.profile).await else {
        return RuleRun { result: RuleResult::Unavailable, fuel_used: 0, elapsed_us: 0 };
    };
    let ReadyPlugin { sandbox, plugin } = &*ready;
    let started = Instant::now();
    let fuel = sandbox.limits.fuel_evaluate.min(fuel_left);
    let call = Call { sandbox, plugin, fuel, computed_ms: computed_ms.clone() };
    let CallOutcome { result, fuel_used, .. } = call.evaluate(input, &rule.facts, &rule.state).await;
    let result = match result {
        Ok(evaluation) => RuleResult::Ran(evaluation),
        Err(CallFailure { class, detail }) => RuleResult::Failed { class, detail },
    };
    let elapsed_us = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
    RuleRun { result, fuel_used, elapsed_us }
}

async fn prepare(
    library: &Arc<Library>,
    digest: Digest,
    settings: &str,
) -> Result<PreparedSettings, PrepareError> {
    let unknown = PrepareError::UnknownPlugin(digest);
    let Some(Plugin { profile, .. }) = library.plugin(digest) else { return Err(unknown) };
    let Some(ready) = library.bound(digest, profile).await else { return Err(unknown) };
    let ReadyPlugin { sandbox, plugin } = &*ready;
    let call = Call { sandbox, plugin, fuel: sandbox.limits.fuel_prepare, computed_ms: Arc::default() };
    match call.prepare(settings).await.result {
        Ok(SettingsAnswer::Accepted { queries, state }) => Ok(PreparedSettings { profile, queries, state }),
        Ok(SettingsAnswer::Refused(reasons)) => Err(PrepareError::Refused(reasons)),
        Err(CallFailure { class, detail }) => Err(PrepareError::Failed { class, detail }),
    }
}

impl std::fmt::Debug for LocalEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalEngine").field("id", self.id()).finish_non_exhaustive()
    }
}
