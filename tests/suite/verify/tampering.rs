//! One case of tampering per test. Each finding names the writer, batch and decision.

use futures::future::join_all;
use sqlx::{AssertSqlSafe, PgConnection};
use tempfile::TempDir;
use tollgate::decisions::verify::verify;
use tollgate::domain::decision::{Decision, Origin};
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::Outcome;
use tollgate::storage::journal::{Journal, StoreOutcome};
use uuid::Uuid;

use super::{checkpoint_key, run_verify};
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, journal_settings, now_ms, order};

const BATCHES: usize = 3;
const IN_A_BATCH: usize = 4;

/// Two writers with three batches of four decisions of three tenants.
pub struct StoredChains {
    pub database: TestDatabase,
    pub journals: [Journal; 2],
    superuser: PgConnection,
    folder: TempDir,
}

impl StoredChains {
    pub async fn new() -> Self {
        let database = TestDatabase::create().await;
        let journals = [one_writer(&database).await, one_writer(&database).await];
        let tenants = [1, 2, 3].map(|_| TenantId(Uuid::now_v7()));
        for (place, journal) in journals.iter().enumerate() {
            for batch in 0..BATCHES {
                let decisions = (0..IN_A_BATCH).map(|n| {
                    let key = format!("key-{place}-{batch}-{n}");
                    journal.store(decision(tenants[n % 3], &key))
                });
                for stored in join_all(decisions).await {
                    assert!(matches!(stored, Ok(StoreOutcome::First(_))), "{stored:?}");
                }
            }
        }
        let superuser = database.superuser().await;
        Self { database, journals, superuser, folder: tempfile::tempdir().unwrap() }
    }

    /// The first writer's decision at this position.
    pub async fn at(&mut self, sequence: i64, position: i32) -> DecisionPosition {
        let (writer, id) = sqlx::query_as(
            "select writer_id, id from decisions
             where batch_sequence = $1 and batch_position = $2
               and writer_id = (select min(id::text)::uuid from journal_writers)",
        )
        .bind(sequence)
        .bind(position)
        .fetch_one(&mut self.superuser)
        .await
        .unwrap();
        DecisionPosition { writer, sequence, id }
    }

    pub async fn tamper(&mut self, statement: String) {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.superuser).await.unwrap();
    }

    /// Asserts that exactly these findings are reported, and the exit status.
    pub fn assert_findings(&self, expected: &[String]) {
        let (well, output) = run_verify(&self.database, self.folder.path(), &[]);
        let findings: Vec<&str> = output.lines().filter(|line| line.contains(" - ")).collect();
        assert_eq!(findings, expected, "{output}");
        assert!(output.contains(&format!(": {} findings", expected.len())), "{output}");
        assert_eq!(well, expected.is_empty(), "{output}");
    }
}

pub struct DecisionPosition {
    pub writer: Uuid,
    pub sequence: i64,
    pub id: Uuid,
}

impl DecisionPosition {
    fn batch(&self, flaw: &str) -> String {
        format!("writer {} batch {} - {flaw}", self.writer, self.sequence)
    }

    fn decision(&self, flaw: &str) -> String {
        format!("writer {} batch {} decision {} - {flaw}", self.writer, self.sequence, self.id)
    }
}

/// A decision as it is made without an active ruleset.
fn decision(tenant: TenantId, key: &str) -> Decision {
    let mut decision = decision_on(tenant, key, Outcome::Review, now_ms(), order("c-1", 1_000, "EUR"));
    decision.evidence.reasons = decision.evidence.fold().reasons;
    decision
}

async fn one_writer(database: &TestDatabase) -> Journal {
    let mut settings = journal_settings(database.databases().journal);
    settings.writers = 1;
    Journal::start(settings).await.unwrap().0
}

#[tokio::test]
async fn a_changed_column_is_detected_and_named() {
    let mut history = StoredChains::new().await;
    history.assert_findings(&[]);
    let place = history.at(2, 1).await;
    history.tamper(format!("update decisions set outcome = 'approve' where id = '{}'", place.id)).await;
    history.assert_findings(&[
        place.decision("changed: its columns do not match the digest in its batch"),
        place.decision("the column outcome does not match the payload"),
    ]);
}

#[tokio::test]
async fn a_column_without_a_digest_is_compared_with_the_payload() {
    let mut history = StoredChains::new().await;
    let place = history.at(1, 0).await;
    history.tamper(format!("update decisions set reference = 'other' where id = '{}'", place.id)).await;
    history.assert_findings(&[place.decision("the column reference does not match the payload")]);
}

