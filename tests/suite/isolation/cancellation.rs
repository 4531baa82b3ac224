//! Users of one connection that are cancelled at random times.

use std::pin::pin;
use std::task::Poll;

use sqlx::Row;
use tollgate::domain::tenant::TenantId;
use tollgate::storage::databases::Databases;
use tollgate::storage::pool::{AppPool, DatabaseSettings};

use super::{TwoTenants, run_in_request};

/// Enough rounds to cut every kind of user at many points. A failure names the round.
const ROUNDS: u32 = 400;

/// A linear congruential generator, so that every run has the same rounds.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn one_connection(two: &TwoTenants) -> AppPool {
    let settings = DatabaseSettings { max_connections: 1, ..DatabaseSettings::for_url(&two.database.url) };
    Databases::connect_lazily(&settings).unwrap().app
}

/// Asserts that the next user of the connection finds no transaction, tenant or rows.
async fn assert_clean(pool: &AppPool, round: u32) {
    let row = sqlx::raw_sql(
        "select now() = statement_timestamp(), coalesce(current_setting('app.tenant_id', true), ''),
                (select count(*) from clients)",
    )
    .fetch_one(pool.sqlx_pool())
    .await
    .unwrap();
    assert!(row.get::<bool, _>(0), "round {round}: a transaction is open");
    assert_eq!(row.get::<String, _>(1), "", "round {round}: a tenant is left");
    assert_eq!(row.get::<i64, _>(2), 0, "round {round}: rows are visible");
}

/// Polls a future this many times and then drops it. With `at_once` it is dropped immediately, else
/// when it is woken: a response has arrived but is not read yet.
async fn cut<F: Future>(polls: u64, at_once: bool, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polls_left = polls;
    std::future::poll_fn(|context| {
        if polls_left == 0 {
            return Poll::Ready(None);
        }
        polls_left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls_left == 0 && at_once => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A user that manages its transaction by hand and wrongly: its `begin` is cancelled too.
async fn manual_transaction(pool: AppPool, tenant: TenantId) {
    let Ok(mut transaction) = pool.sqlx_pool().begin().await else { return };
    let set = sqlx::query("select set_config('app.tenant_id', $1, true)").bind(tenant.to_string());
    if set.execute(&mut *transaction).await.is_ok() {
        let _ = sqlx::query("select count(*) from clients").fetch_one(&mut *transaction).await;
    }
    let _ = transaction.commit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_users_of_a_connection_leave_no_tenant_and_no_transaction() {
    let two = TwoTenants::create().await;
    let pool = one_connection(&two);
    let mut random = Random(20_261_121);
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let tenant = if random.below(2) == 0 { two.ours } else { two.theirs };
        let (polls, at_once) = (random.below(6), random.below(2) == 0);
        if random.below(2) == 0 {
            let insert = run_in_request(&pool, tenant, super::seed_statement("lists", tenant));
            acknowledged += i64::from(cut(polls, at_once, insert).await.is_some_and(|done| done.is_ok()));
        } else {
            cut(polls, at_once, manual_transaction(pool.clone(), tenant)).await;
        }
        assert_clean(&pool, round).await;
    }
    let stored: i64 = sqlx::query_scalar("select count(*) from lists where name <> 'seeded'")
        .fetch_one(&mut two.database.superuser().await)
        .await
        .unwrap();
    assert!(acknowledged > 0, "no round was left alone long enough");
    assert!(stored >= acknowledged, "{acknowledged} inserts were acknowledged, {stored} are stored");
}

#[tokio::test]
async fn a_connection_that_is_returned_inside_a_transaction_is_not_reused() {
    let two = TwoTenants::create().await;
    let pool = one_connection(&two);
    let leaks = [
        format!("begin; set local app.tenant_id = '{}'", two.ours),
        format!("set app.tenant_id = '{}'", two.ours),
        format!("set app.tenants = '{}'", two.ours),
        "begin".to_owned(),
    ];
    for (round, leak) in (0..).zip(leaks) {
        let mut connection = pool.sqlx_pool().acquire().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(leak)).execute(&mut *connection).await.unwrap();
        drop(connection);
        assert_clean(&pool, round).await;
    }
    let mut connection = pool.sqlx_pool().acquire().await.unwrap();
    sqlx::raw_sql("begin").execute(&mut *connection).await.unwrap();
    sqlx::raw_sql("select 1 / 0").execute(&mut *connection).await.unwrap_err();
    drop(connection);
    assert_clean(&pool, u32::MAX).await;
}
