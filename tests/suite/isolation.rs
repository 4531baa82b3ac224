//! Isolation of tenants in the database: for each table, for each role, and on one connection
//! whose users are cancelled.

mod cancellation;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgPool};
use tollgate::domain::decision::IdempotencyKey;
use tollgate::domain::payment::{Payment, PaymentId};
use tollgate::domain::tenant::{ClientId, TenantId};
use tollgate::storage::StorageError;
use tollgate::storage::databases::Databases;
use tollgate::storage::facts::{FactReader, FactRequest, KnownFacts};
use tollgate::storage::pool::{AppPool, Role};
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::decisions::order;
use tables::{seed, seed_statement};

/// A database with two tenants that have one row in each table.
struct TwoTenants {
    database: TestDatabase,
    ours: TenantId,
    theirs: TenantId,
}

impl TwoTenants {
    async fn create() -> Self {
        let database = TestDatabase::create().await;
        let (ours, theirs) = (TenantId(Uuid::now_v7()), TenantId(Uuid::now_v7()));
        let mut superuser = database.superuser().await;
        for tenant in [ours, theirs] {
            seed(&mut superuser, tenant).await;
        }
        Self { database, ours, theirs }
    }

    fn databases(&self) -> Databases {
        let mut settings = self.database.settings();
        (settings.max_connections, settings.system_max_connections) = (1, 1);
        Databases::connect_lazily(&settings).unwrap()
    }

    fn app(&self) -> AppPool {
        self.databases().app
    }

    fn pool(&self, role: Role) -> PgPool {
        let databases = self.databases();
        match role {
            Role::App => databases.app.sqlx_pool().clone(),
            Role::Journal => databases.facts.sqlx_pool().clone(),
            Role::System => databases.system.sqlx_pool().clone(),
            Role::Owner => unreachable!("the owner has no pool"),
        }
    }
}

/// Runs a statement as a request of the tenant does. Returns the number of affected rows.
async fn run_in_request(app: &AppPool, tenant: TenantId, statement: String) -> Result<u64, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
            Ok(done.rows_affected())
        })
    })
    .await
}

/// Like `run_in_request`, with the sessions of any role, even if the program runs no such
/// transactions with it.
async fn run(pool: &PgPool, tenant: TenantId, statement: String) -> Result<u64, StorageError> {
    let begin = format!("begin; set local app.tenant_id = '{tenant}'");
    let mut transaction = pool.begin_with(AssertSqlSafe(begin)).await?;
    let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(done.rows_affected())
}

async fn count(app: &AppPool, tenant: TenantId, query: String) -> i64 {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(connection).await.map_err(StorageError::from)
        })
    })
    .await
    .unwrap()
}

/// A missing grant and row security have the same error code.
fn is_refused<T: std::fmt::Debug>(result: &Result<T, StorageError>) -> bool {
    code(result).as_deref() == Some("42501")
}

fn code<T>(result: &Result<T, StorageError>) -> Option<String> {
    match result {
        Err(StorageError::Database(error)) => Some(error.as_database_error()?.code()?.into_owned()),
        _ => None,
    }
}

#[tokio::test]
async fn every_tenant_table_has_forced_row_security_and_a_policy_for_requests() {
    let database = TestDatabase::create().await;
    let open: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_class c
         where c.oid in (select format('%I.%I', table_schema, table_name)::regclass from information_schema.columns
                         where table_schema = 'tollgate' and column_name = 'tenant_id')
           and c.relkind in ('r', 'p') and not c.relispartition
           and not (c.relrowsecurity and c.relforcerowsecurity
                    and exists (select from pg_policies where schemaname = 'tollgate' and tablename = c.relname
                                and 'tollgate_app' = any (roles) and qual like '%current_tenant()%'))",
    )
    .fetch_all(&mut database.superuser().await)
    .await
    .unwrap();
    assert_eq!(open, Vec::<String>::new());
}

