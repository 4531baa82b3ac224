//! Replay: with a fake engine, and as a command.

use std::sync::{Arc, Mutex};

use rocket::async_trait;
use serde_json::{Value, json};
use tollgate::decisions::plugins::Plugins;
use tollgate::decisions::replay::{Replay, ReplayError, Replays};
use tollgate::domain::decision::{Decision, EngineId, Origin, RevisionReference, RuleEvidence};
use tollgate::domain::plugin::{Description, Digest, Plugin, Profile};
use tollgate::domain::ruleset::{DecisionPoint, Mode, PreparedRule, RuleEntry};
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::{
    Evaluation, FOLD_VERSION, FailureClass, FailureOutcome, Outcome, RuleResult, Verdict,
};
use tollgate::rules::{
    AddPluginError, Diagnosis, EngineError, FailedCall, PrepareError, PreparedSettings, RuleEngine, RuleRun,
    RulesetCall,
};
use tollgate::storage::rulesets::{NewRevision, create};
use tollgate::storage::tenants::{create_tenant, tenant_by_name};
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, journal, now_ms, order};
use crate::support::program::{run_command, tollgate_on};
use crate::support::service::{Caller, Node, payment};

#[derive(Debug)]
struct FakeEngine {
    id: EngineId,
    runs: Vec<RuleRun>,
    calls: Mutex<Vec<RulesetCall>>,
}

#[async_trait]
impl RuleEngine for FakeEngine {
    fn id(&self) -> &EngineId {
        &self.id
    }

    async fn evaluate(&self, call: RulesetCall) -> Result<Vec<RuleRun>, EngineError> {
        self.calls.lock().unwrap().push(call);
        Ok(self.runs.clone())
    }

    async fn evaluate_in_background(&self, _: Vec<RulesetCall>) -> Result<Vec<Vec<RuleRun>>, EngineError> {
        unreachable!("a person waits for a replay")
    }

    async fn prepare(&self, _: Digest, _: String) -> Result<PreparedSettings, PrepareError> {
        unreachable!("replay prepares nothing")
    }

    async fn add_plugin(&self, _: Arc<[u8]>, _: Profile) -> Result<Plugin, AddPluginError> {
        unreachable!("all plugins are loaded")
    }

    async fn diagnose(&self, _: FailedCall, _: Arc<[u8]>) -> Result<Option<Diagnosis>, EngineError> {
        unreachable!("a replay looks into no failure")
    }

    async fn plugin(&self, digest: Digest) -> Option<Plugin> {
        let text = String::new;
        let description =
            Description { name: text(), version: text(), summary: text(), settings_schema: text() };
        let (contract, profile) = (text(), Profile::Large);
        Some(Plugin { digest, size_bytes: 1, contract, profile, description, imports: vec![], compile_ms: 0 })
    }
}

fn pass_result() -> RuleResult {
    RuleResult::Ran(Evaluation { verdict: Verdict::Pass, notes: vec![] })
}

fn failed(class: FailureClass) -> RuleResult {
    RuleResult::Failed { class, detail: String::new() }
}

/// Stores a decision with one rule for each of these results and their fuel.
async fn store_decision(database: &TestDatabase, results: Vec<(RuleResult, u64)>) -> Decision {
    let databases = database.databases();
    let tenant = TenantId(Uuid::now_v7());
    create_tenant(&databases.system, tenant, "acme", now_ms(), "test").await.unwrap();
    let (plugin, profile) = (Digest([3; 32]), Profile::Large);
    let (on_failure, overridable, mode) = (FailureOutcome::Pass, false, Mode::Live);
    let mut rules = Vec::new();
    let mut evidence = Vec::new();
    for (place, (result, fuel_used)) in results.into_iter().enumerate() {
        let name = format!("rule-{place}");
        let settings = "{}".to_owned();
        let entry = RuleEntry { name: name.clone(), plugin, settings, on_failure, overridable, mode };
        rules.push(PreparedRule { entry, profile, queries: vec![], state: vec![] });
        let (facts, result, elapsed_us) = (vec![], Some(result), 0);
        evidence.push(RuleEvidence {
            name,
            plugin,
            profile,
            on_failure,
            overridable,
            mode,
            facts,
            result,
            fuel_used,
            elapsed_us,
        });
    }
    let (point, note, created_by) = (DecisionPoint::Payment, String::new(), "alice".to_owned());
    let new = NewRevision { point, rules, note, created_by, created_at_ms: 7 };
    let revision = create(&databases.app, tenant, new, u32::MAX).await.unwrap();
    let mut decision = decision_on(tenant, "k", Outcome::Approve, now_ms(), order("c-1", 1_000, "EUR"));
    decision.evidence.revision = Some(RevisionReference { number: revision.number, digest: revision.digest });
    decision.evidence.rules = evidence;
    decision.evidence.reasons = decision.evidence.fold().reasons;
    decision
}

