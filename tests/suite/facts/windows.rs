//! Which earlier payments a window counts, and how they are read.

use std::time::Duration;

use sqlx::PgConnection;
use tollgate::domain::payment::{PaymentId, PaymentOrder};
use tollgate::domain::selector::{Counting, Fact, Matching, Selector};
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::Outcome;
use tollgate::storage::facts::{FactReader, InFlightValue, look_up_many};
use tollgate::storage::series::aggregate_key;
use uuid::Uuid;

use super::{NOW_MS, counting_tenant, facts, list_query, payment_of, request, single, store, velocity};
use crate::support::database::TestDatabase;
use crate::support::decisions::order;

/// What is read, once it is other than before, or after ten seconds.
pub(super) async fn once_changed<T: PartialEq + Copy>(before: T, mut read: impl AsyncFnMut() -> T) -> T {
    let mut after = before;
    for _ in 0..1_000 {
        if after != before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        after = read().await;
    }
    after
}

fn counted_key(tenant: TenantId, selector: Selector, order: &PaymentOrder) -> Uuid {
    aggregate_key(tenant, &single(selector), order).unwrap()
}

#[tokio::test]
async fn a_velocity_counts_its_window_currency_and_outcome() {
    use Outcome::{Approve, Reject, Review};
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = counting_tenant(&databases).await;
    let stored = [
        (0, 1, "EUR", Approve),
        (500, 10, "EUR", Reject),
        (999, 100, "EUR", Approve),
        (1_000, 1_000, "EUR", Approve),
        (1_001, 10_000, "EUR", Review),
        (500, 7, "USD", Approve),
    ];
    store(&databases, tenant, &stored).await;
    let (submitted, approved) = (Counting::Submitted, Counting::Approved);
    let table = [
        // The start of a window is excluded, its end included.
        (1_000, submitted, 3, 111),
        (1_001, submitted, 4, 1_111),
        (1_000, approved, 2, 101),
        (1, submitted, 1, 1),
        (0, submitted, 0, 0),
        (u64::MAX, submitted, 5, 11_111),
        (u64::MAX, approved, 3, 1_101),
    ];
    let queries = table.map(|(window_ms, counting, _, _)| velocity(Selector::Customer, window_ms, counting));
    let responses = facts(&databases, request(tenant, order("c-1", 5, "EUR"), queries.to_vec())).await;
    for ((window_ms, counting, count, total_minor), fact) in table.into_iter().zip(responses) {
        assert_eq!(fact, Fact::Velocity { count, total_minor }, "{window_ms} {counting:?}");
    }
    let query = velocity(Selector::Customer, 1_000, submitted);
    let in_dollars = facts(&databases, request(tenant, order("c-1", 5, "USD"), vec![query.clone()])).await;
    assert_eq!(in_dollars, [Fact::Velocity { count: 1, total_minor: 7 }]);
    let nothing = [Fact::Velocity { count: 0, total_minor: 0 }];
    let of_another = request(tenant, order("c-2", 5, "EUR"), vec![query.clone()]);
    assert_eq!(facts(&databases, of_another).await, nothing, "another customer");
    let elsewhere = request(counting_tenant(&databases).await, order("c-1", 5, "EUR"), vec![query]);
    assert_eq!(facts(&databases, elsewhere).await, nothing, "another tenant");
}

/// The UTC day is the first column of the index of values.
#[tokio::test]
async fn a_window_counts_whole_and_partial_days() {
    const DAY_MS: u64 = 86_400_000;
    let since_midnight_ms = NOW_MS % DAY_MS;
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = counting_tenant(&databases).await;
    let before_ms = [
        since_midnight_ms,
        since_midnight_ms + 1,
        since_midnight_ms + DAY_MS,
        since_midnight_ms + DAY_MS + 1,
        400 * DAY_MS,
        NOW_MS,
    ];
    let stored = before_ms.map(|before_ms| (before_ms, 1, "EUR", Outcome::Approve));
    store(&databases, tenant, &stored).await;
    let table = [
        (since_midnight_ms, 0),
        (since_midnight_ms + 1, 1),
        (since_midnight_ms + 2, 2),
        (since_midnight_ms + DAY_MS, 2),
        (since_midnight_ms + DAY_MS + 1, 3),
        (since_midnight_ms + DAY_MS + 2, 4),
        (366 * DAY_MS, 4),
        (401 * DAY_MS, 5),
        (NOW_MS + 1, 6),
    ];
    let queries = table.map(|(window_ms, _)| velocity(Selector::Customer, window_ms, Counting::Submitted));
    let asked = request(tenant, order("c-1", 5, "EUR"), queries.to_vec());
    let responses = facts(&databases, asked.clone()).await;
    for ((window_ms, count), fact) in table.into_iter().zip(&responses) {
        let expected = Fact::Velocity { count, total_minor: count.cast_signed() };
        assert_eq!(*fact, expected, "{window_ms}");
    }
    // A second payment at another time has windows of other days.
    let mut earlier = asked.clone();
    payment_of(&mut earlier).received_at_ms = NOW_MS - 399 * DAY_MS;
    let both = look_up_many(&databases.system, vec![earlier, asked]).await.unwrap();
    assert_eq!(both[1].facts, responses);
    let counts = [0, 0, 0, 1, 1, 1, 1, 1, 2];
    let expected = counts.map(|count: u64| Fact::Velocity { count, total_minor: count.cast_signed() });
    assert_eq!(both[0].facts, expected);
}

