//! Erasure: the personal data of a payment is gone everywhere, and its decision still verifies.

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use tollgate::auth::scope::ScopeSet;
use tollgate::decisions::verify::verify;
use tollgate::domain::payment::PaymentId;
use tollgate::domain::tenant::Scope;
use tollgate::storage::erasures::{NewErasure, erase};
use uuid::Uuid;

use crate::retention::OldHistory;
use crate::support::database::TestDatabase;
use crate::support::decisions::now_ms;
use crate::support::program::{TEST_TIMEOUT, run_command, tollgate_on};
use crate::support::service::{Caller, Node, payment_with};
use crate::verify::{checkpoint_key, copy_data_dir, run_verify};

const ERASED: &str = "/problems/erased";
const NAME: &str = "Wilhelmina Quickenbusch";
const REFERENCE: &str = "reference-to-erase";
const NOTE: &str = "She called about it";

/// Two nodes, and a payment at the first one that asks for velocity and aggregates.
struct Scene {
    database: TestDatabase,
    folder: TempDir,
    nodes: [Node; 2],
    caller: Caller,
    id: String,
}

fn personal() -> Value {
    payment_with(&json!({
        "reference": REFERENCE, "customer": "customer-to-erase", "debtor": {"name": NAME},
        "metadata": {"order": "order-to-erase"}
    }))
}

impl Scene {
    async fn new() -> Self {
        let (database, folder) = (TestDatabase::create().await, copy_data_dir());
        let settings = [("data_dir", json!(folder.path()))];
        let nodes =
            [Node::start_with(&database, &settings).await, Node::start_with(&database, &settings).await];
        let caller = Caller::of_new_tenant(&nodes[0], "acme").await;
        let limit =
            json!({"selector": "customer", "window_seconds": 3_600, "max_count": 9, "verdict": "review"});
        let rules =
            [("velocity", json!({"limits": [limit]})), ("duplicate-payment", json!({"verdict": "review"}))];
        caller.activate(&rules).await;
        let (status, decided) = caller.pay("k-1", &personal()).await;
        assert_eq!(status, StatusCode::CREATED, "{decided}");
        let id = decided["id"].as_str().unwrap().to_owned();
        let event = json!({"kind": "fraud", "note": NOTE});
        assert_eq!(caller.post(&format!("/payments/{id}/events"), &event).await.0, StatusCode::CREATED);
        Self { database, folder, nodes, caller, id }
    }

    async fn erase(&self, caller: &Caller) -> (StatusCode, Value) {
        caller.post(&format!("/decisions/{}/erasure", self.id), &json!({"reason": "asked to"})).await
    }

