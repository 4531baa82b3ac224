//! Rows that Postgres refuses, the bounded queue, and an orderly stop.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use sqlx::{Connection, Executor};
use tollgate::storage::journal::{Journal, JournalError, StoreOutcome};

use super::chain::verify;
use super::{store_all, tenant};
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision, journal, journal_settings};

#[tokio::test]
async fn only_the_row_that_the_database_refuses_fails() {
    let database = TestDatabase::create().await;
    let journal = journal(database.databases().journal).await;
    let tenant = tenant();
    let mut submitted: Vec<_> = (0..40).map(|n| decision(tenant, &format!("key-{n}"))).collect();
    // Postgres cannot store NUL in text.
    Arc::make_mut(&mut submitted[3].evidence.payment).order.reference = "a\0b".to_owned();
    // An id that already exists.
    let id = submitted[17].id();
    Arc::make_mut(&mut submitted[29].evidence.payment).id = id;
    let responses = store_all(&journal, submitted).await;
    for (n, response) in responses.iter().enumerate() {
        match n {
            3 => assert_eq!(*response, Err(JournalError::Refused)),
            // The order of the keys decides which of the two is first.
            17 | 29 => {}
            _ => assert!(matches!(response, Ok(StoreOutcome::First(_))), "{n}: {response:?}"),
        }
    }
    assert!(responses[17].is_ok() != responses[29].is_ok());
    assert_eq!(verify(&database).await, 38);
}

#[tokio::test]
async fn a_refused_decision_binds_no_key() {
    let database = TestDatabase::create().await;
    let journal = journal(database.databases().journal).await;
    let tenant = tenant();
    let mut bad = decision(tenant, "key");
    Arc::make_mut(&mut bad.evidence.payment).order.reference = "\0".to_owned();
    let responses = store_all(&journal, vec![bad, decision(tenant, "key"), decision(tenant, "key")]).await;
    assert_eq!(responses[0], Err(JournalError::Refused));
    assert!(matches!(responses[1], Ok(StoreOutcome::First(_))));
    assert!(matches!(responses[2], Ok(StoreOutcome::Duplicate(_))));
    assert_eq!(verify(&database).await, 1);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_its_accepted_decisions_are_stored() {
    let database = TestDatabase::create().await;
    let mut settings = journal_settings(database.databases().journal);
    (settings.queue_max, settings.batch_max, settings.writers) = (2, 1, 1);
    let (journal, _task) = Journal::start(settings).await.unwrap();
    let tenant = tenant();

    let mut blocker = database.superuser().await;
    let mut locked = blocker.begin().await.unwrap();
    locked.execute("lock table idempotency_keys").await.unwrap();
    let mut waiting = Vec::new();
    for n in 0..3 {
        let (journal, decision) = (journal.clone(), decision(tenant, &format!("key-{n}")));
        waiting.push(tokio::spawn(async move { journal.store(decision).await }));
        // The first decision must have left the queue before the others fill it.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(journal.store(decision(tenant, "too-many")).await, Err(JournalError::Full));
    locked.rollback().await.unwrap();
    for response in join_all(waiting).await {
        assert!(matches!(response.unwrap(), Ok(StoreOutcome::First(_))));
    }
    assert_eq!(verify(&database).await, 3);
}

#[tokio::test]
async fn a_stop_stores_accepted_decisions_and_refuses_new_ones() {
    let database = TestDatabase::create().await;
    let mut settings = journal_settings(database.databases().journal);
    settings.batch_max = 16;
    let (journal, task) = Journal::start(settings).await.unwrap();
    let tenant = tenant();
    let decisions: Vec<_> = (0..300).map(|n| decision(tenant, &format!("key-{n}"))).collect();
    let stored = store_all(&journal, decisions);
    let stop = async {
        tokio::task::yield_now().await;
        journal.flush_and_stop().await;
    };
    let (responses, ()) = tokio::join!(stored, stop);
    assert!(responses.iter().all(|response| matches!(response, Ok(StoreOutcome::First(_)))));
    task.finished().await;
    assert_eq!(journal.store(decision(tenant, "late")).await, Err(JournalError::Unavailable));
    assert_eq!(verify(&database).await, 300);
}
