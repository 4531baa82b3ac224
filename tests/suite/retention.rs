//! Retention: decisions that are older than a tenant keeps are removed, and verification knows them.

use std::path::Path;
use std::sync::Arc;

use reqwest::StatusCode;
use serde_json::json;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use tollgate::decisions::checkpoints::Checkpoints;
use tollgate::decisions::retention::Retention;
use tollgate::decisions::verify::verify;
use tollgate::domain::decision::Decision;
use tollgate::domain::payment::{Payment, PaymentId};
use tollgate::domain::retention::RetentionMonths;
use tollgate::domain::selector::Selector;
use tollgate::domain::series::{AskedSeries, Series};
use tollgate::domain::tenant::{ClientId, TenantId};
use tollgate::domain::time::{Month, Randomness};
use tollgate::domain::verdict::Outcome;
use tollgate::storage::journal::Journal;
use tollgate::storage::pool::SystemPool;
use tollgate::storage::reference::ReferenceMemory;
use tollgate::storage::series::{self, Backfill, Rolling};
use tollgate::storage::{partitions, tenants};
use tollgate::world::OsRandomness;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, journal, now_ms, order};
use crate::support::program::{run_command, tollgate_on};
use crate::support::service::{Caller, Node, payment};
use crate::verify::{checkpoint_key, run_verify};

const DAY_MS: u64 = 86_400_000;

/// A decision with the time of its id.
pub fn decision_of(tenant: TenantId, key: &str, at_ms: u64) -> Decision {
    let order = order("c-1", 1_000, "EUR");
    let mut decision = decision_on(tenant, key, Outcome::Review, at_ms, order.clone());
    let id = PaymentId(OsRandomness.uuid_v7(at_ms));
    decision.evidence.payment = Arc::new(Payment { id, received_at_ms: at_ms, order });
    decision.evidence.reasons = decision.evidence.fold().reasons;
    decision
}

/// Two tenants with decisions of the same times, one of which keeps a month.
pub struct OldHistory {
    pub database: TestDatabase,
    pub journal: Journal,
    pub limited: TenantId,
    pub unlimited: TenantId,
    pub folder: TempDir,
}

impl OldHistory {
    pub async fn new() -> Self {
        let database = TestDatabase::create().await;
        let databases = database.databases();
        let [limited, unlimited] = [1, 2].map(|_| TenantId(Uuid::now_v7()));
        for (tenant, name) in [(limited, "limited"), (unlimited, "unlimited")] {
            tenants::create_tenant(&databases.system, tenant, name, now_ms(), "test").await.unwrap();
            let by_customer =
                Series { selectors: vec![Selector::Customer], conversion: None, distinct: None };
            let asked = AskedSeries { series: by_customer, by_day: true };
            series::declare(&databases.app, tenant, &[asked], now_ms()).await.unwrap();
        }
        let journal = journal(databases.journal).await;
        let folder = tempfile::tempdir().unwrap();
        let history = Self { database, journal, limited, unlimited, folder };
        for days in [100, 100, 100, 70, 0, 0] {
            history.decide(limited, days).await;
            history.decide(unlimited, days).await;
        }
        history
    }

    /// Stores a decision of so many days ago, and returns its id.
    pub async fn decide(&self, tenant: TenantId, days: u64) -> Uuid {
        let at_ms = now_ms() - days * DAY_MS;
        let system = self.database.databases().system;
        partitions::ensure_month(&system, Month::of(at_ms)).await.unwrap();
        let decision = decision_of(tenant, &format!("key-{}", Uuid::now_v7()), at_ms);
        let id = decision.id().0;
        self.journal.store(decision).await.unwrap();
        id
    }

    pub fn system(&self) -> SystemPool {
        self.database.databases().system
    }

    pub async fn keep(&self, months: Option<u16>) {
        let retention = months.and_then(RetentionMonths::new);
        tenants::set_retention(&self.system(), self.limited, retention, "test".into(), now_ms())
            .await
            .unwrap();
    }