/// Row security keeps some conditions out of an index. Postgres would then read the whole index,
/// which is a thousand times slower.
#[tokio::test]
async fn a_window_is_read_from_the_index() {
    const PAGES: &str = "select idx_blks_hit + idx_blks_read, pg_relation_size(indexrelid) / 8192
                         from pg_statio_user_indexes where indexrelname ~ '^aggregate_values_rest'";
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = counting_tenant(&databases).await;
    let queries = [3_600_000, 86_400_000]
        .map(|window_ms| velocity(Selector::Customer, window_ms, Counting::Submitted))
        .to_vec();
    let asked = request(tenant, order("c-1", 5, "EUR"), queries);
    let reader = FactReader::start(databases.facts.clone());
    // Postgres plans the statement while the tables are empty, as on the first day.
    reader.look_up(asked.clone()).await.unwrap();
    let mut superuser = database.superuser().await;
    let values = "insert into aggregate_values (tenant_id, value_key, received_day, received_at_ms,
                      payment_id, amount_minor, method, outcome)
                  select $1, md5(n::text)::uuid, ($2 - n * 1000) / 86400000, $2 - n * 1000,
                         gen_random_uuid(), 1, 0, 0
                  from generate_series(1, 50000) n";
    sqlx::query(values).bind(tenant.0).bind(NOW_MS as i64).execute(&mut superuser).await.unwrap();
    sqlx::raw_sql("select pg_stat_force_next_flush()").execute(&mut superuser).await.unwrap();
    let pages = async |superuser: &mut PgConnection| -> (i64, i64) {
        sqlx::query_as(PAGES).fetch_one(superuser).await.unwrap()
    };
    let before = pages(&mut superuser).await;
    assert!(before.1 > 400, "{before:?}");

    let response = reader.look_up(asked).await.unwrap().facts;
    assert_eq!(response, vec![Fact::Velocity { count: 0, total_minor: 0 }; 2]);
    // Postgres updates the statistics of a connection soon after it ends.
    reader.stop().await;
    databases.facts.close().await;
    let after = once_changed(before, async || pages(&mut superuser).await).await;
    // Each window also looks for payments that came late.
    assert!((1..40).contains(&(after.0 - before.0)), "{before:?} {after:?}");
}

#[tokio::test]
async fn of_two_payments_in_one_millisecond_only_the_later_counts_the_other() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = counting_tenant(&databases).await;
    let ids = store(&databases, tenant, &[(0, 1, "EUR", Outcome::Approve)]).await;
    let query = velocity(Selector::Customer, 1_000, Counting::Submitted);
    let stored = ids[0].0.as_u128();
    for (id, count) in [(stored - 1, 0), (stored, 0), (stored + 1, 1)] {
        let mut asked = request(tenant, order("c-1", 5, "EUR"), vec![query.clone()]);
        payment_of(&mut asked).id = PaymentId(Uuid::from_u128(id));
        let expected = Fact::Velocity { count, total_minor: count.cast_signed() };
        assert_eq!(facts(&databases, asked).await, [expected]);
    }
}

#[tokio::test]
async fn a_window_excludes_the_payment_itself_and_payments_in_flight() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = counting_tenant(&databases).await;
    let ids = store(
        &databases,
        tenant,
        &[1, 10, 100, 1_000].map(|amount_minor| (5, amount_minor, "EUR", Outcome::Approve)),
    )
    .await;
    let queries = vec![
        velocity(Selector::Customer, 10, Counting::Submitted),
        list_query("none", Selector::Customer, Matching::Exact),
        velocity(Selector::DebtorName, 10, Counting::Submitted),
        velocity(Selector::DebtorAccount, 10, Counting::Approved),
        velocity(Selector::Card, 10, Counting::Approved),
    ];
    let mut asked = request(tenant, order("c-1", 5, "EUR"), queries);
    payment_of(&mut asked).id = ids[0];
    let own = asked.payment.order.clone();
    let in_flight = |selector: Selector, own: &PaymentOrder, payments: &[PaymentId]| InFlightValue {
        value_key: counted_key(tenant, selector, own),
        payments: payments.to_vec(),
    };
    let mut others = own.clone();
    others.debtor.name = "somebody else".to_owned();
    let never_stored = PaymentId(Uuid::now_v7());
    asked.in_flight = vec![
        in_flight(Selector::Customer, &own, &[ids[1], never_stored]),
        in_flight(Selector::DebtorName, &own, &ids[1..3]),
        in_flight(Selector::DebtorName, &others, &ids),
    ];
    let expected = [
        Fact::Velocity { count: 2, total_minor: 1_100 },
        Fact::Listed(false),
        Fact::Velocity { count: 1, total_minor: 1_000 },
        Fact::Velocity { count: 3, total_minor: 1_110 },
        Fact::Absent,
    ];
    assert_eq!(facts(&databases, asked).await, expected);
}

#[tokio::test]
async fn a_total_that_is_too_large_saturates() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = counting_tenant(&databases).await;
    sqlx::query(
        "insert into aggregate_values (tenant_id, value_key, received_day, received_at_ms, payment_id,
                                       amount_minor, method, outcome)
         select $1, $2, $3 / 86400000, $3, gen_random_uuid(), 9223372036854775807, 0, 0
         from generate_series(1, 3)",
    )
    .bind(tenant.0)
    .bind(counted_key(tenant, Selector::Customer, &order("c-1", 5, "EUR")))
    .bind(NOW_MS as i64 - 1)
    .execute(&mut database.superuser().await)
    .await
    .unwrap();
    let query = velocity(Selector::Customer, 1_000, Counting::Submitted);
    let response = facts(&databases, request(tenant, order("c-1", 5, "EUR"), vec![query])).await;
    assert_eq!(response, [Fact::Velocity { count: 3, total_minor: i64::MAX }]);
}
