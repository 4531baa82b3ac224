//! The rows of versions, in parts that `domain::table` reads and writes.

use sqlx::PgConnection;
use uuid::Uuid;

use super::super::StorageError;
use super::super::columns::named;
use super::super::pool::{AppPool, SystemPool};
use super::super::time_limit::TimeLimit;
use super::versions;
use super::{WHAT, read_schema};
use crate::domain::table::{ContentsBuilder, SortedRows, TableContents, TableName};
use crate::domain::tenant::TenantId;

/// How many chunks one statement writes or reads: about two megabytes.
const PART: i32 = 8;

/// A chunk with its place among those of the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChunk {
    pub place: i32,
    pub first_key: Vec<u8>,
    pub bytes: Vec<u8>,
}

pub(super) async fn insert(
    connection: &mut PgConnection,
    tenant: TenantId,
    content: Uuid,
    rows: &SortedRows,
) -> Result<(), StorageError> {
    let mut chunks = rows.chunks();
    for first_place in (0..).step_by(PART as usize) {
        let (mut keys, mut bytes) = (Vec::new(), Vec::new());
        for chunk in chunks.by_ref().take(PART as usize) {
            keys.push(chunk.first_key);
            bytes.push(chunk.bytes);
        }
        if keys.is_empty() {
            break;
        }
        sqlx::query(
            "insert into table_chunks (tenant_id, content, place, first_key, bytes)
             select $1, $2, $3 + part.place::integer - 1, part.first_key, part.bytes
             from unnest($4::bytea[], $5::bytea[]) with ordinality as part (first_key, bytes, place)",
        )
        .bind(tenant.0)
        .bind(content)
        .bind(first_place)
        .bind(keys)
        .bind(bytes)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Some chunks from a place on, in order. Empty behind the last.
pub async fn chunks(
    app: &AppPool,
    tenant: TenantId,
    content: Uuid,
    from_place: i32,
) -> Result<Vec<StoredChunk>, StorageError> {
    app.transaction_within(tenant, TimeLimit::PAGE, move |connection| {
        Box::pin(read(connection, tenant, content, from_place))
    })
    .await
}

async fn read(
    connection: &mut PgConnection,
    tenant: TenantId,
    content: Uuid,
    from_place: i32,
) -> Result<Vec<StoredChunk>, StorageError> {
    let found: Vec<(i32, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "select place, first_key, bytes from table_chunks
         where tenant_id = $1 and content = $2 and place >= $3 and place < $3 + $4
         order by place",
    )
    .bind(tenant.0)
    .bind(content)
    .bind(from_place)
    .bind(PART)
    .fetch_all(connection)
    .await?;
    let chunk = |(place, first_key, bytes)| StoredChunk { place, first_key, bytes };
    Ok(found.into_iter().map(chunk).collect())
}

/// The chunk that contains this sort key, if any does: the last that begins with it or below it.
pub async fn chunk_with(
    app: &AppPool,
    tenant: TenantId,
    content: Uuid,
    sort_key: Vec<u8>,
) -> Result<Option<StoredChunk>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let found: Option<(i32, Vec<u8>, Vec<u8>)> = sqlx::query_as(
                "select place, first_key, bytes from table_chunks
                 where tenant_id = $1 and content = $2 and first_key <= $3
                 order by place desc
                 limit 1",
            )
            .bind(tenant.0)
            .bind(content)
            .bind(sort_key)
            .fetch_optional(connection)
            .await?;
            Ok(found.map(|(place, first_key, bytes)| StoredChunk { place, first_key, bytes }))
        })
    })
    .await
}

/// A whole version for look-ups, checked against its digest. `None` if there is no such version.
pub async fn load(
    system: &SystemPool,
    tenant: TenantId,
    table: &TableName,
    number: i32,
) -> Result<Option<TableContents>, StorageError> {
    let table = table.clone();
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                let row = sqlx::query(
                    "select t.lookup, t.kind, t.column_names, t.column_kinds, v.number, v.content,
                            v.row_count, v.size_bytes, v.digest, v.form_version, v.note, v.created_by,
                            v.created_at_ms, v.valid_from_ms
                     from table_versions v join tables t on t.tenant_id = v.tenant_id and t.name = v.table_name
                     where v.tenant_id = $1 and v.table_name = $2 and v.number = $3",
                )
                .bind(tenant.0)
                .bind(table.as_str())
                .bind(number)
                .fetch_optional(&mut *connection)
                .await?;
                let Some(row) = row else { return Ok(None) };
                let (schema, version) = (read_schema(&row)?, versions::read(&row)?);
                let size_bytes = named(usize::try_from(version.size_bytes).ok(), WHAT)?;
                let mut contents = ContentsBuilder::new(schema, version.rows, size_bytes);
                let mut place = 0;
                loop {
                    let part = read(connection, tenant, version.content, place).await?;
                    let Some(last) = part.last() else { break };
                    place = last.place + 1;
                    for chunk in &part {
                        contents.add(&chunk.bytes)?;
                    }
                }
                Ok(Some(contents.finish(version.digest)?))
            })
        })
        .await
}
