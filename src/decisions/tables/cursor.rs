//! Goes through the rows of a stored version in order, with a few chunks in memory.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::domain::selector::TableLookup;
use crate::domain::table::{DamagedRowsError, position_of, rows_of, size_with_length};
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::pool::AppPool;
use crate::storage::tables::{self, StoredChunk};

#[derive(Debug)]
pub struct RowCursor {
    app: AppPool,
    tenant: TenantId,
    content: Uuid,
    /// What was read and not used yet.
    waiting: VecDeque<StoredChunk>,
    next_place: i32,
    chunk: Vec<u8>,
    /// Where the current row begins in the chunk, with its length.
    at: usize,
}

impl RowCursor {
    /// At the first row. With `after`, at the first row behind this sort key.
    pub async fn open(
        app: &AppPool,
        tenant: TenantId,
        content: Uuid,
        lookup: TableLookup,
        after: Option<&str>,
    ) -> Result<Self, StorageError> {
        let mut cursor = Self {
            app: app.clone(),
            tenant,
            content,
            waiting: VecDeque::new(),
            next_place: 0,
            chunk: Vec::new(),
            at: 0,
        };
        let Some(after) = after else { return Ok(cursor) };
        let chunk = tables::chunk_with(app, tenant, content, after.as_bytes().to_vec()).await?;
        cursor.next_place = chunk.map_or(0, |chunk| chunk.place);
        while let Some(row) = cursor.row().await? {
            if position_of(lookup, row)?.sort_key().as_slice() > after.as_bytes() {
                break;
            }
            cursor.advance()?;
        }
        Ok(cursor)
    }

    /// The current row. `None` behind the last.
    pub async fn row(&mut self) -> Result<Option<&[u8]>, StorageError> {
        while self.at >= self.chunk.len() {
            if self.waiting.is_empty() {
                self.waiting =
                    tables::chunks(&self.app, self.tenant, self.content, self.next_place).await?.into();
            }
            let Some(chunk) = self.waiting.pop_front() else { return Ok(None) };
            (self.chunk, self.at, self.next_place) = (chunk.bytes, 0, chunk.place + 1);
        }
        self.current().map(Some)
    }

    /// Goes to the next row.
    pub fn advance(&mut self) -> Result<(), StorageError> {
        self.at += size_with_length(self.current()?);
        Ok(())
    }

    fn current(&self) -> Result<&[u8], StorageError> {
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        Ok(rows_of(rest).next().unwrap_or(Err(DamagedRowsError))?)
    }
}
