//! One row for every table with a tenant.

use sqlx::{AssertSqlSafe, PgConnection};
use tollgate::domain::tenant::TenantId;

use crate::support::database::TestDatabase;

/// All tables with a tenant, from the database's catalogue, so that new ones are included.
pub async fn all(database: &TestDatabase) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
         where c.relnamespace = 'tollgate'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition order by 1",
    )
    .fetch_all(&mut database.superuser().await)
    .await
    .unwrap();
    assert!(tables.len() >= 9, "{tables:?}");
    tables
}

/// Fills the tables of a tenant, in the order of foreign keys.
pub async fn seed(superuser: &mut PgConnection, tenant: TenantId) {
    let own_rows = [
        "tenants",
        "plugins",
        "clients",
        "tenant_plugins",
        "revisions",
        "activations",
        "lists",
        "list_entries",
        "idempotency_keys",
        "decisions",
        "value_series",
        "aggregate_values",
        "aggregate_days",
        "audit_events",
        "plugin_uploads",
        "quarantines",
        "shadow_runs",
        "backtests",
        "payment_events",
        "unchecked_fields",
        "tables",
        "table_versions",
        "table_chunks",
        "table_activations",
        "removals",
        "removal_chunks",
        "erasures",
        "removed_series",
        "search_segments",
        "search_chunks",
        "decision_counts",
        "users",
        "sign_ins",
        "revocations",
        "proposals",
        "openid_settings",
        "reviews",
        "review_settings",
    ];
    for table in own_rows {
        let statement = seed_statement(table, tenant);
        // The list of the entries, the table of the versions, and the user of the sign-ins.
        let statement = statement.replace("'list-' || gen_random_uuid()", "'seeded'");
        let statement = statement.replace("'table-' || gen_random_uuid()", "'seeded'");
        let statement = statement.replace("gen_random_uuid()::uuid", &format!("'{tenant}'"));
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *superuser).await.unwrap();
    }
}