    async fn roll_up(&self) {
        let system = self.system();
        let memory = ReferenceMemory::new(&self.database.databases(), 1 << 20).into();
        while series::fill_in(&system, &memory, now_ms()).await.unwrap() == Backfill::Page {}
        series::seal_days(&system, now_ms()).await.unwrap();
        while series::roll_up(&system, 1_000).await.unwrap() == Rolling::Page {}
    }

    pub fn retention(&self) -> Retention {
        retention(&self.database, &self.journal, self.folder.path())
    }

    pub async fn remove_all(&self) {
        let retention = self.retention();
        while retention.step().await.unwrap() {}
    }

    pub async fn tamper(&self, statement: String) {
        let mut superuser = self.database.superuser().await;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut superuser).await.unwrap();
    }

    async fn count(&self, table: &str, tenant: TenantId) -> i64 {
        let statement = format!("select count(*) from {table} where tenant_id = '{tenant}'");
        let mut superuser = self.database.superuser().await;
        sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut superuser).await.unwrap()
    }

    /// Asserts that verification reports exactly these findings.
    pub fn assert_findings(&self, expected: &[&str]) {
        let (well, output) = run_verify(&self.database, self.folder.path(), &[]);
        let findings: Vec<&str> = output.lines().filter(|line| line.contains("- ")).collect();
        assert_eq!(findings.len(), expected.len(), "{output}");
        for (finding, expected) in findings.iter().zip(expected) {
            assert!(finding.contains(expected), "{output}");
        }
        assert_eq!(well, expected.is_empty(), "{output}");
    }
}

fn retention(database: &TestDatabase, journal: &Journal, folder: &Path) -> Retention {
    let checkpoints = Checkpoints::open(folder, Arc::new(journal.clone()), checkpoint_key()).unwrap();
    Retention::new(database.databases().system, Arc::new(checkpoints), tollgate::world::system(), "test")
}

#[tokio::test]
async fn a_history_verifies_after_each_step_of_a_removal_and_only_old_decisions_go() {
    let history = OldHistory::new().await;
    let old = history.decide(history.limited, 70).await;
    history
        .tamper(format!(
            "insert into payment_events values ('{}', '{old}', gen_random_uuid(), 'fraud', 0, 0, 'a', 'n')",
            history.limited
        ))
        .await;
    history.roll_up().await;
    assert!(history.count("aggregate_days", history.limited).await > 0);
    let tables = ["decisions", "idempotency_keys", "aggregate_values", "aggregate_days"];
    let mut before = Vec::new();
    for table in tables {
        before.push(history.count(table, history.unlimited).await);
    }
    history.keep(Some(1)).await;
    // A new value of `retention` for each step, as if the node before had died after it.
    let mut steps = 0;
    while history.retention().step().await.unwrap() {
        steps += 1;
        let counts = verify(&history.system(), &checkpoint_key(), &mut |_| {}).await.unwrap();
        assert_eq!(counts.findings, 0, "after step {steps}");
    }
    let counts = verify(&history.system(), &checkpoint_key(), &mut |_| {}).await.unwrap();
    assert_eq!((counts.decisions, counts.removed, counts.removals), (8, 5, 2));

    assert_eq!(history.count("decisions", history.limited).await, 2);
    assert_eq!(history.count("idempotency_keys", history.limited).await, 2);
    assert_eq!(history.count("aggregate_values", history.limited).await, 2);
    assert_eq!(history.count("aggregate_days", history.limited).await, 0);
    assert_eq!(history.count("payment_events", history.limited).await, 0);
    for (table, before) in tables.into_iter().zip(before) {
        assert_eq!(history.count(table, history.unlimited).await, before, "{table}");
    }
    let acts: Vec<(String, String)> = sqlx::query_as(
        "select actor, after->>'decisions' from audit_events where action = 'decisions.removed' order by sequence",
    )
    .fetch_all(&mut history.database.superuser().await)
    .await
    .unwrap();
    let actor = "retention on node test".to_owned();
    assert_eq!(acts, [(actor.clone(), "3".to_owned()), (actor, "2".to_owned())]);
    let (well, output) = run_verify(&history.database, history.folder.path(), &[]);
    assert!(
        well && output.contains("5 decisions were removed by retention, as 2 signed records say."),
        "{output}"
    );
}

