//! A database of the release before, in which velocities were counted by other rows.

use serde_json::json;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node, payment};

/// Brings the database back to the form of the release before, of which a node is still alive.
const BEFORE: &str = "
    truncate value_series, aggregate_values;
    update value_series_log set writes_values = true, sequence = sequence + 1;
    create table payment_values (
        tenant_id uuid not null, value_key uuid not null, received_at_ms bigint not null,
        payment_id uuid not null, amount_minor bigint not null, currency text not null,
        approved boolean not null);
    alter table payment_values owner to tollgate_owner;
    alter table payment_values enable row level security;
    alter table payment_values force row level security;
    create policy batch on payment_values to tollgate_journal
        with check (tenant_id = any ((select batch_tenants())::uuid[]));
    grant insert on payment_values to tollgate_journal;
    insert into nodes (id, name, started_at_ms, seen_at)
    values (gen_random_uuid(), 'before', 0, now() + interval '1 day')";

#[tokio::test(flavor = "multi_thread")]
async fn payments_of_before_an_upgrade_are_counted_and_nodes_of_before_go_on_counting() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let limit = json!({"selector": "customer", "window_seconds": 3_600, "max_count": 3, "verdict": "reject"});
    caller.activate(&[("velocity", json!({"limits": [limit]}))]).await;
    for number in 0..3 {
        caller.pay(&format!("before-{number}"), &payment()).await;
    }
    node.stop().await;
    let mut superuser = database.superuser().await;
    sqlx::raw_sql(BEFORE).execute(&mut superuser).await.unwrap();

    let node = Node::start(&database).await;
    let caller = caller.at(&node.url);
    let (_, decision) = caller.pay("at-the-upgrade", &payment()).await;
    assert_eq!(decision["outcome"], "reject", "{decision}");
    let values: i64 =
        sqlx::query_scalar("select count(*) from payment_values").fetch_one(&mut superuser).await.unwrap();
    assert!(values > 3, "the node of before counts by these: {values}");

    sqlx::raw_sql("delete from nodes where name = 'before'").execute(&mut superuser).await.unwrap();
    let begun = std::time::Instant::now();
    let is_there = "select to_regclass('payment_values') is not null";
    while sqlx::query_scalar(is_there).fetch_one(&mut superuser).await.unwrap() {
        assert!(begun.elapsed() < TEST_TIMEOUT, "the values are still there");
        let key = Uuid::now_v7().to_string();
        assert_eq!(caller.pay(&key, &payment()).await.1["outcome"], "reject");
    }
    for number in 0..3 {
        let (status, decision) = caller.pay(&format!("after-{number}"), &payment()).await;
        assert_eq!((status.as_u16(), &decision["outcome"]), (201, &json!("reject")), "{decision}");
    }
    node.stop().await;
}
