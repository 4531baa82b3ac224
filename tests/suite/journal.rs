//! The journal with a real Postgres: one decision per key.

pub mod chain;
mod keys;
mod outages;
mod rows;

use futures::future::join_all;
use sqlx::PgConnection;
use tollgate::domain::decision::Decision;
use tollgate::domain::tenant::TenantId;
use tollgate::storage::journal::{Journal, JournalError, StoreOutcome};
use uuid::Uuid;

type StoreResult = Result<StoreOutcome, JournalError>;

fn tenant() -> TenantId {
    TenantId(Uuid::now_v7())
}

async fn store_all(journal: &Journal, decisions: Vec<Decision>) -> Vec<StoreResult> {
    join_all(decisions.into_iter().map(|decision| journal.store(decision))).await
}

async fn count(connection: &mut PgConnection, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(connection).await.unwrap()
}