#[tokio::test]
async fn nothing_is_removed_until_all_batches_name_their_decisions() {
    let history = OldHistory::new().await;
    history.keep(Some(1)).await;
    history.tamper("update batch_ids_progress set is_complete = false".to_owned()).await;
    assert!(!history.retention().step().await.unwrap());
    history.tamper("update batch_ids_progress set is_complete = true".to_owned()).await;
    assert!(history.retention().step().await.unwrap());
}

#[tokio::test]
async fn a_month_that_is_imported_again_is_removed_again() {
    let history = OldHistory::new().await;
    history.keep(Some(1)).await;
    history.remove_all().await;
    history.decide(history.limited, 100).await;
    history.remove_all().await;
    let counts = verify(&history.system(), &checkpoint_key(), &mut |_| {}).await.unwrap();
    assert_eq!((counts.findings, counts.removed, counts.removals), (0, 5, 3));
}

#[tokio::test]
async fn empty_partitions_of_past_months_are_dropped_and_others_stay() {
    let history = OldHistory::new().await;
    let lonely = history.decide(history.limited, 400).await;
    let partition = format!("decisions_{}", month_of(lonely).to_string().replace('-', "_"));
    let shared = format!("decisions_{}", Month::of(now_ms() - 100 * DAY_MS).to_string().replace('-', "_"));
    history.keep(Some(1)).await;
    history.remove_all().await;
    partitions::drop_empty(&history.system()).await.unwrap();
    let exists = async |name: &str| -> bool {
        sqlx::query_scalar("select to_regclass('tollgate.' || $1) is not null")
            .bind(name)
            .fetch_one(&mut history.database.superuser().await)
            .await
            .unwrap()
    };
    assert!(!exists(&partition).await && !exists(&partition.replace("decisions", "aggregate_values")).await);
    assert!(exists(&shared).await);
    history.assert_findings(&[]);
}

fn month_of(id: Uuid) -> Month {
    Month::of(id.as_u64_pair().0 >> 16)
}

#[tokio::test]
async fn what_is_gone_without_a_record_is_found_beside_what_was_removed() {
    let history = OldHistory::new().await;
    history.keep(Some(1)).await;
    history.remove_all().await;
    history.assert_findings(&[]);
    let gone = format!(
        "with gone as (delete from decisions where tenant_id = '{}' and id = (select max(id::text)::uuid from decisions
                       where tenant_id = '{0}') returning id)
         delete from idempotency_keys where decision_id in (select id from gone)",
        history.unlimited
    );
    history.tamper(gone).await;
    history.assert_findings(&["decision removed: position 0 is empty"]);
    // The batch names a decision that was removed with a record, in place of the one that is gone.
    history
        .tamper(
            "update journal_batches b
             set decision_ids = (select uuid_send(tenant_id) || substring(entries for 16) from removal_chunks limit 1)
             where not exists (select from decisions d
                               where uuid_send(d.tenant_id) || uuid_send(d.id) = b.decision_ids)
               and not exists (select from removal_chunks c
                               where position(substring(b.decision_ids from 17) in c.entries) > 0)"
                .to_owned(),
        )
        .await;
    history.assert_findings(&["decision removed: position 0 is empty"]);
}

#[tokio::test]
async fn a_record_that_was_changed_or_deleted_excuses_nothing() {
    for (change, findings) in [
        ("update removals set decisions = decisions + 1", &["was changed or forged"; 6][..]),
        ("update removals set kid = 'x'", &["was changed or forged"; 6][..]),
        ("update removal_chunks set entries = entries || entries", &["was changed or forged"; 6][..]),
        ("delete from removal_chunks; delete from removals", &["is not as signed in"; 2][..]),
    ] {
        let history = OldHistory::new().await;
        history.keep(Some(1)).await;
        history.remove_all().await;
        history.tamper(change.to_owned()).await;
        let (well, output) = run_verify(&history.database, history.folder.path(), &[]);
        let empty = output.matches("decision removed: position 0 is empty").count();
        assert!(!well && empty == 4, "{change}: {output}");
        assert!(output.matches(findings[0]).count() >= 2, "{change}: {output}");
    }
}

