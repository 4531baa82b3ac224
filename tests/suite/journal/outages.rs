//! Connections that break at the worst time.

use std::time::{Duration, Instant};

use tollgate::storage::journal::{Journal, JournalError, StoreOutcome};

use super::chain::verify;
use super::{store_all, tenant};
use tollgate::storage::pool::DatabaseSettings;
use tollgate::storage::session::{Role, Sessions};

use crate::support::database::TestDatabase;
use crate::support::decisions::{decision, journal, journal_settings};
use crate::support::faulty_proxy::{Fault, FaultyProxy};
use crate::support::program::TEST_TIMEOUT;
use crate::support::silent_proxy::{DatabaseRequest, SilentProxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_response_is_lost_is_settled_without_duplicates() {
    let database = TestDatabase::create().await;
    let connect = database.databases().journal;
    let proxy = FaultyProxy::start(&connect);
    let journal = of_one_writer(proxy.sessions(&connect)).await;
    let tenant = tenant();
    const ROUNDS: usize = 60;
    for round in 0..ROUNDS {
        proxy.inject([Fault::BeforeCommit, Fault::AfterCommit, Fault::WithCommit][round % 3]);
        // One key is submitted twice. In the second half a key that is already bound is added, so
        // that the batch claims its keys first.
        let mut keys = vec![format!("{round}-a"), format!("{round}-b"), format!("{round}-b")];
        keys.extend((round >= ROUNDS / 2).then(|| "0-a".to_owned()));
        let responses = store_all(&journal, keys.iter().map(|key| decision(tenant, key)).collect()).await;
        assert!(proxy.fault_happened());
        assert!(matches!(responses[0], Ok(StoreOutcome::First(_))), "round {round}: {:?}", responses[0]);
        assert!(matches!(responses[1], Ok(StoreOutcome::First(_))), "round {round}: {:?}", responses[1]);
        for duplicate in &responses[2..] {
            assert!(matches!(duplicate, Ok(StoreOutcome::Duplicate(_))), "round {round}: {duplicate:?}");
        }
    }
    assert_eq!(verify(&database).await, 2 * ROUNDS);
}

/// The commit succeeds, then the database is down for longer than a batch is retried: the result is
/// unknown and the chain continues.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_commit_is_settled_before_the_chain_continues() {
    let database = TestDatabase::create().await;
    let connect = database.databases().journal;
    let proxy = FaultyProxy::start(&connect);
    let journal = of_one_writer(proxy.sessions(&connect)).await;
    let tenant = tenant();
    for (round, cut) in [Fault::AfterCommit, Fault::BeforeCommit].into_iter().enumerate() {
        let submitted = decision(tenant, &format!("unknown-{round}"));
        proxy.inject(cut);
        let (response, ()) = tokio::join!(journal.store(submitted.clone()), async {
            while !proxy.fault_happened() {
                tokio::task::yield_now().await;
            }
            proxy.inject(Fault::Everything);
        });
        // The journal may have settled the batch before the outage.
        assert!(
            matches!(response, Err(JournalError::Unavailable) | Ok(StoreOutcome::First(_))),
            "{response:?}"
        );
        proxy.inject(Fault::Nothing);
        let retried = wait_until_stored(&journal, || decision(tenant, &format!("unknown-{round}"))).await;
        if cut == Fault::AfterCommit {
            let StoreOutcome::Duplicate(stored) = retried else { panic!("the key was bound twice") };
            assert_eq!(*stored.decision, submitted);
        }
        wait_until_stored(&journal, || decision(tenant, &format!("after-{round}"))).await;
    }
    assert_eq!(verify(&database).await, 4);
}

/// A closed connection may still deliver its data after the journal has checked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_batch_is_not_mistaken_for_another() {
    let database = TestDatabase::create().await;
    let connect = database.databases().journal;
    let proxy = FaultyProxy::start(&connect);
    let journal = of_one_writer(proxy.sessions(&connect)).await;
    let tenant = tenant();

    // The journal retries before the late commit arrives, which then finds the key bound.
    proxy.inject(Fault::Late);
    let first = journal.store(decision(tenant, "tried-again")).await;
    assert!(matches!(first, Ok(StoreOutcome::First(_))), "{first:?}");
    proxy.deliver_late_commit();

    // The journal abandons the batch before the late commit arrives. The late batch then takes its
    // position in the chain.
    let late = decision(tenant, "given-up");
    proxy.inject(Fault::Late);
    let (response, ()) = tokio::join!(journal.store(late.clone()), async {
        while !proxy.fault_happened() {
            tokio::task::yield_now().await;
        }
        proxy.inject(Fault::Everything);
    });
    assert_eq!(response, Err(JournalError::Unavailable));
    wait_for_journal(&journal, false).await;
    proxy.inject(Fault::Nothing);
    wait_for_journal(&journal, true).await;
    proxy.deliver_late_commit();
    let stored = "select count(*) from decisions where idempotency_key = 'given-up'";
    while sqlx::query_scalar::<_, i64>(stored)
        .fetch_one(database.databases().system.sqlx_pool())
        .await
        .unwrap()
        == 0
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let next = journal.store(decision(tenant, "next")).await;
    assert!(matches!(next, Ok(StoreOutcome::First(_))), "{next:?}");
    let retried = journal.store(decision(tenant, "given-up")).await;
    let Ok(StoreOutcome::Duplicate(first)) = retried else { panic!("{retried:?}") };
    assert_eq!(*first.decision, late);
    assert_eq!(verify(&database).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submission_that_timed_out_on_locked_tables_is_not_stored_later() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let journal = of_one_writer(databases.journal.clone()).await;
    let tenant = tenant();
    // Only a prepared statement is sent in one piece.
    journal.store(decision(tenant, "before")).await.unwrap();
    let mut owner = database.superuser().await;
    sqlx::raw_sql("begin; lock table tollgate.decisions in share mode").execute(&mut owner).await.unwrap();
    let response = journal.store(decision(tenant, "locked-out")).await;
    assert_eq!(response, Err(JournalError::Unavailable));
    sqlx::raw_sql("commit").execute(&mut owner).await.unwrap();
    let stored = wait_until_stored(&journal, || decision(tenant, "locked-out")).await;
    assert!(matches!(stored, StoreOutcome::First(_)), "{stored:?}");
    assert_eq!(verify(&database).await, 2);
}

