//! The search by sorted segments: what it finds is what a plain scan finds, whatever is written,
//! merged or interrupted meanwhile.

mod api;
pub mod model;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tollgate::decisions::search_index::SearchIndex;
use tollgate::domain::decision::Decision;
use tollgate::domain::tenant::TenantId;
use tollgate::storage::databases::Databases;
use tollgate::storage::decisions::{DecisionFilter, list};
use tollgate::storage::search::{self, index_stored, writers_behind};

use crate::support::database::TestDatabase;
use crate::support::decisions::{index_everything, journal};
use model::{DAY_MS, Random};

/// All pages of a search, of which none may end without a position or a hit.
async fn found(databases: &Databases, tenant: TenantId, filter: &DecisionFilter) -> Vec<uuid::Uuid> {
    let (mut filter, mut all) = (filter.clone(), Vec::new());
    loop {
        let page = list(&databases.app, tenant, &filter).await.unwrap();
        assert!(page.found.len() <= filter.limit as usize);
        all.extend(page.found.iter().map(|found| found.summary.id.0));
        let last = page.found.last().map(|found| found.summary.id);
        let next = page.reached.or(last.filter(|_| page.found.len() == filter.limit as usize));
        assert!(next.is_none() || next != filter.position, "a page got nowhere: {filter:?}");
        match next {
            Some(next) => filter.position = Some(next),
            None => return all,
        }
    }
}

async fn compare(databases: &Databases, random: &mut Random, stored: &[Decision], filters: usize) {
    for _ in 0..filters {
        let (tenant, filter) = random.filter(stored);
        let expected = model::scan(stored, tenant, &filter);
        assert_eq!(found(databases, tenant, &filter).await, expected, "{filter:?}");
    }
}

