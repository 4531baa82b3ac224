//! What differs between two versions of a table: both are read once, in the order of their keys.

use std::cmp::Ordering;

use uuid::Uuid;

use super::cursor::RowCursor;
use crate::domain::selector::TableLookup;
use crate::domain::table::{RowChange, change_between, position_of};
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::pool::AppPool;

/// Other tasks of the thread get a turn after this many rows.
const ROWS_WITHOUT_PAUSE: u32 = 512;

#[derive(Debug, Clone)]
pub struct DifferencesRequest {
    pub tenant: TenantId,
    pub lookup: TableLookup,
    /// The content of the earlier version.
    pub from: Uuid,
    /// The content of the later version.
    pub to: Uuid,
    /// Only changes behind this position, which an earlier page returned. Without it, all
    /// changes are counted.
    pub after: Option<String>,
    /// The most changes that are returned.
    pub limit: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DifferenceCounts {
    pub added: u64,
    pub removed: u64,
    pub changed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differences {
    /// Of all changes. `None` behind a position.
    pub counts: Option<DifferenceCounts>,
    /// The first changes, each with its position.
    pub changes: Vec<(String, RowChange)>,
}

impl DifferenceCounts {
    fn count(&mut self, change: &RowChange) {
        match change {
            RowChange::Added(_) => self.added += 1,
            RowChange::Removed(_) => self.removed += 1,
            RowChange::Changed { .. } => self.changed += 1,
        }
    }
}

pub(super) async fn differences(
    app: &AppPool,
    request: DifferencesRequest,
) -> Result<Differences, StorageError> {
    let DifferencesRequest { tenant, lookup, from, to, after, limit } = request;
    let mut before_rows = RowCursor::open(app, tenant, from, lookup, after.as_deref()).await?;
    let mut after_rows = RowCursor::open(app, tenant, to, lookup, after.as_deref()).await?;
    let (mut counts, mut changes) = (DifferenceCounts::default(), Vec::new());
    let counts_all = after.is_none();
    let mut rows_read = 0_u32;
    while counts_all || changes.len() < limit {
        let (before, after) = (before_rows.row().await?, after_rows.row().await?);
        let (in_before, in_after) = match (before, after) {
            (None, None) => break,
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            (Some(before), Some(after)) => {
                let order = position_of(lookup, before)?.cmp(&position_of(lookup, after)?);
                (order != Ordering::Greater, order != Ordering::Less)
            }
        };
        let (before, after) = (before.filter(|_| in_before), after.filter(|_| in_after));
        if let Some(change) = change_between(lookup, before, after)? {
            counts.count(&change);
            if changes.len() < limit {
                changes.push((position_text(&change), change));
            }
        }
        if in_before {
            before_rows.advance()?;
        }
        if in_after {
            after_rows.advance()?;
        }
        rows_read += 1;
        if rows_read.is_multiple_of(ROWS_WITHOUT_PAUSE) {
            tokio::task::yield_now().await;
        }
    }
    Ok(Differences { counts: counts_all.then_some(counts), changes })
}

/// Where the next page continues. Sort keys are UTF-8: canonical forms, or digits.
fn position_text(change: &RowChange) -> String {
    let (RowChange::Added(row) | RowChange::Removed(row) | RowChange::Changed { after: row, .. }) = change;
    String::from_utf8(row.key.position().sort_key()).unwrap_or_default()
}
