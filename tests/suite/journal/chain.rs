//! The chain: every hash can be recomputed from the stored rows.

use sqlx::Row;
use tollgate::domain::payment::PaymentId;
use tollgate::domain::plugin::Digest;
use tollgate::domain::tenant::TenantId;
use tollgate::storage::decisions;
use tollgate::storage::evidence;
use tollgate::storage::journal::chain::{GENESIS, batch_hash};
use uuid::Uuid;

use super::{count, store_all, tenant};
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision, journal};

/// Panics at the first row that does not match. Returns the number of decisions.
pub async fn verify(database: &TestDatabase) -> usize {
    let mut connection = database.superuser().await;
    let batches = sqlx::query("select * from journal_batches order by writer_id, sequence")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let mut before = (Uuid::nil(), 0, GENESIS);
    let mut verified = 0;
    for batch in &batches {
        let (writer, sequence): (Uuid, i64) = (batch.get("writer_id"), batch.get("sequence"));
        let expected = if writer == before.0 { before } else { (writer, 0, GENESIS) };
        assert_eq!(sequence, expected.1 + 1, "a hole in the chain");
        assert_eq!(batch.get::<&[u8], _>("previous_hash"), expected.2.0);
        let digests: &[u8] = batch.get("decision_digests");
        let hash = batch_hash(writer, sequence, &expected.2, digests);
        assert_eq!(batch.get::<&[u8], _>("hash"), hash.0);
        verified += verify_decisions(database, writer, sequence, digests).await;
        before = (writer, sequence, hash);
    }
    let decisions = count(&mut connection, "select count(*) from decisions").await;
    assert_eq!(decisions as usize, verified, "a decision outside the chain");
    assert_eq!(count(&mut connection, "select count(*) from idempotency_keys").await, decisions);
    verified
}

async fn verify_decisions(database: &TestDatabase, writer: Uuid, sequence: i64, digests: &[u8]) -> usize {
    let databases = database.databases();
    let rows = sqlx::query(
        "select * from decisions where writer_id = $1 and batch_sequence = $2 order by batch_position",
    )
    .bind(writer)
    .bind(sequence)
    .fetch_all(&mut database.superuser().await)
    .await
    .unwrap();
    assert_eq!(digests.len(), rows.len() * 32);
    for (position, row) in rows.iter().enumerate() {
        let id = PaymentId(row.get("id"));
        let stored =
            decisions::get(&databases.app, TenantId(row.get("tenant_id")), id).await.unwrap().unwrap();
        assert_eq!(stored.position.position as usize, position);
        assert_eq!((stored.position.writer, stored.position.sequence), (writer, sequence));
        let version: i16 = row.get("payload_version");
        let payload_digest = evidence::payload_digest(row.get("payload_salt"), version, row.get("payload"));
        assert_eq!(row.get::<&[u8], _>("payload_digest"), payload_digest.0);
        let digest: Digest = evidence::decision_digest(&stored.decision, version, &payload_digest);
        assert_eq!(row.get::<&[u8], _>("digest"), digest.0);
        assert_eq!(digests[position * 32..][..32], digest.0);
    }
    rows.len()
}

#[tokio::test]
async fn many_submissions_share_few_transactions_and_the_chain_verifies() {
    let database = TestDatabase::create().await;
    let journal = journal(database.databases().journal).await;
    let tenants = [tenant(), tenant(), tenant()];
    let decisions = (0..256).map(|n| decision(tenants[n % 3], &format!("key-{n}"))).collect();
    let responses = store_all(&journal, decisions).await;
    assert!(responses.iter().all(Result::is_ok));
    assert_eq!(verify(&database).await, 256);
    let batches = count(&mut database.superuser().await, "select count(*) from journal_batches").await;
    assert!(batches <= 16, "{batches} transactions");
}
