//! Facts of live payments, read together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use sqlx::AssertSqlSafe;
use tollgate::domain::selector::{Counting, Fact, Matching, Selector};
use tollgate::domain::verdict::Outcome;
use tollgate::storage::facts::{FactReader, FactRequest, look_up};

use super::{NOW_MS, counting_tenant, list_query, list_with, request, velocity};
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, journal, order};

#[tokio::test(flavor = "multi_thread")]
async fn payments_of_many_tenants_get_their_own_facts() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let journal = journal(databases.journal.clone()).await;
    let mut requests: Vec<FactRequest> = Vec::new();
    for number in 0..6 {
        let tenant = counting_tenant(&databases).await;
        list_with(&database, tenant, "watched", &[(&format!("c-{number}"), 0, None)]).await;
        let mut keys = Vec::new();
        for payment in 0..number {
            let order = order("c-0", 10, "EUR");
            let key = format!("key-{payment}");
            let decision = decision_on(tenant, &key, Outcome::Approve, NOW_MS - 10, order);
            keys.push((decision.client, decision.key.clone()));
            journal.store(decision).await.unwrap();
        }
        for asked in 0..20 {
            let queries = vec![
                list_query("watched", Selector::Customer, Matching::Exact),
                velocity(Selector::Customer, 1_000, Counting::Submitted),
                velocity(Selector::Card, 1_000, Counting::Submitted),
            ];
            let mut request = request(tenant, order(&format!("c-{}", asked % 6), 10, "EUR"), queries);
            request.key = keys.get(asked).cloned();
            requests.push(request);
        }
    }

    let reader = FactReader::start(databases.facts.clone());
    let together = join_all(requests.iter().map(|request| reader.look_up(request.clone()))).await;
    let (mut listed, mut counted, mut bound) = (0, 0, 0);
    for (request, response) in requests.into_iter().zip(together) {
        let response = response.unwrap();
        listed += usize::from(response.facts[0] == Fact::Listed(true));
        counted += usize::from(matches!(response.facts[1], Fact::Velocity { count: 1.., .. }));
        bound += usize::from(response.bound.is_some());
        assert_eq!(response, look_up(&databases.app, request).await.unwrap());
    }
    assert!(listed > 15 && counted > 15 && bound == 15, "{listed} {counted} {bound}");
    reader.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_facts_of_a_tenant_are_answered_and_delay_no_other_tenant() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (slow, quick) = (counting_tenant(&databases).await, counting_tenant(&databases).await);
    for tenant in [slow, quick] {
        list_with(&database, tenant, "watched", &[("c-1", 0, None)]).await;
    }
    // Simulates a tenant with millions of rows.
    let policy = format!(
        "create policy slowly on list_entries as restrictive for select to tollgate_journal
         using (tenant_id <> '{slow}' or pg_sleep(0.3)::text = '')"
    );
    sqlx::raw_sql(AssertSqlSafe(policy)).execute(&mut database.superuser().await).await.unwrap();
    let asked = |tenant| {
        request(
            tenant,
            order("c-1", 5, "EUR"),
            vec![list_query("watched", Selector::Customer, Matching::Exact)],
        )
    };

    let reader = FactReader::start(databases.facts.clone());
    let answered = Arc::new(AtomicUsize::new(0));
    let flood = (0..20).map(|_| {
        let (reader, request, answered) = (reader.clone(), asked(slow), answered.clone());
        tokio::spawn(async move {
            let response = reader.look_up(request).await.unwrap();
            answered.fetch_add(1, Ordering::SeqCst);
            response.facts
        })
    });
    let flood: Vec<_> = flood.collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    for _ in 0..100 {
        assert_eq!(reader.look_up(asked(quick)).await.unwrap().facts, [Fact::Listed(true)]);
    }
    let before = answered.load(Ordering::SeqCst);
    assert!(before < 10, "all of the slow ones take six seconds: {before}");
    for response in flood {
        assert_eq!(response.await.unwrap(), [Fact::Listed(true)]);
    }
    reader.stop().await;
}