async fn replay_decision(
    database: &TestDatabase,
    decision: &Decision,
    runs: Vec<(RuleResult, u64)>,
) -> (Result<Replay, ReplayError>, Vec<RulesetCall>) {
    replay_with_engine("test", database, decision, runs).await
}

async fn replay_with_engine(
    engine: &str,
    database: &TestDatabase,
    decision: &Decision,
    runs: Vec<(RuleResult, u64)>,
) -> (Result<Replay, ReplayError>, Vec<RulesetCall>) {
    let runs = runs.into_iter().map(|(result, fuel_used)| RuleRun { result, fuel_used, elapsed_us: 0 });
    let engine = Arc::new(FakeEngine {
        id: EngineId(engine.to_owned()),
        runs: runs.collect(),
        calls: Mutex::default(),
    });
    let databases = database.databases();
    let (app, system) = (databases.app, databases.system);
    let plugins = Arc::new(Plugins::new(system, engine.clone(), Arc::default()));
    let replays = Replays { app, engine: engine.clone(), plugins };
    let replay = replays.replay_decision(Arc::new(decision.clone())).await;
    let calls = std::mem::take(&mut *engine.calls.lock().unwrap());
    (replay, calls)
}

#[tokio::test]
async fn a_host_stop_during_a_replay_is_not_a_difference() {
    let database = TestDatabase::create().await;
    let decision = store_decision(&database, vec![(pass_result(), 5)]).await;
    for result in [failed(FailureClass::Deadline), failed(FailureClass::Host), RuleResult::Unavailable] {
        let (replay, _) = replay_decision(&database, &decision, vec![(result.clone(), 5)]).await;
        let error = replay.expect_err("nothing was compared");
        assert!(matches!(error, ReplayError::Engine(EngineError::Unavailable(_))), "{result:?}: {error:?}");
    }
    // A different result of the rule itself is a difference.
    let (replay, _) = replay_decision(&database, &decision, vec![(failed(FailureClass::Trap), 5)]).await;
    assert_eq!(replay.unwrap().differences[0].path, "/rules/0/result");
}

#[tokio::test]
async fn an_engine_that_omits_a_rule_is_an_error() {
    let database = TestDatabase::create().await;
    let decision = store_decision(&database, vec![(pass_result(), 5), (pass_result(), 5)]).await;
    let (replay, _) = replay_decision(&database, &decision, vec![(pass_result(), 5)]).await;
    assert!(matches!(replay, Err(ReplayError::Engine(_))), "{replay:?}");
}

#[tokio::test]
async fn a_rule_has_the_same_budget_even_if_another_rule_is_not_rerun() {
    let database = TestDatabase::create().await;
    let results = vec![
        (pass_result(), 40),
        (failed(FailureClass::StackOverflow), 200),
        (failed(FailureClass::OutOfFuel), 10),
    ];
    let decision = store_decision(&database, results).await;
    let runs = vec![(pass_result(), 40), (failed(FailureClass::OutOfFuel), 10)];
    let (replay, calls) = replay_decision(&database, &decision, runs).await;
    assert!(replay.unwrap().is_identical());
    let spent: Vec<_> = calls[0].rules.iter().map(|rule| rule.fuel_spent_before).collect();
    assert_eq!(spent, [Some(0), Some(240)]);
}