async fn segments(database: &TestDatabase) -> (i64, i64) {
    sqlx::query_as("select count(*), coalesce(max(level), 0)::bigint from search_segments")
        .fetch_one(&mut database.superuser().await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_search_finds_what_a_scan_finds_page_by_page_in_both_orders() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let mut random = Random::new(11);
    let journal = journal(databases.journal.clone()).await;
    let mut stored = Vec::new();
    for _ in 0..40 {
        for _ in 0..10 {
            let decision = random.decision();
            journal.store(decision.clone()).await.unwrap();
            stored.push(decision);
        }
        index_everything(&databases.system).await;
    }
    let (count, level) = segments(&database).await;
    assert!(level > 0 && count > 1, "nothing was merged: {count} segments up to level {level}");
    compare(&databases, &mut random, &stored, 150).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_right_while_decisions_are_stored_and_segments_merged() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let mut random = Random::new(12);
    let journal = Arc::new(journal(databases.journal.clone()).await);
    let index = search_index(&databases, &journal).await;
    let end = CancellationToken::new();
    let working = tokio::spawn({
        let (index, end) = (index.clone(), end.clone());
        async move { index.work(end).await }
    });
    let mut stored = Vec::new();
    for _ in 0..60 {
        let decision = random.decision();
        journal.store(decision.clone()).await.unwrap();
        stored.push(decision);
        let (tenant, mut filter) = random.filter(&stored);
        filter.limit = 1_000;
        let page = index.search(tenant, &filter).await.unwrap();
        let ids: Vec<_> = page.found.iter().map(|found| found.summary.id.0).collect();
        assert_eq!((ids, page.reached), (model::scan(&stored, tenant, &filter), None), "{filter:?}");
    }
    end.cancel();
    working.await.unwrap();
    compare(&databases, &mut random, &stored, 40).await;
}

async fn search_index(
    databases: &Databases,
    journal: &Arc<tollgate::storage::journal::Journal>,
) -> Arc<SearchIndex> {
    let (system, app) = (databases.system.clone(), databases.app.clone());
    let index = SearchIndex::open(system, app, journal.clone(), tollgate::world::system()).await;
    Arc::new(index.unwrap())
}

/// What is indexed, from the chunks: the entries of all segments, with how often each is there.
async fn entries(database: &TestDatabase) -> BTreeMap<(uuid::Uuid, Vec<u8>), i64> {
    let rows: Vec<(uuid::Uuid, Vec<u8>, i64)> =
        sqlx::query_as("select tenant_id, entries, count(*) from search_chunks group by 1, 2")
            .fetch_all(&mut database.superuser().await)
            .await
            .unwrap();
    rows.into_iter().map(|(tenant, bytes, count)| ((tenant, bytes), count)).collect()
}

/// The work is dropped at a random moment, its connections are killed by the server, and another
/// process goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_indexer_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let mut random = Random::new(13);
    let journal = Arc::new(journal(databases.journal.clone()).await);
    let mut stored = Vec::new();
    for kill in 0..25 {
        let index = search_index(&database.databases(), &journal).await;
        let end = CancellationToken::new();
        let working = tokio::spawn(async move { index.work(end).await });
        for _ in 0..8 {
            let decision = random.decision();
            journal.store(decision.clone()).await.unwrap();
            stored.push(decision);
        }
        tokio::time::sleep(Duration::from_millis(random.below(30))).await;
        working.abort();
        let killed = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                      where datname = current_database() and usename = 'tollgate_system'";
        sqlx::query(killed).execute(&mut database.superuser().await).await.unwrap();
        if kill % 5 == 4 {
            index_everything(&database.databases().system).await;
            compare(&databases, &mut random, &stored, 10).await;
        }
    }
    let databases = database.databases();
    index_everything(&databases.system).await;
    compare(&databases, &mut random, &stored, 60).await;
    assert!(entries(&database).await.values().all(|count| *count == 1), "a chunk is there twice");
    let behind = writers_behind(&databases.system, 0, u64::MAX).await.unwrap();
    assert!(behind.is_empty(), "not indexed: {behind:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_do_not_index_a_writer_twice() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let mut random = Random::new(14);
    let journal = journal(databases.journal.clone()).await;
    let mut stored = Vec::new();
    for _ in 0..30 {
        let decision = random.decision();
        journal.store(decision.clone()).await.unwrap();
        stored.push(decision);
    }
    let writers = writers_behind(&databases.system, 0, u64::MAX).await.unwrap();
    assert!(!writers.is_empty());
    let both = writers.iter().flat_map(|writer| [*writer; 2]);
    let indexed = both.map(|writer| {
        let system = databases.system.clone();
        async move { index_stored(&system, writer).await.unwrap().map_or(0, |indexed| indexed.decisions) }
    });
    let indexed: Vec<u64> = futures::future::join_all(indexed).await;
    assert_eq!(indexed.iter().sum::<u64>(), 30, "{indexed:?}");
    compare(&databases, &mut random, &stored, 20).await;
}

/// Many payments of one moment, as in a history that knows only days, and a search of which most
/// candidates do not fulfil the conditions: a page ends early and the next goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_has_looked_at_enough_ends_early_and_the_next_one_goes_on() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let mut random = Random::new(15);
    let journal = journal(databases.journal.clone()).await;
    let tenant = random.tenants[0];
    let stored: Vec<Decision> = (0..2_600)
        .map(|number| random.decision_of(tenant, 3 * DAY_MS, &format!("c-{}", number % 500)))
        .collect();
    let storing = stored.iter().map(|decision| journal.store(decision.clone()));
    futures::future::join_all(storing).await.into_iter().for_each(|result| drop(result.unwrap()));
    index_everything(&databases.system).await;
    for order in [search::SearchOrder::Newest, search::SearchOrder::Oldest] {
        let filter = DecisionFilter {
            values: vec![(tollgate::domain::selector::Selector::Customer, "c-7".to_owned())],
            order,
            limit: 3,
            ..DecisionFilter::default()
        };
        assert_eq!(found(&databases, tenant, &filter).await, model::scan(&stored, tenant, &filter));
        let all = DecisionFilter { limit: 100, ..filter };
        let page = list(&databases.app, tenant, &all).await.unwrap();
        assert!(page.reached.is_some(), "the page looked at all {} payments", stored.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_from_before_the_index_is_indexed_in_the_background_and_searched_only_then() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let mut random = Random::new(16);
    let journal = Arc::new(journal(databases.journal.clone()).await);
    let mut stored = Vec::new();
    for _ in 0..50 {
        let decision = random.decision();
        journal.store(decision.clone()).await.unwrap();
        stored.push(decision);
    }
    // As the migration leaves it.
    let history = "insert into search_progress (writer_id, sequence, history_until)
                   select writer_id, 0, max(sequence) from journal_batches group by writer_id";
    sqlx::query(history).execute(&mut database.superuser().await).await.unwrap();
    assert!(search::history(&databases.system).await.unwrap().is_some());
    let index = search_index(&databases, &journal).await;
    let (tenant, filter) = random.filter_by_terms(&stored);
    assert!(index.search(tenant, &filter).await.is_err(), "an incomplete answer");
    assert!(index.search(tenant, &DecisionFilter { limit: 9, ..DecisionFilter::default() }).await.is_ok());
    let end = CancellationToken::new();
    let searching = async {
        while index.search(tenant, &filter).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        end.cancel();
    };
    let both = async { tokio::join!(index.work(end.clone()), searching) };
    timeout(crate::support::program::TEST_TIMEOUT, both).await.unwrap();
    assert!(search::history(&databases.system).await.unwrap().is_none());
    compare(&databases, &mut random, &stored, 40).await;
}