/// The old session holds the key and the position in an open transaction until the server ends it.
/// Until then the result is unknown, and afterwards it was not stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_goes_silent_in_a_transaction_blocks_its_key_only_for_seconds() {
    let database = TestDatabase::create().await;
    let connect = database.databases().journal;
    let proxy = FaultyProxy::start(&connect);
    let journal = of_one_writer(proxy.sessions(&connect)).await;
    let tenant = tenant();
    // A key that was already bound makes the next batches claim their keys first, in a transaction.
    journal.store(decision(tenant, "bound")).await.unwrap();
    journal.store(decision(tenant, "bound")).await.unwrap();
    proxy.inject(Fault::Silence);
    let submitted = decision(tenant, "silent");
    let first = journal.store(submitted).await;
    assert!(matches!(first, Ok(StoreOutcome::First(_)) | Err(JournalError::Unavailable)), "{first:?}");
    assert!(proxy.fault_happened());
    wait_until_stored(&journal, || decision(tenant, "silent")).await;
    assert_eq!(verify(&database).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_down_submissions_are_unavailable_and_later_they_work_again() {
    let database = TestDatabase::create().await;
    let connect = database.databases().journal;
    let proxy = FaultyProxy::start(&connect);
    let journal = journal(proxy.sessions(&connect)).await;
    let tenant = tenant();
    proxy.inject(Fault::Everything);
    let decisions = (0..20).map(|n| decision(tenant, &format!("down-{n}"))).collect();
    let responses = store_all(&journal, decisions).await;
    assert!(responses.iter().all(|response| *response == Err(JournalError::Unavailable)), "{responses:?}");

    // Each writer must detect the outage first. After that no request waits.
    let _ = store_all(&journal, (0..20).map(|n| decision(tenant, &format!("down-{n}"))).collect()).await;
    assert_eq!(journal.store(decision(tenant, "down-0")).await, Err(JournalError::Unavailable));

    proxy.inject(Fault::Nothing);
    let stored = wait_until_stored(&journal, || decision(tenant, "down-0")).await;
    assert!(matches!(stored, StoreOutcome::First(_)), "what was unavailable was not stored");
    assert_eq!(verify(&database).await, 1);
}

/// The error is the same as if the partition of one decision were on a full disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_that_cannot_be_written_does_not_block_others() {
    let database = TestDatabase::create().await;
    let journal = of_one_writer(database.databases().journal).await;
    let tenant = tenant();
    let mut decisions: Vec<_> = (0..40).map(|n| decision(tenant, &format!("given-up-{n}"))).collect();
    let bad = decisions[20].id();
    let trigger = format!(
        "create function tollgate.no_room() returns trigger language plpgsql as
         $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$;
         create trigger no_room before insert on tollgate.decisions for each row
         when (new.id = '{}') execute function tollgate.no_room()",
        bad.0
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(trigger)).execute(&mut database.superuser().await).await.unwrap();
    // Decisions in other batches may be stored.
    let last = decisions.pop().unwrap();
    let responses = store_all(&journal, decisions).await;
    assert_eq!(responses[20], Err(JournalError::Unavailable));
    wait_until_stored(&journal, || last.clone()).await;
    wait_until_stored(&journal, || decision(tenant, "given-up-19")).await;
    verify(&database).await;
}

/// Routers drop unused connections without notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_idle_connection_is_replaced_before_a_payment_needs_it() {
    let database = TestDatabase::create().await;
    let line = SilentProxy::start(database.databases().journal.options());
    let settings = DatabaseSettings::for_url(line.url(&database.url));
    let journal = of_one_writer(settings.sessions(Role::Journal).unwrap()).await;
    let tenant = tenant();
    journal.store(decision(tenant, "before")).await.unwrap();
    line.silence_next(DatabaseRequest::Probe);
    line.wait_until_silenced().await;
    let response = journal.store(decision(tenant, "after")).await;
    assert!(matches!(response, Ok(StoreOutcome::First(_))), "{response:?}");
    assert_eq!(verify(&database).await, 2);
}

async fn of_one_writer(sessions: Sessions) -> Journal {
    let mut settings = journal_settings(sessions);
    settings.writers = 1;
    Journal::start(settings).await.unwrap().0
}

async fn wait_for_journal(journal: &Journal, up: bool) {
    while journal.is_up() != up {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn wait_until_stored(
    journal: &Journal,
    submit: impl Fn() -> tollgate::domain::decision::Decision,
) -> StoreOutcome {
    let begun = Instant::now();
    loop {
        match journal.store(submit()).await {
            Ok(stored) => return stored,
            Err(error) => assert!(begun.elapsed() < TEST_TIMEOUT, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