/// A statement that inserts a row with a new key that is valid except for its tenant.
pub fn seed_statement(table: &str, tenant: TenantId) -> String {
    let digest = format!("decode(md5('{tenant}') || md5('{tenant}'), 'hex')");
    let values = match table {
        "tenants" => format!("('{tenant}', 'tenant-{tenant}', 0)"),
        "plugins" => format!("({digest}, '', '1.0.0', 'small', 'n', '1', 's', '{{}}', 0, false, 0, '{{}}')"),
        "clients" => format!("('{tenant}', gen_random_uuid(), 'n', 'hash', '{{}}', 0, null)"),
        "tenant_plugins" => format!("('{tenant}', {digest}, 'u', 0, null, null)"),
        "revisions" => format!("('{tenant}', 'payment', 1, 1, '', {digest}, '', 'u', 0)"),
        "activations" => format!("('{tenant}', default, 'payment', 1, 'u', 0, 'activate', null, null, null, null)"),
        "lists" => format!("('{tenant}', 'list-' || gen_random_uuid(), '', 'u', 0, '{{text}}', null, null)"),
        "list_entries" => format!(
            "('{tenant}', 'seeded', gen_random_uuid(), 'v', gen_random_uuid()::text, 'v', '', 0, null, 'u', null, 2, null)"
        ),
        "idempotency_keys" => format!("('{tenant}', gen_random_uuid(), 'k', '', gen_random_uuid(), 0)"),
        "decisions" => format!(
            "('{tenant}', gen_random_uuid(), gen_random_uuid(), 'k', '', 'api', 'approve', 0, null, null, 1, 'EUR',
              'card', 1, '', '', '', '', gen_random_uuid(), 0, 0)"
        ),
        "value_series" => format!(
            "('{tenant}', gen_random_uuid(), '{{}}', (select count(*) from value_series) + 1, 0, null, 0)"
        ),
        "aggregate_values" => format!("('{tenant}', gen_random_uuid(), 0, 0, gen_random_uuid(), 1, 0, 0, null)"),
        "aggregate_days" => format!(
            "('{tenant}', gen_random_uuid(), 1, 0, 0, 1, 1, 1, 1, 1, 0, null, 1, gen_random_uuid(), 1, gen_random_uuid())"
        ),
        "audit_events" => format!("('{tenant}', default, 0, 'u', 'list.created', 'l', null, null, null, null)"),
        "plugin_uploads" => format!(
            "('{tenant}', sha256(gen_random_uuid()::text::bytea), '', 0, 'waiting', null, 'u', 0, null, null, null, 0, 0)"
        ),
        "quarantines" => format!(
            "('{tenant}', gen_random_uuid(), 'payment', gen_random_uuid()::text, {digest}, 1, 1, 1, 'f', 0, null, null)"
        ),
        "shadow_runs" => format!(
            "('{tenant}', 1, 'revision', gen_random_uuid(), 1, 0, 'approve', 'review', 1, 'EUR', '{{}}', '{{}}', 1, '')"
        ),
        "backtests" => format!(
            "('{tenant}', gen_random_uuid(), 'payment', 1, null, '{{}}', 'waiting', null, null, 0, null, null, 'u', 0,
              null, null, null, null)"
        ),
        "payment_events" => format!("('{tenant}', gen_random_uuid(), gen_random_uuid(), 'fraud', 0, 0, 'u', '')"),
        "users" => format!(
            "('{tenant}', gen_random_uuid()::uuid, 'a@b', gen_random_uuid()::text, 'n', '{{}}', 'u', 0)"
        ),
        "sign_ins" => format!("('{tenant}', gen_random_uuid(), '{tenant}', 0, 0, 0, 0, null, null, null)"),
        "proposals" => format!("('{tenant}', gen_random_uuid(), 'erasure', '{{}}', 'u', 0, 'open', null, null, '')"),
        "revocations" => format!("('{tenant}', default, gen_random_uuid(), null, null, 0)"),
        "openid_settings" => {
            format!("('{tenant}', 'https://a.example', 'c', null, 'groups', '[]', true, 'u', 0)")
        }
        "reviews" => format!("('{tenant}', gen_random_uuid(), gen_random_uuid(), 0, 1, 'EUR')"),
        "review_settings" => format!("('{tenant}', 15, null, null, '{{}}')"),
        "unchecked_fields" => format!("('{tenant}', gen_random_uuid()::text, 0)"),
        "tables" => format!(
            "('{tenant}', 'table-' || gen_random_uuid(), '', 'exact', 'text', '{{}}', '{{}}', 'u', 0, null, null)"
        ),
        "table_versions" => {
            format!("('{tenant}', 'seeded', 1, '{tenant}', 0, 0, {digest}, 1, 2, '', 'u', 0, 0)")
        }
        "table_chunks" => format!(
            "('{tenant}', '{tenant}', coalesce((select max(place) + 1 from table_chunks), 0), '', '')"
        ),
        "table_activations" => format!("('{tenant}', default, 'seeded', 1, 'upload', 'u', 0, 0)"),
        "removals" => format!(
            "('{tenant}', '2025-01-01', (select count(*) + 1 from removals), 'removed', 1, {digest}, 0, 'k', 's', 0)"
        ),
        "removal_chunks" => format!(
            "('{tenant}', '2025-01-01', (select max(number) from removals where tenant_id = '{tenant}'),
              gen_random_uuid(), gen_random_uuid(), {digest} || substring({digest} for 16))"
        ),
        "removed_series" => format!("('{tenant}', gen_random_uuid(), '{{}}')"),
        "erasures" => format!("('{tenant}', gen_random_uuid(), 0, 'u', 'r')"),
        "decision_counts" => format!("('{tenant}', 10000 * (random() * 1000000)::bigint, 1, 0, 0, '{{0}}')"),
        "search_segments" => format!(
            "('{tenant}', (select count(*) from search_segments where tenant_id = '{tenant}'), '2026-01-01', 0, 0, 0, 0)"
        ),
        "search_chunks" => format!(
            "('{tenant}', 0, (select count(*) from search_chunks where tenant_id = '{tenant}'), 0, 0, 0, '')"
        ),
        "journal_writers" => "(gen_random_uuid(), 'n', 0)".to_owned(),
        "journal_batches" => "(gen_random_uuid(), 0, '', '', '', 0)".to_owned(),
        other => panic!("the table {other} is new: give it a row here, so that its isolation is tested"),
    };
    format!("insert into {table} values {values}")
}