#[tokio::test]
async fn running_out_of_fuel_under_only_one_of_two_engines_is_not_comparable() {
    let database = TestDatabase::create().await;
    let out_of_fuel = || failed(FailureClass::OutOfFuel);
    let decision =
        store_decision(&database, vec![(pass_result(), 5), (pass_result(), 5), (out_of_fuel(), 9)]).await;
    let runs = vec![(pass_result(), 5), (out_of_fuel(), 7)];
    let (replay, calls) = replay_with_engine("other", &database, &decision, runs.clone()).await;
    let replay = replay.unwrap();
    assert!(replay.is_identical() && !replay.same_engine, "{replay:?}");
    assert_eq!(replay.not_rerun, ["rule-2", "rule-1"]);
    assert_eq!(calls[0].rules.len(), 2);
    // A different result is a difference under any engine.
    let runs = vec![(failed(FailureClass::Trap), 5), (pass_result(), 7)];
    let (replay, _) = replay_with_engine("other", &database, &decision, runs).await;
    assert_eq!(replay.unwrap().differences[0].path, "/rules/0/result");
    // Under the same engine, running out of fuel is a difference too.
    let runs = vec![(pass_result(), 5), (out_of_fuel(), 7), (out_of_fuel(), 9)];
    let (replay, _) = replay_decision(&database, &decision, runs).await;
    assert_eq!(replay.unwrap().differences[0].path, "/rules/1/result");
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_decisions_are_counted_but_not_replayed() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let (caller, _other) =
        (Caller::of_new_tenant(&node, "acme").await, Caller::of_new_tenant(&node, "other").await);
    caller.pay("own", &payment()).await;
    let tenant = tenant_by_name(&database.databases().system, "acme").await.unwrap().unwrap();
    let mut imported = decision_on(tenant, "old", Outcome::Approve, now_ms(), order("c-1", 1_000, "EUR"));
    imported.origin = Origin::Import;
    let id = imported.id();
    journal(database.databases().journal).await.store(imported).await.unwrap();

    let (status, problem) = caller.get(&format!("/decisions/{id}/replay")).await;
    assert_eq!(status.as_u16(), 409, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("imported"), "{problem}");
    node.stop().await;

    for (arguments, expected) in [
        (&["replay"][..], "2 decisions: 1 identical, 0 different, 1 imported (nothing to replay), 0 erased"),
        (
            &["replay", "--tenant", "acme", "--since", "1h"],
            "2 decisions: 1 identical, 0 different, 1 imported",
        ),
        (&["replay", "--tenant", "other"], "0 decisions: 0 identical"),
    ] {
        let (status, output, log) = run_command(tollgate_on(&database, arguments));
        assert!(status.success() && output.contains(expected), "{output}\n{log}");
    }
    let (status, _, log) = run_command(tollgate_on(&database, &["replay", "--tenant", "nobody"]));
    assert!(!status.success() && log.contains("there is no tenant nobody"), "{log}");
}

#[tokio::test]
async fn an_unknown_fold_version_is_not_replayed_with_the_current_one() {
    let database = TestDatabase::create().await;
    let mut decision = store_decision(&database, vec![(pass_result(), 5)]).await;
    decision.evidence.fold_version = FOLD_VERSION + 1;
    let (replay, _) = replay_decision(&database, &decision, vec![(pass_result(), 5)]).await;
    assert!(matches!(replay, Err(ReplayError::Storage(_))), "{replay:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_replays_all_decisions_and_lists_differences() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let limit = json!({"currency": "EUR", "review_above_minor": 1_000});
    caller.activate(&[("amount-limits", json!({"limits": [limit]})), ("account-check", json!({}))]).await;
    let mut last = Value::Null;
    for place in 0..3 {
        last = caller.pay(&format!("k{place}"), &payment()).await.1;
    }
    node.stop().await;

    let (status, output, log) = run_command(tollgate_on(&database, &["replay", "--since", "1h"]));
    assert!(status.success(), "{output}\n{log}");
    assert!(output.contains("3 decisions: 3 identical, 0 different"), "{output}\n{log}");

    let statement = "update decisions set outcome = 'approve' where id = $1::uuid";
    let id = last["id"].as_str().unwrap();
    sqlx::query(statement).bind(id).execute(&mut database.superuser().await).await.unwrap();
    let (status, output, log) = run_command(tollgate_on(&database, &["replay"]));
    assert_eq!(status.code(), Some(1), "{output}\n{log}");
    assert!(output.contains(&format!("{id} differs at /outcome")), "{output}\n{log}");
    assert!(output.contains("3 decisions: 2 identical, 1 different"), "{output}\n{log}");
}
