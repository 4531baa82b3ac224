//! Reference tables: uploading versions, looking rows up and comparing versions.
//!
//! Payments must not be decided through here: nodes hold the tables that rules use in memory.

mod cursor;
mod differences;
pub mod reading;
pub mod writing;

use std::io::{self, Read};
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;

use crate::domain::card_check::UncheckedFields;
use crate::domain::line_format::LineFormat;
use crate::domain::quotas::TableQuotas;
use crate::domain::selector::TableLookup;
use crate::domain::table::{
    ContentsBuilder, KeyError, Position, Row, RowKey, TableActivation, TableName, TableSchema,
};
use crate::domain::tenant::TenantId;
use crate::domain::time::World;
use crate::storage::StorageError;
use crate::storage::pool::AppPool;
use crate::storage::tables::{self, AddVersionError, LogFilter, NewVersion, Table, TableVersion};

pub use differences::{DifferenceCounts, Differences, DifferencesRequest};
use reading::{BadRows, read_rows};

/// How many comparisons of versions run at once on a node: each reads up to two whole versions.
const COMPARISONS_MAX: usize = 2;

#[derive(Debug, Error)]
pub enum UploadRowsError {
    #[error("{} lines have errors", .0.lines)]
    Bad(BadRows),
    #[error("the received rows cannot be read: {0}")]
    Read(io::Error),
    #[error("reading the rows failed: {0}")]
    Task(#[from] JoinError),
    #[error(transparent)]
    Add(#[from] AddVersionError),
}

#[derive(Debug, Error)]
pub enum LookUpError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A new version of a table whose rows were not read yet.
#[derive(Debug)]
pub struct RowsUpload<R> {
    pub tenant: TenantId,
    pub table: Table,
    pub format: LineFormat,
    pub source: R,
    /// The fields that are exempt from the check for card numbers.
    pub unchecked: UncheckedFields,
    pub note: String,
    pub actor: String,
    /// Otherwise it takes effect once somebody activates it.
    pub activates: bool,
}

#[derive(Debug)]
pub struct Tables {
    app: AppPool,
    world: World,
    quotas: TableQuotas,
    /// Only one upload at a time is held in memory, which therefore takes at most the size of one
    /// version.
    turn: Arc<Semaphore>,
    comparisons: Semaphore,
}

impl Tables {
    pub fn new(app: AppPool, world: World, quotas: TableQuotas) -> Self {
        let (turn, comparisons) = (Arc::new(Semaphore::new(1)), Semaphore::new(COMPARISONS_MAX));
        Self { app, world, quotas, turn, comparisons }
    }

    /// Reads and stores a version. It is stored even if the caller stops waiting.
    pub async fn upload<R: Read + Send + 'static>(
        &self,
        upload: RowsUpload<R>,
    ) -> Result<(TableVersion, Option<TableActivation>), UploadRowsError> {
        // Checked again when it is stored.
        if upload.table.closed.is_some() {
            return Err(AddVersionError::Closed.into());
        }
        let versions_max = self.quotas.versions_max;
        if upload.table.newest_version.is_some_and(|newest| i64::from(newest) >= i64::from(versions_max)) {
            return Err(AddVersionError::TooManyVersions(versions_max).into());
        }
        let turn = self.turn.clone().acquire_owned().await;
        let turn = turn.map_err(|_| AddVersionError::Storage(StorageError::Abandoned))?;
        let (app, world, quotas) = (self.app.clone(), self.world.clone(), self.quotas);
        tokio::spawn(read_and_store(app, world, quotas, upload, turn)).await?
    }

    /// The row that a value finds in a version. Reads only the part of the version that has it.
    pub async fn look_up(
        &self,
        tenant: TenantId,
        schema: &TableSchema,
        version: &TableVersion,
        value: &str,
    ) -> Result<Option<Row>, LookUpError> {
        let form = match schema.lookup() {
            TableLookup::Exact | TableLookup::LongestPrefix => match RowKey::one(schema.kind(), value)? {
                RowKey::One(form) => form,
                RowKey::Range { from, .. } => from,
            },
            TableLookup::Range => RowKey::range_end(schema.kind(), value)?,
        };
        let mut searched = form.as_str();
        while let Some(position) = Position::of_value(schema.lookup(), searched) {
            let chunk = tables::chunk_with(&self.app, tenant, version.content, position.sort_key()).await?;
            let Some(chunk) = chunk else { break };
            let mut rows = ContentsBuilder::new(schema.clone(), 0, chunk.bytes.len());
            rows.add(&chunk.bytes).map_err(StorageError::from)?;
            let found = rows.finish_part().map_err(StorageError::from)?.find(&form);
            if found.is_some() || schema.lookup() != TableLookup::LongestPrefix {
                return Ok(found);
            }
            // A shorter prefix may be in an earlier chunk. The first key of this chunk begins with
            // it, since that is between the prefix and the value.
            searched = common_beginning(&form, &chunk.first_key);
        }
        Ok(None)
    }

    /// What differs between two versions.
    pub async fn differences(&self, request: DifferencesRequest) -> Result<Differences, StorageError> {
        let _turn = self.comparisons.acquire().await.map_err(|_| StorageError::Abandoned)?;
        differences::differences(&self.app, request).await
    }

    /// The version that is valid now.
    pub async fn valid_version(
        &self,
        tenant: TenantId,
        table: &TableName,
    ) -> Result<Option<TableVersion>, StorageError> {
        let filter = LogFilter { valid_at_ms: Some(self.world.now_ms()), ..LogFilter::default() };
        match tables::activations(&self.app, tenant, table, filter, 1).await?.pop() {
            Some(line) => tables::version(&self.app, tenant, table, line.version).await,
            None => Ok(None),
        }
    }
}

async fn read_and_store<R: Read + Send + 'static>(
    app: AppPool,
    world: World,
    quotas: TableQuotas,
    upload: RowsUpload<R>,
    turn: OwnedSemaphorePermit,
) -> Result<(TableVersion, Option<TableActivation>), UploadRowsError> {
    let RowsUpload { tenant, table, format, source, unchecked, note, actor, activates } = upload;
    let Table { name, schema, .. } = table;
    let reading =
        tokio::task::spawn_blocking(move || read_rows(schema, quotas.rows_max, unchecked, format, source));
    let rows = reading.await?.map_err(UploadRowsError::Read)?.map_err(UploadRowsError::Bad)?;
    let new = NewVersion { tenant, table: name, rows, note, actor, activates };
    let stored = tables::add_version(&app, &world, new, quotas).await;
    drop(turn);
    Ok(stored?)
}

fn common_beginning<'t>(text: &'t str, other: &[u8]) -> &'t str {
    let same = text.bytes().zip(other).take_while(|(one, other)| one == *other).count();
    text.get(..text.floor_char_boundary(same)).unwrap_or_default()
}