#[tokio::test]
async fn only_a_few_known_tables_have_no_tenant() {
    let database = TestDatabase::create().await;
    let without: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_class c where c.relnamespace = 'tollgate'::regnamespace and c.relkind in ('r', 'p')
           and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id') order by 1",
    )
    .fetch_all(&mut database.superuser().await)
    .await
    .unwrap();
    // Tenants and plugins have their own policies. The others have no tenant data.
    assert_eq!(
        without,
        [
            "_sqlx_migrations",
            "batch_ids_progress",
            "journal_batches",
            "journal_writers",
            "node_plugins",
            "nodes",
            "plugins",
            "search_progress",
            "signing_keys",
            "tenants",
            "value_series_log"
        ]
    );
}

#[tokio::test]
async fn a_partition_is_accessible_only_through_its_parent() {
    let two = TwoTenants::create().await;
    let partitions: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relispartition and relkind = 'r' and relnamespace = 'tollgate'::regnamespace",
    )
    .fetch_all(&mut two.database.superuser().await)
    .await
    .unwrap();
    assert!(partitions.len() >= 4, "{partitions:?}");
    for role in [Role::App, Role::Journal, Role::System] {
        let pool = two.pool(role);
        for partition in &partitions {
            let read = run(&pool, two.ours, format!("select from {partition}")).await;
            assert!(is_refused(&read), "{role:?} reads {partition}: {read:?}");
        }
    }
}

#[tokio::test]
async fn a_tenant_sees_only_its_own_rows_in_every_table() {
    let two = TwoTenants::create().await;
    let app = two.app();
    for table in tables::all(&two.database).await {
        let mine = count(&app, two.ours, format!("select count(*) from {table}")).await;
        let foreign =
            count(&app, two.ours, format!("select count(*) from {table} where tenant_id <> '{}'", two.ours))
                .await;
        assert!(mine >= 1 && foreign == 0, "{table}: {mine} rows, {foreign} of another tenant");
        let unbound: i64 = sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {table}")))
            .fetch_one(app.sqlx_pool())
            .await
            .unwrap();
        assert_eq!(unbound, 0, "{table} without a tenant");
    }
    assert_eq!(count(&app, two.ours, "select count(*) from tenants".to_owned()).await, 1);
    assert_eq!(count(&app, two.ours, "select count(*) from plugins".to_owned()).await, 1);
}

#[tokio::test]
async fn a_tenant_cannot_write_rows_of_another_tenant_in_any_table() {
    let two = TwoTenants::create().await;
    let app = two.app();
    for table in tables::all(&two.database).await {
        let insert = run_in_request(&app, two.ours, seed_statement(&table, two.theirs)).await;
        assert!(is_refused(&insert), "insert into {table}: {insert:?}");
        for statement in [
            format!("update {table} set tenant_id = '{}' where tenant_id = '{}'", two.ours, two.theirs),
            format!("delete from {table} where tenant_id = '{}'", two.theirs),
        ] {
            let result = run_in_request(&app, two.ours, statement.clone()).await;
            assert!(is_refused(&result), "{statement}: {result:?}");
        }
    }
    // Columns that a request may change are changed only in rows of its tenant.
    for statement in
        ["update clients set disabled_at_ms = 1", "update list_entries set valid_to_ms = 9, closed_by = 'us'"]
    {
        let changed =
            run_in_request(&app, two.ours, format!("{statement} where tenant_id = '{}'", two.theirs))
                .await
                .unwrap();
        assert_eq!(changed, 0, "{statement}");
        assert_eq!(run_in_request(&app, two.ours, statement.to_owned()).await.unwrap(), 1, "{statement}");
    }
}

#[tokio::test]
async fn foreign_keys_to_tenants_are_checked_although_requests_cannot_read_tenants() {
    let two = TwoTenants::create().await;
    let app = two.app();
    run_in_request(&app, two.ours, seed_statement("lists", two.ours)).await.unwrap();
    run_in_request(&app, two.ours, seed_statement("list_entries", two.ours)).await.unwrap();
    let nowhere = seed_statement("list_entries", two.ours).replace("'seeded'", "'missing'");
    assert_eq!(code(&run_in_request(&app, two.ours, nowhere).await).as_deref(), Some("23503"));
}