#[tokio::test]
async fn a_changed_byte_of_a_payload_is_detected() {
    let mut history = StoredChains::new().await;
    let place = history.at(3, 2).await;
    let changed = "set_byte(payload, 40, get_byte(payload, 40) # 1)";
    history.tamper(format!("update decisions set payload = {changed} where id = '{}'", place.id)).await;
    history.assert_findings(&[place.decision("payload changed: it does not match its digest")]);
}

#[tokio::test]
async fn an_erased_row_verifies_but_a_partly_erased_one_does_not() {
    let mut history = StoredChains::new().await;
    let (erased, half) = (history.at(1, 1).await, history.at(1, 2).await);
    let gone = "payload = null, payload_salt = null, reference = null";
    history.tamper(format!("update decisions set {gone} where id = '{}'", erased.id)).await;
    history.assert_findings(&[]);
    history.tamper(format!("update decisions set payload = null where id = '{}'", half.id)).await;
    history
        .assert_findings(&[half.decision("partially erased: some of payload, salt and reference are left")]);
    // Data that erasure keeps is still covered by the chain.
    history
        .tamper(format!(
            "update decisions set payload_salt = null, reference = null where id = '{}'",
            half.id
        ))
        .await;
    history.tamper(format!("update decisions set amount_minor = 1 where id = '{}'", erased.id)).await;
    history.assert_findings(&[erased.decision("changed: its columns do not match the digest in its batch")]);
}

#[tokio::test]
async fn a_removed_decision_is_detected_by_its_key() {
    let mut history = StoredChains::new().await;
    let place = history.at(2, 3).await;
    history.tamper(format!("delete from decisions where id = '{}'", place.id)).await;
    let key = format!(
        "decision {} - the key \"key-0-1-2\" of client {} refers to this decision, which does not exist",
        place.id,
        Uuid::from_u128(7)
    );
    history.assert_findings(&[place.batch("decision removed: position 3 is empty"), key]);
    history.tamper(format!("delete from idempotency_keys where decision_id = '{}'", place.id)).await;
    history.assert_findings(&[place.batch("decision removed: position 3 is empty")]);
}

#[tokio::test]
async fn two_decisions_that_exchanged_their_positions_are_detected_within_a_batch_and_across_batches() {
    let mut history = StoredChains::new().await;
    let (one, other) = (history.at(1, 0).await, history.at(1, 2).await);
    let swap = format!(
        "update decisions set batch_position = 2 - batch_position where id in ('{}', '{}')",
        one.id, other.id
    );
    history.tamper(swap.clone()).await;
    let taken =
        |position| format!("inserted or moved: another decision is at position {position} of its batch");
    history.assert_findings(&[one.decision(&taken(2)), other.decision(&taken(0))]);
    history.tamper(swap).await;
    let (one, other) = (history.at(1, 0).await, history.at(2, 0).await);
    history
        .tamper(format!(
            "update decisions set batch_sequence = 3 - batch_sequence where id in ('{}', '{}')",
            one.id, other.id
        ))
        .await;
    let (in_one, in_other) =
        (DecisionPosition { id: other.id, ..one }, DecisionPosition { id: one.id, ..other });
    history.assert_findings(&[in_other.decision(&taken(0)), in_one.decision(&taken(0))]);
}

/// The list of a batch, with its entries in this order.
fn with_ids_of(place: &DecisionPosition, positions: &[usize]) -> String {
    let entries: Vec<String> = positions
        .iter()
        .map(|position| format!("substring(decision_ids from {} for 32)", position * 32 + 1))
        .collect();
    format!(
        "update journal_batches set decision_ids = {} where writer_id = '{}' and sequence = {}",
        entries.join(" || "),
        place.writer,
        place.sequence
    )
}

#[tokio::test]
async fn ids_of_a_batch_that_do_not_fit_its_digests_are_detected() {
    let mut history = StoredChains::new().await;
    let (one, other) = (history.at(1, 0).await, history.at(1, 2).await);
    let taken =
        |position| format!("inserted or moved: another decision is at position {position} of its batch");
    history.tamper(with_ids_of(&one, &[2, 1, 0, 3])).await;
    history.assert_findings(&[
        other.decision("swapped: it is at position 0 but belongs at 2"),
        one.decision("swapped: it is at position 2 but belongs at 0"),
        one.decision(&taken(0)),
        other.decision(&taken(2)),
    ]);
    // One is named twice, and the other not at all.
    history.tamper(with_ids_of(&one, &[2, 1, 2, 3])).await;
    history.assert_findings(&[
        one.decision("swapped: it is at position 2 but belongs at 0"),
        other.decision(&taken(2)),
    ]);
    history.tamper(with_ids_of(&one, &[2, 1])).await;
    let (_, output) = run_verify(&history.database, history.folder.path(), &[]);
    let expected = one.batch("the batch does not name as many decisions as it has digests");
    assert!(output.contains(&expected), "{output}");
}

