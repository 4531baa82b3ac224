//! Batches of an earlier release, which do not name their decisions.

use serde_json::json;
use sqlx::AssertSqlSafe;
use tollgate::storage::batch_ids::{BatchIds, fill_in};

use super::tampering::StoredChains;
use super::{copy_data_dir, run_verify};
use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, payment};

/// What the migration finds in a database that has decisions.
const AS_BEFORE: &str = "
    alter table journal_batches drop constraint journal_batches_have_ids;
    create index decisions_by_position on decisions (writer_id, batch_sequence, batch_position);
    update journal_batches set decision_ids = null;
    update batch_ids_progress set are_required = false, is_complete = false,
        writer_id = '00000000-0000-0000-0000-000000000000', sequence = 0";

async fn one<T>(database: &TestDatabase, statement: &'static str) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut database.superuser().await).await.unwrap()
}

async fn has_index(database: &TestDatabase) -> bool {
    one(database, "select to_regclass('tollgate.decisions_by_position') is not null").await
}

async fn without_ids(database: &TestDatabase) -> i64 {
    one(database, "select count(*) from journal_batches where decision_ids is null").await
}

#[tokio::test]
async fn a_new_database_has_no_index_by_position() {
    let database = TestDatabase::create().await;
    assert!(!has_index(&database).await);
    let system = database.databases().system;
    assert_eq!(fill_in(&system, true).await.unwrap(), BatchIds::NothingToDo);
}

#[tokio::test]
async fn batches_get_their_ids_and_only_then_is_the_index_dropped() {
    let mut history = StoredChains::new().await;
    let ids = "select string_agg(encode(decision_ids, 'hex'), ' ' order by writer_id, sequence) from journal_batches";
    let before: String = one(&history.database, ids).await;
    history.tamper(AS_BEFORE.to_owned()).await;
    history.assert_findings(&[]);
    let system = history.database.databases().system;
    // A node that writes for nodes of the release before goes no further.
    for expected in [BatchIds::Page { filled: 6 }, BatchIds::NotYetRequired, BatchIds::Page { filled: 0 }] {
        assert_eq!(fill_in(&system, false).await.unwrap(), expected);
    }
    assert_eq!(one::<String>(&history.database, ids).await, before);
    assert!(has_index(&history.database).await);
    // Such a node stores one more batch without ids, before the place that was reached.
    history
        .tamper(
            "update journal_batches set decision_ids = null
             where (writer_id, sequence) = (select writer_id, sequence from journal_batches order by 1, 2 limit 1)"
                .to_owned(),
        )
        .await;
    for expected in [
        BatchIds::Page { filled: 0 },
        BatchIds::Page { filled: 1 },
        BatchIds::Complete,
        BatchIds::NothingToDo,
    ] {
        assert_eq!(fill_in(&system, true).await.unwrap(), expected);
    }
    assert_eq!(one::<String>(&history.database, ids).await, before);
    assert!(!has_index(&history.database).await);
    history.assert_findings(&[]);
    let refused = sqlx::query("update journal_batches set decision_ids = null")
        .execute(&mut history.database.superuser().await)
        .await;
    assert!(refused.unwrap_err().to_string().contains("journal_batches_have_ids"));
}

#[tokio::test]
async fn tampering_is_found_while_batches_have_no_ids() {
    let mut history = StoredChains::new().await;
    history.tamper(AS_BEFORE.to_owned()).await;
    let place = history.at(1, 1).await;
    let removed = format!(
        "delete from idempotency_keys where decision_id = '{0}'; delete from decisions where id = '{0}'",
        place.id
    );
    history.tamper(removed).await;
    let doubled = history.at(2, 2).await;
    history
        .tamper(format!(
            "insert into decisions select tenant_id, new_id, client_id, 'other', request_hash, origin, outcome,
                    received_at_ms, revision, reference, amount_minor, currency, method, payload_version, payload,
                    payload_salt, payload_digest, digest, writer_id, batch_sequence, batch_position
             from decisions, (select 'ffffffff-ffff-7fff-bfff-ffffffffffff'::uuid as new_id) as new
             where id = '{}'",
            doubled.id
        ))
        .await;
    let copy = format!(
        "writer {} batch 2 decision ffffffff-ffff-7fff-bfff-ffffffffffff - inserted or moved: another decision is \
         at position 2 of its batch",
        doubled.writer
    );
    history.assert_findings(&[
        format!("writer {} batch 1 - decision removed: position 1 is empty", place.writer),
        copy,
    ]);
    let system = history.database.databases().system;
    while fill_in(&system, true).await.unwrap() != BatchIds::NothingToDo {}
    let (well, output) = run_verify(&history.database, copy_data_dir().path(), &[]);
    assert!(!well && output.contains(": 2 findings"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_adds_the_ids_while_it_decides_payments() {
    let (database, folder) = (TestDatabase::create().await, copy_data_dir());
    let settings = [("data_dir", json!(folder.path()))];
    let node = Node::start_with(&database, &settings).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    assert_eq!(caller.pay("k1", &payment()).await.0, 201);
    sqlx::raw_sql(AS_BEFORE).execute(&mut database.superuser().await).await.unwrap();
    for key in 2.. {
        assert_eq!(caller.pay(&format!("k{key}"), &payment()).await.0, 201);
        if !has_index(&database).await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(without_ids(&database).await, 0);
    node.stop().await;
    let (well, output) = run_verify(&database, folder.path(), &[]);
    assert!(well, "{output}");
}