#[tokio::test]
async fn no_role_can_change_decisions_and_requests_cannot_write_them() {
    let two = TwoTenants::create().await;
    for role in [Role::App, Role::Journal, Role::System] {
        let pool = two.pool(role);
        for table in ["decisions", "idempotency_keys", "journal_batches", "journal_writers"] {
            let change = if table == "journal_writers" { "node = 'x'" } else { "created_at_ms = 0" };
            for statement in [format!("delete from {table}"), format!("truncate {table}")] {
                let result = run(&pool, two.ours, statement.clone()).await;
                assert!(is_refused(&result), "{role:?} {statement}: {result:?}");
            }
            let column = match table {
                "decisions" => "outcome = 'approve'",
                "journal_batches" => "hash = ''",
                _ => change,
            };
            let update = run(&pool, two.ours, format!("update {table} set {column}")).await;
            assert!(is_refused(&update), "{role:?} updates {table}: {update:?}");
            if role != Role::Journal {
                let insert = run(&pool, two.ours, seed_statement(table, two.ours)).await;
                assert!(is_refused(&insert), "{role:?} inserts into {table}: {insert:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_journal_writes_only_for_the_tenants_of_its_batch() {
    let two = TwoTenants::create().await;
    let journal = two.pool(Role::Journal);
    for table in ["decisions", "idempotency_keys", "aggregate_values"] {
        for (tenant, allowed) in [(two.ours, true), (two.theirs, false)] {
            let insert = format!("set local app.tenants = '{}'; {}", two.ours, seed_statement(table, tenant));
            let result = run(&journal, two.ours, insert).await;
            assert_eq!(result.is_ok(), allowed, "{table}: {result:?}");
            assert!(allowed || is_refused(&result), "{table}: {result:?}");
        }
    }
    let claim = format!(
        "set local app.tenants = '{}'; {} on conflict do nothing returning key",
        two.ours,
        seed_statement("idempotency_keys", two.ours)
    );
    run(&journal, two.ours, claim).await.unwrap();
    let unnamed = run(&journal, two.ours, seed_statement("decisions", two.ours)).await;
    assert!(is_refused(&unnamed), "the tenant of a request is not the tenant of a batch: {unnamed:?}");
    for table in ["clients", "lists", "revisions", "plugins", "signing_keys"] {
        let read = run(&journal, two.ours, format!("select * from {table}")).await;
        assert!(is_refused(&read), "the journal reads {table}: {read:?}");
    }
}

#[tokio::test]
async fn sign_in_finds_a_client_by_its_id_unless_it_is_disabled() {
    let two = TwoTenants::create().await;
    let app = two.app();
    let mut superuser = two.database.superuser().await;
    let (tenant, client): (Uuid, Uuid) =
        sqlx::query_as("select tenant_id, id from clients where tenant_id = $1")
            .bind(two.theirs.0)
            .fetch_one(&mut superuser)
            .await
            .unwrap();
    let find = || {
        sqlx::query_scalar::<_, Uuid>("select tenant_id from find_client($1)")
            .bind(client)
            .fetch_optional(app.sqlx_pool())
    };
    assert_eq!(find().await.unwrap(), Some(tenant));
    sqlx::query("update clients set disabled_at_ms = 1 where id = $1")
        .bind(client)
        .execute(&mut superuser)
        .await
        .unwrap();
    assert_eq!(find().await.unwrap(), None);
    for role in [Role::Journal, Role::System] {
        let refused = run(&two.pool(role), two.ours, format!("select find_client('{client}')")).await;
        assert!(is_refused(&refused), "{role:?}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_reports_of_a_tenant_do_not_delay_its_payments() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = TenantId(Uuid::now_v7());
    let reports = databases.app.counts().max;
    let slow: Vec<_> = (0..reports)
        .map(|_| {
            let app = databases.app.clone();
            tokio::spawn(async move {
                run_in_request(&app, tenant, "select pg_sleep(20)".to_owned()).await.map(drop)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let key = IdempotencyKey::parse("key").map(|key| (ClientId(Uuid::now_v7()), key));
    let payment = Payment { id: PaymentId(Uuid::now_v7()), received_at_ms: 1, order: order("c-1", 1, "EUR") };
    let request = FactRequest {
        tenant,
        payment: Arc::new(payment),
        queries: [].into(),
        in_flight: vec![],
        key,
        known: KnownFacts::default(),
    };
    FactReader::start(databases.facts.clone()).look_up(request).await.unwrap();
    assert!(slow.iter().any(|report| !report.is_finished()), "it did not wait for the reports");
    for report in slow {
        report.abort();
    }
}
