//! The index by which decisions are searched: lists of payments for each term, in sorted segments.
//!
//! Written after the decisions, from the journal, by `decisions/search_index.rs`. Contains hashes
//! and times only. It must never be the answer: whoever finds a payment here checks the decision.
//!
//! ```text
//! decision -> terms (hashes of its values, outcome, reasons, ...)       terms.rs
//! batches  -> entries (term, ms of the id), sorted, in chunks of a page  indexing.rs, batches.rs,
//!                                                                       chunks.rs
//!          -> a segment for each tenant and month; 16 become one          segments.rs
//! term     -> the times of its payments, newest or oldest first          lists.rs
//! ```

mod batches;
mod chunks;
mod erasing;
mod indexing;
mod lists;
mod segments;
mod terms;

use std::collections::BTreeSet;

use uuid::Uuid;

pub(super) use batches::read_columns;
pub use erasing::remove_erased;
pub(super) use erasing::terms_to_erase;
pub use indexing::{CommittedBatch, Indexed, are_all_counted, index_committed, index_stored, writers_behind};
pub use lists::SearchOrder;
pub(super) use lists::{Found, ListBudget, Rank, TermLists, months_of, segments_of};
pub use segments::{TenantMonth, merge};
pub(super) use terms::{DecisionColumns, Property, Term, amounts_between};

use super::StorageError;
use super::pool::SystemPool;

/// How much of the history is indexed, in batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryProgress {
    pub indexed: u64,
    pub total: u64,
}

/// What is left to index of the time before this index existed. `None` if nothing is.
pub async fn history(system: &SystemPool) -> Result<Option<HistoryProgress>, StorageError> {
    system
        .transaction(|connection| {
            Box::pin(async move {
                if is_all_indexed(connection).await? {
                    return Ok(None);
                }
                let (indexed, total): (i64, i64) = sqlx::query_as(
                    "select sum(least(sequence, history_until))::bigint, sum(history_until)::bigint
                     from search_progress",
                )
                .fetch_one(connection)
                .await?;
                Ok(Some(HistoryProgress { indexed: indexed.unsigned_abs(), total: total.unsigned_abs() }))
            })
        })
        .await
}

async fn is_all_indexed(connection: &mut sqlx::PgConnection) -> Result<bool, StorageError> {
    let missing = "select exists (select from search_progress where sequence < history_until)";
    let missing: bool = sqlx::query_scalar(missing).fetch_one(connection).await?;
    Ok(!missing)
}

/// Indexes all batches of these writers, for a process without background work. A writer that
/// another process is indexing is left to it.
pub async fn index_writers(system: &SystemPool, writers: &[Uuid]) -> Result<(), StorageError> {
    for writer in writers {
        while let Some(indexed) = index_stored(system, *writer).await? {
            merge_all(system, indexed.months).await?;
            if !indexed.has_more {
                break;
            }
        }
    }
    Ok(())
}

/// Merges in each month until no level has too many segments.
pub async fn merge_all(
    system: &SystemPool,
    months: impl IntoIterator<Item = TenantMonth>,
) -> Result<(), StorageError> {
    let months: BTreeSet<TenantMonth> = months.into_iter().collect();
    for month in months {
        while merge(system, month).await? {}
    }
    Ok(())
}
