//! What a decision takes on the disk, as Postgres counts it: tables with their indexes.

use sqlx::PgConnection;

/// Tables with less per row, such as that of plugins, do not grow with the rows.
const SHOWN_FROM_BYTES: f64 = 10.0;

pub struct StoredTable {
    pub name: String,
    pub bytes: f64,
    pub of_indexes: f64,
}

/// The tables of a schema, largest first, in bytes per row of `counted`. A partitioned table counts
/// as one.
pub async fn per_row_of(
    database: &mut PgConnection,
    schema: &str,
    counted: &'static str,
) -> Vec<StoredTable> {
    let rows: i64 = sqlx::query_scalar(counted).fetch_one(&mut *database).await.unwrap();
    let tables: Vec<(String, i64, i64)> = sqlx::query_as(
        "select root.relname::text, sum(pg_total_relation_size(leaf.oid))::bigint,
                sum(pg_indexes_size(leaf.oid))::bigint
         from pg_class leaf
         join pg_class root on root.oid = coalesce(pg_partition_root(leaf.oid), leaf.oid)
         where leaf.relkind = 'r' and leaf.relnamespace = $1::text::regnamespace
         group by root.relname order by 2 desc",
    )
    .bind(schema)
    .fetch_all(database)
    .await
    .unwrap();
    let each = |bytes: i64| bytes as f64 / rows as f64;
    let tables = tables.into_iter().map(|(name, bytes, of_indexes)| StoredTable {
        name,
        bytes: each(bytes),
        of_indexes: each(of_indexes),
    });
    tables.filter(|table| table.bytes >= SHOWN_FROM_BYTES).collect()
}