#[tokio::test]
async fn a_batch_that_names_a_decision_of_another_batch_is_detected() {
    let mut history = StoredChains::new().await;
    let (own, foreign) = (history.at(1, 3).await, history.at(2, 3).await);
    let ids = |sequence: i64| {
        format!(
            "(select decision_ids from journal_batches where writer_id = '{}' and sequence = {sequence})",
            own.writer
        )
    };
    history
        .tamper(format!(
            "update journal_batches set decision_ids = substring(decision_ids for 96) || substring({} from 97)
             where writer_id = '{}' and sequence = 1",
            ids(2),
            own.writer
        ))
        .await;
    let named = DecisionPosition { id: foreign.id, ..own };
    let stray = "inserted or moved: another decision is at position 3 of its batch";
    history.assert_findings(&[
        named.decision("swapped or inserted: its batch has another decision at position 3"),
        own.decision(stray),
    ]);
}

#[tokio::test]
async fn a_writer_that_was_never_registered_is_detected() {
    let mut history = StoredChains::new().await;
    let place = history.at(1, 0).await;
    history.tamper(format!("delete from journal_writers where id = '{}'", place.writer)).await;
    history.assert_findings(&[format!(
        "writer {} - unregistered writer: it has batches but was never registered",
        place.writer
    )]);
}

#[tokio::test]
async fn a_removed_batch_is_detected_with_and_without_its_decisions() {
    let mut history = StoredChains::new().await;
    let place = history.at(2, 0).await;
    let mut missing = vec![place.batch("batches removed: 2 to 2 are missing")];
    history
        .tamper(format!("delete from journal_batches where writer_id = '{}' and sequence = 2", place.writer))
        .await;
    let mut found = missing.clone();
    for position in 0..4 {
        let stray = history.at(2, position).await;
        found.push(stray.decision("inserted, or its batch removed: the batch does not exist"));
    }
    history.assert_findings(&found);
    history
        .tamper(format!(
            "with gone as (delete from decisions where writer_id = '{}' and batch_sequence = 2 returning id)
             delete from idempotency_keys where decision_id in (select id from gone)",
            place.writer
        ))
        .await;
    history.assert_findings(&missing);
    // The batches before and after the gap are linked to each other.
    history
        .tamper(format!(
            "update journal_batches set sequence = 2 where writer_id = '{0}' and sequence = 3;
             update decisions set batch_sequence = 2 where writer_id = '{0}' and batch_sequence = 3",
            place.writer
        ))
        .await;
    missing = vec![
        place.batch("the batch does not link to batch 1: one of the two was changed"),
        place.batch("the batch was changed: its hash does not match its fields"),
    ];
    history.assert_findings(&missing);
}

#[tokio::test]
async fn inserted_decisions_are_detected_everywhere() {
    let mut history = StoredChains::new().await;
    let place = history.at(3, 0).await;
    let copy = |id: Uuid, sequence: i64, position: i32| {
        format!(
            "with new as (
                 insert into decisions
                 select tenant_id, '{id}', client_id, '{id}', request_hash, origin, outcome, received_at_ms, revision,
                        null, amount_minor, currency, method, payload_version, null, null, payload_digest,
                        digest, writer_id, {sequence}, {position}
                 from decisions where id = '{}' returning *)
             insert into idempotency_keys
             select tenant_id, client_id, idempotency_key, request_hash, id, 0 from new",
            place.id
        )
    };
    // In the order of their ids.
    let places = [(1, 4), (3, 0), (9, 0)].map(|(sequence, position)| (Uuid::now_v7(), sequence, position));
    for (id, sequence, position) in places {
        history.tamper(copy(id, sequence, position)).await;
    }
    let flaws = [
        "inserted: its batch has no position 4",
        "inserted or moved: another decision is at position 0 of its batch",
        "inserted, or its batch removed: the batch does not exist",
    ];
    let expected: Vec<String> = places
        .into_iter()
        .zip(flaws)
        .map(|((id, sequence, _), flaw)| {
            DecisionPosition { writer: place.writer, sequence, id }.decision(flaw)
        })
        .collect();
    history.assert_findings(&expected);
    // A writer that never existed.
    let stranger = Uuid::from_u128(5);
    history
        .tamper(format!("update decisions set writer_id = '{stranger}' where id = '{}'", places[2].0))
        .await;
    let stray = DecisionPosition { writer: stranger, sequence: 9, id: places[2].0 };
    history.assert_findings(&[expected[0].clone(), expected[1].clone(), stray.decision(flaws[2])]);
}

