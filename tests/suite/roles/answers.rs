//! A worker whose engine answers what a test tells it to: what of that reaches the payment.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tollgate::domain::decision::EngineId;
use tollgate::domain::payment::{Payment, PaymentId};
use tollgate::domain::plugin::{Description, Digest, Plugin, Profile};
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::{Evaluation, FailureClass, Reason, RuleResult, Verdict};
use tollgate::rules::{
    AddPluginError, Diagnosis, EngineError, FailedCall, MissedDeadline, PrepareError, PreparedSettings,
    RuleCall, RuleEngine, RuleRun, RulesetCall, engine_id,
};
use tollgate::workers::{
    ListenAddress, PluginSource, RemoteEngine, RemoteSettings, RuleListener, WorkerAddress,
};
use uuid::Uuid;

use super::Socket;
use crate::support::decisions::order;
use crate::support::program::TEST_TIMEOUT;

const PLUGIN: Digest = Digest([7; 32]);
/// The place of the answer "busy".
const BUSY: usize = 13;

type Answer = Result<Vec<RuleRun>, EngineError>;

/// Answers each tenant as its number says: the place in the answers, or never.
#[derive(Debug)]
struct ToldEngine {
    id: EngineId,
    answers: Vec<Answer>,
}

#[async_trait]
impl RuleEngine for ToldEngine {
    fn id(&self) -> &EngineId {
        &self.id
    }

    async fn evaluate(&self, call: RulesetCall) -> Answer {
        match self.answers.get(call.tenant.0.as_u128() as usize) {
            Some(answer) => answer.clone(),
            None => std::future::pending().await,
        }
    }

    async fn evaluate_in_background(
        &self,
        calls: Vec<RulesetCall>,
    ) -> Result<Vec<Vec<RuleRun>>, EngineError> {
        let mut all = Vec::new();
        for call in calls {
            all.push(self.evaluate(call).await?);
        }
        Ok(all)
    }

    async fn prepare(&self, plugin: Digest, _: String) -> Result<PreparedSettings, PrepareError> {
        Err(PrepareError::UnknownPlugin(plugin))
    }

    async fn add_plugin(&self, _: Arc<[u8]>, _: Profile) -> Result<Plugin, AddPluginError> {
        Err(AddPluginError::NeedsLarge)
    }

    async fn diagnose(&self, _: FailedCall, _: Arc<[u8]>) -> Result<Option<Diagnosis>, EngineError> {
        Ok(None)
    }

    async fn plugin(&self, digest: Digest) -> Option<Plugin> {
        let text = String::new;
        let description =
            Description { name: text(), version: text(), summary: text(), settings_schema: text() };
        let (contract, profile) = (text(), Profile::Small);
        Some(Plugin { digest, size_bytes: 1, contract, profile, description, imports: vec![], compile_ms: 0 })
    }
}

#[derive(Debug)]
struct NoPlugins;

#[async_trait]
impl PluginSource for NoPlugins {
    async fn bytes(&self, _: Digest) -> Result<Option<Arc<[u8]>>, String> {
        Ok(None)
    }
}

/// A worker that stops when the guard is dropped, and the engine that asks it.
async fn asking(told: ToldEngine) -> (RemoteEngine, Socket, DropGuard) {
    let (socket, stopping) = (Socket::new(), CancellationToken::new());
    let listener = RuleListener::open(&ListenAddress::Unix(socket.path()), None).await.unwrap();
    let (leaving, stopped) = (CancellationToken::new(), stopping.clone());
    tokio::spawn(listener.serve(Arc::new(told), Uuid::now_v7(), leaving, stopped));
    let settings = RemoteSettings { workers: vec![WorkerAddress::Unix(socket.path())], identity: None };
    let engine = RemoteEngine::start(&settings, Arc::new(NoPlugins), None).unwrap();
    (engine, socket, stopping.drop_guard())
}

fn call_of(tenant: usize, within: Duration) -> RulesetCall {
    let rule = RuleCall {
        plugin: PLUGIN,
        profile: Profile::Small,
        state: Arc::from([1, 2, 3]),
        facts: vec![],
        fuel_spent_before: None,
    };
    let payment =
        Payment { id: PaymentId(Uuid::now_v7()), received_at_ms: 1, order: order("answers", 100, "EUR") };
    RulesetCall {
        tenant: TenantId(Uuid::from_u128(tenant as u128)),
        payment: Arc::new(payment),
        rules: vec![rule],
        deadline: Instant::now() + within,
    }
}

fn run(result: RuleResult) -> RuleRun {
    RuleRun { result, fuel_used: 77, elapsed_us: 5 }
}

fn told() -> Vec<Answer> {
    let reasons = |field: Option<&str>| {
        vec![Reason {
            code: "why".to_owned(),
            message: "Because.".to_owned(),
            field: field.map(str::to_owned),
        }]
    };
    let verdicts = [
        Verdict::Pass,
        Verdict::Allow(reasons(None)),
        Verdict::Review(reasons(Some("/amount_minor"))),
        Verdict::Reject(reasons(Some(""))),
    ];
    let ran =
        verdicts.map(|verdict| RuleResult::Ran(Evaluation { verdict, notes: vec!["noted".to_owned()] }));
    let failed = FailureClass::ALL.map(|class| RuleResult::Failed { class, detail: "detail".to_owned() });
    let mut answers: Vec<Answer> =
        ran.into_iter().chain(failed).map(|result| Ok(vec![run(result)])).collect();
    let runs = vec![run(RuleResult::Failed { class: FailureClass::Deadline, detail: String::new() })];
    answers.push(Err(EngineError::Busy));
    answers.push(Err(EngineError::Deadline(MissedDeadline { runs, running_ms: 40, caused_by_tenant: true })));
    answers.push(Err(EngineError::Unavailable("no room".to_owned())));
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_a_worker_arrives_as_it_was_and_none_waits_for_another() {
    let (engine, _socket, _guard) = asking(ToldEngine { id: engine_id(), answers: told() }).await;
    let begun = Instant::now();
    while !engine.found_a_worker().await {
        assert!(begun.elapsed() < TEST_TIMEOUT, "no worker");
    }
    assert!(engine.plugin(PLUGIN).await.is_some(), "the worker is known to have it");
    let calls = vec![call_of(0, TEST_TIMEOUT), call_of(BUSY, TEST_TIMEOUT)];
    assert_eq!(engine.evaluate_in_background(calls).await, Err(EngineError::Busy));
    let engine = Arc::new(engine);
    let ask = |tenant: usize, within: Duration| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.evaluate(call_of(tenant, within)).await })
    };
    // One that is never answered goes first, and the others go with it.
    let silent = ask(1_000, Duration::from_secs(10));
    let all: Vec<_> = (0..told().len()).map(|tenant| ask(tenant, TEST_TIMEOUT)).collect();
    for (answer, told) in all.into_iter().zip(told()) {
        assert_eq!(answer.await.unwrap(), told);
    }
    // A worker that swallows a call has missed the deadline.
    assert_eq!(silent.await.unwrap(), Err(EngineError::Deadline(MissedDeadline::default())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_another_engine_is_never_asked() {
    let id = EngineId("wasmtime-1.0.0-other".to_owned());
    let (engine, _socket, _guard) = asking(ToldEngine { id, answers: told() }).await;
    assert!(!engine.found_a_worker().await);
    let runs = engine.evaluate(call_of(0, TEST_TIMEOUT)).await.unwrap();
    assert_eq!(runs, [RuleRun { result: RuleResult::Unavailable, fuel_used: 0, elapsed_us: 0 }]);
}