#[tokio::test]
async fn nothing_is_removed_that_no_signed_record_names() {
    let history = OldHistory::new().await;
    let month = Month::of(now_ms());
    let system = history.system();
    let arguments = format!("'{}', '{month}-01', 1", history.limited);
    let refused = sqlx::query(AssertSqlSafe(format!("select remove_values({arguments}, 20000)")))
        .execute(system.sqlx_pool())
        .await;
    assert!(refused.unwrap_err().to_string().contains("nothing is being removed"));
    let removed: bool = sqlx::query_scalar(AssertSqlSafe(format!("select remove_decisions({arguments})")))
        .fetch_one(system.sqlx_pool())
        .await
        .unwrap();
    assert!(!removed);
    let dropped =
        sqlx::query(AssertSqlSafe(format!("select drop_empty_partition('decisions', '{month}-01')")))
            .execute(system.sqlx_pool())
            .await;
    assert!(dropped.unwrap_err().to_string().contains("must stay"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_a_removed_payment_is_a_new_payment() {
    let (database, folder) = (TestDatabase::create().await, crate::verify::copy_data_dir());
    let node = Node::start_with(&database, &[("data_dir", json!(folder.path()))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let tenant: Uuid = sqlx::query_scalar("select id from tenants where name = 'acme'")
        .fetch_one(&mut database.superuser().await)
        .await
        .unwrap();
    let journal = journal(database.databases().journal).await;
    let mut old = decision_of(TenantId(tenant), "k-old", now_ms() - 100 * DAY_MS);
    old.client = ClientId(caller.client_id.parse().unwrap());
    let path = format!("/payments/{}", old.id());
    journal.store(old).await.unwrap();
    assert_eq!(caller.get(&path).await.0, StatusCode::OK);
    assert_eq!(caller.pay("k-old", &payment()).await.0, StatusCode::UNPROCESSABLE_ENTITY);

    let retention_command = |arguments: &[&str]| {
        let arguments = [&["tenant", "retention", "--tenant", "acme"], arguments].concat();
        let (status, output, log) = run_command(tollgate_on(&database, &arguments));
        (status.success(), output + &log)
    };
    for wrong in ["0", "1201", "x"] {
        let (well, output) = retention_command(&[wrong]);
        assert!(!well && output.contains("expected a number of months from 1 to 1200, or all"), "{output}");
    }
    assert!(retention_command(&[]).1.contains("All decisions of acme are kept."));
    assert!(retention_command(&["1"]).1.contains("are kept for 1 month, and the current month."));
    assert!(retention_command(&[]).1.contains("are kept for 1 month"));
    let remover = retention(&database, &journal, folder.path());
    while remover.step().await.unwrap() {}

    assert_eq!(caller.get(&path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(caller.pay("k-old", &payment()).await.0, StatusCode::CREATED);
    let (_, acts) = caller.get("/audit?action=retention.changed").await;
    assert_eq!(acts["items"][0]["after"], json!({"months": 1}), "{acts}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_longer_than_the_retention_is_refused_with_its_setting() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let rule = async |hours: u64| {
        let limit = json!({"selector": "customer", "window_seconds": hours * 3_600, "max_count": 3,
                           "verdict": "review"});
        let plugin = caller.plugin("velocity").await;
        let rules = json!([{"name": "velocity", "plugin": plugin, "settings": {"limits": [limit]}}]);
        caller.post("/rulesets/payment/revisions", &json!({ "rules": rules })).await
    };
    let (status, response) = rule(700).await;
    assert_eq!(status, StatusCode::CREATED, "{response}");
    let arguments = ["tenant", "retention", "--tenant", "acme", "1"];
    let (status, output, log) = run_command(tollgate_on(&database, &arguments));
    assert!(status.success(), "{output}{log}");
    assert_eq!(rule(672).await.0, StatusCode::CREATED);
    let (status, problem) = rule(673).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "/rules/0/settings/limits/0/selector");
    let detail = "the window is longer than payments are kept: this tenant keeps decisions for 1 month, which \
                  are 28 days or more";
    assert_eq!(problem["errors"][0]["detail"], detail);
    node.stop().await;
}