#[tokio::test]
async fn a_redirected_removed_or_changed_key_is_detected() {
    let mut history = StoredChains::new().await;
    // Both decisions are of one tenant. With the decision of another tenant, the key would be
    // reported as missing.
    let (one, other) = (history.at(1, 0).await, history.at(1, 1).await);
    history
        .tamper(format!(
            "update idempotency_keys set decision_id = '{}' where decision_id = '{}'",
            other.id, one.id
        ))
        .await;
    let (_, output) = run_verify(&history.database, history.folder.path(), &[]);
    assert!(
        output.contains(&one.decision(&format!("its key was redirected: it now refers to {}", other.id))),
        "{output}"
    );
    assert!(output.contains(&format!("decision {} - the key \"key-", other.id)), "{output}");
    assert!(
        output.contains("refers to this decision, which belongs to another key")
            && output.contains(": 2 findings"),
        "{output}"
    );

    let mut history = StoredChains::new().await;
    let (removed, changed) = (history.at(1, 1).await, history.at(1, 2).await);
    history.tamper(format!("delete from idempotency_keys where decision_id = '{}'", removed.id)).await;
    history.assert_findings(&[removed.decision("its key was removed")]);
    history
        .tamper(format!(
            "update idempotency_keys set request_hash = 'x' where decision_id = '{}'",
            changed.id
        ))
        .await;
    let (_, output) = run_verify(&history.database, history.folder.path(), &[]);
    assert!(output.contains(&changed.decision("its key has a different request hash")), "{output}");
}

#[tokio::test]
async fn an_imported_decision_verifies_with_its_original_outcome() {
    let history = StoredChains::new().await;
    let mut imported = decision(TenantId(Uuid::now_v7()), "imported");
    (imported.origin, imported.outcome) = (Origin::Import, Outcome::Approve);
    imported.evidence.reasons = vec![];
    assert!(matches!(history.journals[0].store(imported).await, Ok(StoreOutcome::First(_))));
    history.assert_findings(&[]);
}

#[tokio::test]
async fn changes_of_all_columns_except_times_and_the_series_of_batches_are_detected() {
    let mut history = StoredChains::new().await;
    let system = history.database.databases().system;
    let mut unnoticed = Vec::new();
    for table in ["decisions", "idempotency_keys", "journal_batches"] {
        let columns: Vec<(String, String)> = sqlx::query_as(
            "select column_name::text, data_type::text from information_schema.columns
             where table_schema = 'tollgate' and table_name = $1 and is_generated = 'NEVER'
             order by ordinal_position",
        )
        .bind(table)
        .fetch_all(&mut history.superuser)
        .await
        .unwrap();
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(", ");
        history.tamper(format!("create table kept as select {names} from {table}")).await;
        for (column, kind) in &columns {
            let other = match (column.as_str(), kind.as_str()) {
                ("outcome", _) => "'reject'".to_owned(),
                (_, "uuid") => "gen_random_uuid()".to_owned(),
                (_, "text") => format!("{column} || 'x'"),
                (_, "bytea") => format!("set_byte({column}, 3, 255 - get_byte({column}, 3))"),
                _ => format!("coalesce({column}, 0) + 1"),
            };
            history
                .tamper(format!(
                    "create table changed as select * from kept;
                     update changed set {column} = {other} where ctid = (select max(ctid) from changed);
                     truncate {table}; insert into {table} ({names}) select * from changed; drop table changed"
                ))
                .await;
            let counts = verify(&system, &checkpoint_key(), &mut |_| {}).await.unwrap();
            if counts.findings == 0 {
                unnoticed.push(format!("{table}.{column}"));
            }
        }
        history
            .tamper(format!(
                "truncate {table}; insert into {table} ({names}) select * from kept; drop table kept"
            ))
            .await;
    }
    history.assert_findings(&[]);
    assert_eq!(
        unnoticed,
        [
            "idempotency_keys.created_at_ms",
            "journal_batches.committed_at_ms",
            "journal_batches.series_sequence"
        ]
    );
}
