//! A history is read in pages of limited size. Gaps of years are skipped, and each row is read
//! once.

use sqlx::{AssertSqlSafe, PgConnection};
use tollgate::domain::backtest::{BacktestFilter, BacktestSelection};
use tollgate::domain::payment::Method;
use tollgate::domain::tenant::TenantId;
use tollgate::storage::databases::Databases;
use tollgate::storage::decisions::history::{HistoryRow, PageSize, page};
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::decisions::now_ms;

const DAY_MS: u64 = 86_400_000;

/// Stores decisions one second apart, of a tenant that only these tests use.
async fn store_decisions(
    superuser: &mut PgConnection,
    tenant: TenantId,
    at_ms: u64,
    count: u64,
    method: &str,
    bytes: u64,
) {
    let statement = format!(
        "select ensure_decision_partition(to_timestamp({at_ms} / 1000)::date);
         insert into decisions
         select '{}', (lpad(to_hex(at_ms), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
                '{}', 'k', '', 'api', 'approve', at_ms, null, null, 1, 'EUR', '{method}', 1,
                decode(repeat('ab', {bytes}), 'hex'), null, '', '', '{}', 1, 0
         from generate_series(1, {count}) n, lateral (select {at_ms} + n * 1000) t (at_ms)",
        tenant.0,
        Uuid::nil(),
        Uuid::nil(),
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(superuser).await.unwrap();
}

/// Reads all pages.
async fn pages(
    databases: &Databases,
    tenant: TenantId,
    selection: &BacktestSelection,
    size: PageSize,
) -> Vec<Vec<HistoryRow>> {
    let (mut pages, mut before) = (Vec::new(), None);
    loop {
        let rows = page(&databases.system, tenant, selection, now_ms(), before, size).await.unwrap();
        let Some(last) = rows.last() else { return pages };
        before = Some(last.id);
        pages.push(rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_with_gaps_of_years_is_read_to_its_beginning() {
    let database = TestDatabase::create().await;
    let (databases, tenant) = (database.databases(), TenantId(Uuid::now_v7()));
    let mut superuser = database.superuser().await;
    for (days_ago, count) in [(9_000, 3), (4_000, 1), (400, 2), (31, 5), (0, 4)] {
        store_decisions(&mut superuser, tenant, now_ms() - days_ago * DAY_MS - 3_600_000, count, "card", 10)
            .await;
    }
    store_decisions(&mut superuser, TenantId(Uuid::now_v7()), now_ms() - 800 * DAY_MS, 5, "card", 10).await;
    let all = BacktestSelection { to_ms: now_ms(), ..BacktestSelection::default() };
    for decisions in [1, 4, 100] {
        let found = pages(&databases, tenant, &all, PageSize { decisions, bytes: 1 << 30 }).await;
        let ids: Vec<Uuid> = found.iter().flatten().map(|row| row.id.0).collect();
        assert_eq!(ids.len(), 15, "{decisions}");
        assert!(ids.is_sorted_by(|one, next| one > next), "the newest first: {decisions}");
    }
    let since = BacktestSelection { from_ms: Some(now_ms() - 500 * DAY_MS), ..all.clone() };
    let found = pages(&databases, tenant, &since, PageSize { decisions: 100, bytes: 1 << 30 }).await;
    assert_eq!(found.iter().flatten().count(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_a_page_in_bytes_is_limited_independently_of_the_previous_page() {
    let database = TestDatabase::create().await;
    let (databases, tenant) = (database.databases(), TenantId(Uuid::now_v7()));
    let mut superuser = database.superuser().await;
    store_decisions(&mut superuser, tenant, now_ms() - DAY_MS, 100, "card", 100).await;
    store_decisions(&mut superuser, tenant, now_ms() - 2 * DAY_MS, 100, "card", 32 << 10).await;
    let all = BacktestSelection { to_ms: now_ms(), ..BacktestSelection::default() };
    let found = pages(&databases, tenant, &all, PageSize { decisions: 64, bytes: 1 << 20 }).await;
    assert_eq!(found.iter().flatten().count(), 200);
    for rows in &found {
        let bytes: usize = rows.iter().filter_map(|row| row.payload.as_ref()).map(Vec::len).sum();
        assert!(bytes <= (1 << 20) + (32 << 10), "{bytes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_filter_excludes_are_read_only_once() {
    const OLD: u64 = 20_000;
    let database = TestDatabase::create().await;
    let (databases, tenant) = (database.databases(), TenantId(Uuid::now_v7()));
    let mut superuser = database.superuser().await;
    store_decisions(&mut superuser, tenant, 1_000_000_000_000, OLD, "card", 10).await;
    store_decisions(&mut superuser, tenant, now_ms() - DAY_MS, 1_000, "wallet", 10).await;
    let filter = BacktestFilter { method: Some(Method::Wallet), ..BacktestFilter::default() };
    let wallets = BacktestSelection { to_ms: now_ms(), filter, ..BacktestSelection::default() };
    let found = pages(&databases, tenant, &wallets, PageSize { decisions: 50, bytes: 1 << 20 }).await;
    assert_eq!((found.len(), found.iter().flatten().count()), (20, 1_000));
    // Postgres updates its statistics when a session ends.
    databases.close().await;
    let looked_at = "select idx_tup_fetch from pg_stat_user_tables where relname = 'decisions_2001_09'";
    let mut fetched: i64 = 0;
    for _ in 0..100 {
        fetched = sqlx::query_scalar(looked_at).fetch_one(&mut superuser).await.unwrap();
        if fetched >= OLD.cast_signed() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!((OLD.cast_signed()..2 * OLD.cast_signed()).contains(&fetched), "{fetched}");
}