    /// The tables in which any column has one of these texts, also within bytes.
    async fn tables_with(&self, texts: &[&str]) -> Vec<String> {
        let mut superuser = self.database.superuser().await;
        let tables: Vec<String> = sqlx::query_scalar(
            "select relname::text from pg_class
             where relnamespace = 'tollgate'::regnamespace and relkind in ('r', 'p') and not relispartition
             order by 1",
        )
        .fetch_all(&mut superuser)
        .await
        .unwrap();
        let mut found = Vec::new();
        for table in tables {
            let statement = format!(
                "select exists (select from {table} t, unnest($1::text[]) as text
                                where t::text like '%' || text || '%'
                                   or t::text like '%' || encode(convert_to(text, 'UTF8'), 'hex') || '%')"
            );
            let has: bool = sqlx::query_scalar(AssertSqlSafe(statement))
                .bind(texts)
                .fetch_one(&mut superuser)
                .await
                .unwrap();
            if has {
                found.push(table);
            }
        }
        found
    }

    async fn search_bytes(&self) -> i64 {
        sqlx::query_scalar("select coalesce(sum(length(entries)), 0)::bigint from search_chunks")
            .fetch_one(&mut self.database.superuser().await)
            .await
            .unwrap()
    }

    /// Whether an erased payment may still be in the segments of the search.
    async fn terms_left(&self) -> bool {
        sqlx::query_scalar("select exists (select from erasures where terms is not null)")
            .fetch_one(&mut self.database.superuser().await)
            .await
            .unwrap()
    }

    async fn run(&self, statements: &'static str) {
        sqlx::raw_sql(statements).execute(&mut self.database.superuser().await).await.unwrap();
    }

    async fn rows_of_payment(&self, table: &str) -> i64 {
        let statement = format!("select count(*) from {table} where payment_id = '{}'", self.id);
        sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_one(&mut self.database.superuser().await)
            .await
            .unwrap()
    }

    /// Whatever asks for the payment gets 410, at both nodes, and a retry never gets anything else.
    async fn assert_gone(&self) {
        let callers = [self.caller.clone(), self.caller.at(&self.nodes[1].url)];
        for caller in &callers {
            for path in ["", "/replay", "/rules/velocity/diagnosis"] {
                let (status, problem) = caller.get(&format!("/decisions/{}{path}", self.id)).await;
                assert_eq!(
                    (status, &problem["type"]),
                    (StatusCode::GONE, &json!(ERASED)),
                    "{path}: {problem}"
                );
            }
            let dry_run = json!({"revision": 1, "payment_id": self.id});
            let (status, problem) = caller.post("/rulesets/payment/dry-runs", &dry_run).await;
            assert_eq!((status, &problem["type"]), (StatusCode::GONE, &json!(ERASED)), "{problem}");
        }
        let order = personal();
        let retries = (0..12).map(|place| callers[place % 2].pay("k-1", &order));
        for (status, problem) in join_all(retries).await {
            assert_eq!((status, &problem["type"]), (StatusCode::GONE, &json!(ERASED)), "{problem}");
        }
    }

    /// The journal finds the key.
    async fn assert_gone_without_velocity(&self) {
        let callers = [self.caller.clone(), self.caller.at(&self.nodes[1].url)];
        let order = personal();
        let others = payment_with(&json!({"reference": "another"}));
        let retries = join_all((0..12).map(|place| callers[place % 2].pay("k-1", &order)));
        let payments: Vec<String> = (0..12).map(|place| format!("other-{place}")).collect();
        let others = join_all(payments.iter().map(|key| callers[0].pay(key, &others)));
        let (retries, others) = tokio::join!(retries, others);
        for (status, problem) in retries {
            assert_eq!((status, &problem["type"]), (StatusCode::GONE, &json!(ERASED)), "{problem}");
        }
        for (status, decided) in others {
            assert_eq!(status, StatusCode::CREATED, "{decided}");
        }
    }

    async fn stop(self) -> (TestDatabase, TempDir) {
        for node in self.nodes {
            node.stop().await;
        }
        (self.database, self.folder)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_payment_is_gone_everywhere_and_still_verifies() {
    let scene = Scene::new().await;
    let texts = [NAME, REFERENCE, NOTE, "customer-to-erase", "order-to-erase"];
    assert_eq!(scene.tables_with(&texts).await, ["decisions", "payment_events"]);
    let by_reference = format!("/payments?reference={REFERENCE}");
    assert_eq!(scene.caller.get(&by_reference).await.1["items"][0]["id"], json!(scene.id));
    let entries_before = scene.search_bytes().await;
    assert!(scene.rows_of_payment("aggregate_values").await > 0);
    // A report with the payment as an example.
    let limit = json!({"selector": "customer", "window_seconds": 3_600, "max_total_minor": 1, "currency": "EUR", "verdict": "reject"});
    let plugin = scene.caller.plugin("velocity").await;
    let rules = json!([{"name": "velocity", "plugin": plugin, "settings": {"limits": [limit]}}]);
    let (status, revision) =
        scene.caller.post("/rulesets/payment/revisions", &json!({ "rules": rules })).await;
    assert_eq!(status, StatusCode::CREATED, "{revision}");
    let report = crate::backtests::report(&scene.caller, &json!({"revision": revision["number"]})).await;
    assert_eq!(report["changed"], 1, "{report}");

    // The rows of series that were removed are left, and erased as well.
    scene.run("create table kept as select * from value_series; delete from value_series").await;
    let (status, first) = scene.erase(&scene.caller).await;
    assert_eq!((status, &first["reason"]), (StatusCode::OK, &json!("asked to")), "{first}");
    scene.run("insert into value_series select * from kept; drop table kept").await;
    let (status, again) = scene.erase(&scene.caller).await;
    assert_eq!((status, &again), (StatusCode::OK, &first));

    assert_eq!(scene.tables_with(&texts).await, Vec::<String>::new());
    for table in ["aggregate_values", "shadow_runs"] {
        assert_eq!(scene.rows_of_payment(table).await, 0, "{table}");
    }
    let examples: bool =
        sqlx::query_scalar("select exists (select from backtests where report::text like '%' || $1 || '%')")
            .bind(&scene.id)
            .fetch_one(&mut scene.database.superuser().await)
            .await
            .unwrap();
    assert!(!examples);
    let (status, left) = scene.caller.get(&format!("/payments/{}", scene.id)).await;
    assert_eq!((status, &left["erased_at_ms"]), (StatusCode::OK, &first["erased_at_ms"]), "{left}");
    assert_eq!(
        (&left["outcome"], &left["amount_minor"], &left["state"]),
        (&json!("approve"), &json!(2_500), &json!("fraud"))
    );
    assert!(
        left.get("payment").is_none() && left.get("reference").is_none() && left.get("reasons").is_none()
    );
    for (query, found) in [(by_reference.as_str(), 0), ("/payments?outcome=approve", 1)] {
        let (_, page) = scene.caller.get(query).await;
        assert_eq!(page["items"].as_array().unwrap().len(), found, "{query}: {page}");
    }
    let begun = std::time::Instant::now();
    while scene.terms_left().await {
        assert!(begun.elapsed() < TEST_TIMEOUT, "the segments still have what the payment was found by");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(scene.search_bytes().await < entries_before);
    assert_eq!(scene.caller.get("/payments?outcome=approve").await.1["items"][0]["id"], json!(scene.id));
    let (_, page) = scene.caller.get("/payments?idempotency_key=k-1").await;
    assert_eq!(page["items"][0]["id"], json!(scene.id), "{page}");
    scene.assert_gone().await;

    let (_, acts) = scene.caller.get("/audit?action=payment.erased").await;
    assert_eq!(acts["items"].as_array().unwrap().len(), 1, "{acts}");
    assert_eq!(acts["items"][0]["subject"], json!(scene.id));
    let report = crate::backtests::report(&scene.caller, &json!({"revision": 1})).await;
    assert_eq!(report["not_replayable"], json!({"erased": 1}), "{report}");
    let (database, folder) = scene.stop().await;
    let (well, output) = run_verify(&database, folder.path(), &[]);
    assert!(well && output.contains("1 decisions (1 erased)"), "{output}");
    let (_, output, _) = run_command(tollgate_on(&database, &["replay"]));
    assert!(output.contains("1 erased"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_erased_in_the_database_answers_the_same() {
    let scene = Scene::new().await;
    let by_hand = format!("update decisions set payload = null where id = '{}'", scene.id);
    sqlx::raw_sql(AssertSqlSafe(by_hand)).execute(&mut scene.database.superuser().await).await.unwrap();
    scene.assert_gone().await;
    let (status, left) = scene.caller.get(&format!("/payments/{}", scene.id)).await;
    assert_eq!((status, &left["erased_at_ms"]), (StatusCode::OK, &Value::Null), "{left}");
    // Erasing it properly afterwards takes the rest.
    assert_eq!(scene.erase(&scene.caller).await.0, StatusCode::OK);
    assert_eq!(scene.tables_with(&[REFERENCE, NOTE]).await, Vec::<String>::new());
    let (database, folder) = scene.stop().await;
    let (well, output) = run_verify(&database, folder.path(), &[]);
    assert!(well, "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_gone_when_no_rule_asks_for_facts() {
    let scene = Scene::new().await;
    scene.caller.activate(&[("account-check", json!({}))]).await;
    scene.erase(&scene.caller).await;
    scene.assert_gone_without_velocity().await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_own_tenant_with_the_scope_may_erase_and_must_say_why() {
    let scene = Scene::new().await;
    let other = Caller::of_new_tenant(&scene.nodes[0], "other").await;
    let (status, problem) = scene.erase(&other).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    let all_but: ScopeSet = Scope::ALL.into_iter().filter(|scope| *scope != Scope::PaymentsErase).collect();
    let without = Caller::of_tenant(&scene.nodes[0], "acme", all_but).await;
    assert_eq!(scene.erase(&without).await.0, StatusCode::FORBIDDEN);
    let path = format!("/decisions/{}/erasure", scene.id);
    for body in [json!({}), json!({"reason": ""}), json!({"reason": "x".repeat(501)})] {
        let (status, problem) = scene.caller.post(&path, &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], "/reason", "{problem}");
    }
    let arguments = |id: &str| ["erase", "--tenant", "acme", id, "--reason", "asked to"].map(str::to_owned);
    let command = |id: &str| {
        let arguments = arguments(id);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (status, output, log) = run_command(tollgate_on(&scene.database, &arguments));
        (status.success(), output + &log)
    };
    let unknown = Uuid::now_v7().to_string();
    let (well, output) = command(&unknown);
    assert!(!well && output.contains(&format!("the tenant has no payment {unknown}")), "{output}");
    let (well, output) = command(&scene.id);
    assert!(well && output.contains("is erased, since "), "{output}");
    scene.assert_gone().await;
    scene.stop().await;
}

/// The choices of a small generator, so that a failure can be repeated.
struct Choices(u64);

impl Choices {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[tokio::test]
async fn any_mix_of_retention_and_erasure_verifies_and_tampering_beside_it_is_found() {
    for seed in 1..=4 {
        let mut choices = Choices(seed);
        let history = OldHistory::new().await;
        history.keep(Some(1)).await;
        let (app, retention) = (history.database.databases().app, history.retention());
        for _ in 0..60 {
            if choices.below(3) > 0 {
                retention.step().await.unwrap();
                continue;
            }
            let ids: Vec<(Uuid, Uuid)> = sqlx::query_as("select tenant_id, id from decisions order by id")
                .fetch_all(&mut history.database.superuser().await)
                .await
                .unwrap();
            let (tenant, id) = ids[choices.below(ids.len())];
            let (payment, now_ms) = (PaymentId(id), now_ms());
            let new = NewErasure { payment, reason: "asked to".to_owned(), actor: "test".into(), now_ms };
            erase(&app, tollgate::domain::tenant::TenantId(tenant), new).await.unwrap();
            let counts = verify(&history.system(), &checkpoint_key(), &mut |_| {}).await.unwrap();
            assert_eq!(counts.findings, 0, "seed {seed}");
            assert!(counts.erased > 0);
        }
        let changes = [
            "delete from idempotency_keys where decision_id = (select max(id::text)::uuid from decisions)",
            "update decisions set amount_minor = amount_minor + 1 where id = (select max(id::text)::uuid from decisions)",
            "update decisions set payload_digest = sha256('x') where id = (select max(id::text)::uuid from decisions)",
            "delete from decisions where id = (select max(id::text)::uuid from decisions)",
        ];
        history.tamper(changes[choices.below(changes.len())].to_owned()).await;
        let counts = verify(&history.system(), &checkpoint_key(), &mut |_| {}).await.unwrap();
        assert!(counts.findings > 0, "seed {seed}");
    }
}
