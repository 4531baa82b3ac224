//! A key has one decision, across all callers and nodes.

use std::collections::HashSet;

use futures::future::join_all;
use tollgate::domain::plugin::Digest;
use tollgate::storage::decisions;
use tollgate::storage::journal::StoreOutcome;

use super::chain::verify;
use super::{StoreResult, count, store_all, tenant};
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision, journal, journal_settings};

fn count_first(responses: &[StoreResult]) -> usize {
    responses.iter().filter(|response| matches!(response, Ok(StoreOutcome::First(_)))).count()
}

#[tokio::test]
async fn the_same_key_in_one_batch_is_stored_once_and_all_callers_get_it() {
    let database = TestDatabase::create().await;
    let mut settings = journal_settings(database.databases().journal);
    settings.writers = 1;
    let (journal, _task) = tollgate::storage::journal::Journal::start(settings).await.unwrap();
    let tenant = tenant();
    let submitted: Vec<_> = (0..10).map(|_| decision(tenant, "once")).collect();
    let first = submitted[0].clone();
    let responses = store_all(&journal, submitted).await;
    assert!(matches!(responses[0], Ok(StoreOutcome::First(_))), "the first to come wins");
    for response in &responses[1..] {
        let Ok(StoreOutcome::Duplicate(stored)) = response else { panic!("{response:?}") };
        assert_eq!(*stored.decision, first);
    }
    assert_eq!(verify(&database).await, 1);
}

#[tokio::test]
async fn a_later_submission_gets_the_stored_decision_and_its_hash() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let journal = journal(databases.journal.clone()).await;
    let tenant = tenant();
    let first = decision(tenant, "key");
    let Ok(StoreOutcome::First(position)) = journal.store(first.clone()).await else { panic!("not first") };
    let mut other = decision(tenant, "key");
    other.request_hash = Digest([2; 32]);
    let Ok(StoreOutcome::Duplicate(stored)) = journal.store(other).await else { panic!("not a duplicate") };
    assert_eq!((stored.decision.request_hash, stored.position), (Digest([1; 32]), position));
    let by_key = decisions::by_key(&databases.app, tenant, first.client, &first.key).await.unwrap().unwrap();
    assert_eq!(by_key, stored);
    let batches = count(&mut database.superuser().await, "select count(*) from journal_batches").await;
    assert_eq!(batches, 1, "losers alone make no batch");
}

/// An import does this if the result of its commit is unknown.
#[tokio::test]
async fn storing_the_same_decision_again_returns_its_first_position() {
    let database = TestDatabase::create().await;
    let journal = journal(database.databases().journal).await;
    let only = decision(tenant(), "key");
    let first = journal.store(only.clone()).await;
    assert!(matches!(first, Ok(StoreOutcome::First(_))), "{first:?}");
    assert_eq!(journal.store(only).await, first);
    assert_eq!(verify(&database).await, 1);
}

#[tokio::test]
async fn keys_are_separate_for_each_tenant_and_client() {
    let database = TestDatabase::create().await;
    let journal = journal(database.databases().journal).await;
    let tenant_one = tenant();
    let mut of_other_client = decision(tenant_one, "key");
    of_other_client.client = tollgate::domain::tenant::ClientId(uuid::Uuid::now_v7());
    let submitted = vec![decision(tenant_one, "key"), decision(tenant(), "key"), of_other_client];
    assert_eq!(count_first(&store_all(&journal, submitted).await), 3);
    assert_eq!(verify(&database).await, 3);
}

/// Each node has two writers and submits the same keys in another order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_submit_the_same_keys_agree_and_never_deadlock() {
    const KEYS: usize = 60;
    const ROUNDS: usize = 10;
    let database = TestDatabase::create().await;
    let connect = database.databases().journal;
    let nodes = [journal(connect.clone()).await, journal(connect.clone()).await, journal(connect).await];
    let tenants = [tenant(), tenant(), tenant(), tenant()];
    for round in 0..ROUNDS {
        let submissions = nodes.iter().enumerate().map(|(node, journal)| {
            // A step without a common factor with the number of keys visits each key once.
            let step = [1, 7, 59][node];
            let decisions = (0..KEYS).map(|n| {
                let place = (n * step + node * 13) % KEYS;
                decision(tenants[place % 4], &format!("{round}-{place}"))
            });
            store_all(journal, decisions.collect())
        });
        let responses = join_all(submissions).await.concat();
        assert!(responses.iter().all(Result::is_ok), "{responses:?}");
        assert_eq!(count_first(&responses), KEYS);
        let reported: HashSet<_> = responses
            .iter()
            .filter_map(|response| match response {
                Ok(StoreOutcome::Duplicate(stored)) => Some(stored.decision.id()),
                _ => None,
            })
            .collect();
        assert!(reported.len() <= KEYS, "a key was reported with two decisions");
    }
    assert_eq!(verify(&database).await, KEYS * ROUNDS);
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    assert_eq!(count(&mut database.superuser().await, deadlocks).await, 0);
}
