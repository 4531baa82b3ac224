//! Connections that die at the worst moment.

use std::time::{Duration, Instant};

use tollgate::storage::journal::{Journal, JournalError, Stored};

use super::chain::verify;
use super::{store_all, tenant};
use tollgate::storage::pool::DatabaseSettings;
use tollgate::storage::session::{Role, Sessions};

use crate::support::database::TestDatabase;
use crate::support::decisions::{decision, journal, journal_settings};
use crate::support::program::PATIENCE;
use crate::support::proxy::{Cut, Proxy};
use crate::support::swallow::{Asked, Swallower};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_settled_and_nothing_is_stored_twice() {
    let database = TestDatabase::create().await;
    let connect = database.databases().journal;
    let proxy = Proxy::start(&connect);
    let journal = of_one_writer(proxy.sessions(&connect)).await;
    let tenant = tenant();
    const ROUNDS: usize = 60;
    for round in 0..ROUNDS {
        proxy.cut([Cut::BeforeCommit, Cut::AfterCommit, Cut::WithCommit][round % 3]);
        // One key comes twice; in the second half one is bound already, so that keys are claimed first.
        let mut keys = vec![format!("{round}-a"), format!("{round}-b"), format!("{round}-b")];
        keys.extend((round >= ROUNDS / 2).then(|| "0-a".to_owned()));
        let answers = store_all(&journal, keys.iter().map(|key| decision(tenant, key)).collect()).await;
        assert!(proxy.has_cut());
        assert!(matches!(answers[0], Ok(Stored::First(_))), "round {round}: {:?}", answers[0]);
        assert!(matches!(answers[1], Ok(Stored::First(_))), "round {round}: {:?}", answers[1]);
        for duplicate in &answers[2..] {
            assert!(matches!(duplicate, Ok(Stored::Duplicate(_))), "round {round}: {duplicate:?}");
        }
    }
    assert_eq!(verify(&database).await, 2 * ROUNDS);
}

/// The commit went through, then everything is down for longer than a batch is
/// tried: the waiter hears that nobody knows, and the chain goes on unbroken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_given_up_is_settled_before_the_chain_goes_on() {
    let database = TestDatabase::create().await;
    let connect = database.databases().journal;
    let proxy = Proxy::start(&connect);
    let journal = of_one_writer(proxy.sessions(&connect)).await;
    let tenant = tenant();
    for (round, cut) in [Cut::AfterCommit, Cut::BeforeCommit].into_iter().enumerate() {
        let submitted = decision(tenant, &format!("unknown-{round}"));
        proxy.cut(cut);
        let (answer, ()) = tokio::join!(journal.store(submitted.clone()), async {
            while !proxy.has_cut() {
                tokio::task::yield_now().await;
            }
            proxy.cut(Cut::Everything);
        });
        // Settling may have been faster than the outage.
        assert!(matches!(answer, Err(JournalError::Unavailable) | Ok(Stored::First(_))), "{answer:?}");
        proxy.cut(Cut::Nothing);
        let retried = until_stored(&journal, || decision(tenant, &format!("unknown-{round}"))).await;
        if cut == Cut::AfterCommit {
            let Stored::Duplicate(stored) = retried else { panic!("the key was bound twice") };
            assert_eq!(*stored.decision, submitted);
        }
        until_stored(&journal, || decision(tenant, &format!("after-{round}"))).await;
    }
    assert_eq!(verify(&database).await, 4);
}

/// A line that drops may still deliver what was sent on it, after the journal has
/// looked and found nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_arrives_after_it_was_taken_for_lost_is_nobody_elses() {
    let database = TestDatabase::create().await;
    let connect = database.databases().journal;
    let proxy = Proxy::start(&connect);
    let journal = of_one_writer(proxy.sessions(&connect)).await;
    let tenant = tenant();

    // Tried again meanwhile: the second to come finds the key bound.
    proxy.cut(Cut::Late);
    let first = journal.store(decision(tenant, "tried-again")).await;
    assert!(matches!(first, Ok(Stored::First(_))), "{first:?}");
    proxy.let_go();

    // Given up meanwhile: its place in the chain is taken by what nobody waits for.
    let late = decision(tenant, "given-up");
    proxy.cut(Cut::Late);
    let (answer, ()) = tokio::join!(journal.store(late.clone()), async {
        while !proxy.has_cut() {
            tokio::task::yield_now().await;
        }
        proxy.cut(Cut::Everything);
    });
    assert_eq!(answer, Err(JournalError::Unavailable));
    until_it_is_up(&journal, false).await;
    proxy.cut(Cut::Nothing);
    until_it_is_up(&journal, true).await;
    proxy.let_go();
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
    assert!(matches!(next, Ok(Stored::First(_))), "{next:?}");
    let retried = journal.store(decision(tenant, "given-up")).await;
    let Ok(Stored::Duplicate(first)) = retried else { panic!("{retried:?}") };
    assert_eq!(*first.decision, late);
    assert_eq!(verify(&database).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_while_the_tables_were_locked_is_not_stored_later() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let journal = of_one_writer(databases.journal.clone()).await;
    let tenant = tenant();
    // Only a statement that is prepared already goes off as a whole.
    journal.store(decision(tenant, "before")).await.unwrap();
    let mut owner = database.superuser().await;
    sqlx::raw_sql("begin; lock table tollgate.decisions in share mode").execute(&mut owner).await.unwrap();
    let answer = journal.store(decision(tenant, "locked-out")).await;
    assert_eq!(answer, Err(JournalError::Unavailable));
    sqlx::raw_sql("commit").execute(&mut owner).await.unwrap();
    let stored = until_stored(&journal, || decision(tenant, "locked-out")).await;
    assert!(matches!(stored, Stored::First(_)), "{stored:?}");
    assert_eq!(verify(&database).await, 2);
}

/// The old session holds key and position in an open transaction until the
/// server ends it; until then nobody can tell, afterwards it was not stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_goes_silent_inside_a_transaction_blocks_its_key_for_seconds_only() {
    let database = TestDatabase::create().await;
    let connect = database.databases().journal;
    let proxy = Proxy::start(&connect);
    let journal = of_one_writer(proxy.sessions(&connect)).await;
    let tenant = tenant();
    // Since a key that was bound already the next ones are claimed first, in a transaction.
    journal.store(decision(tenant, "bound")).await.unwrap();
    journal.store(decision(tenant, "bound")).await.unwrap();
    proxy.cut(Cut::Silence);
    let submitted = decision(tenant, "silent");
    let first = journal.store(submitted).await;
    assert!(matches!(first, Ok(Stored::First(_)) | Err(JournalError::Unavailable)), "{first:?}");
    assert!(proxy.has_cut());
    until_stored(&journal, || decision(tenant, "silent")).await;
    assert_eq!(verify(&database).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_down_the_answer_is_unavailable_and_then_it_works_again() {
    let database = TestDatabase::create().await;
    let connect = database.databases().journal;
    let proxy = Proxy::start(&connect);
    let journal = journal(proxy.sessions(&connect)).await;
    let tenant = tenant();
    proxy.cut(Cut::Everything);
    let decisions = (0..20).map(|n| decision(tenant, &format!("down-{n}"))).collect();
    let answers = store_all(&journal, decisions).await;
    assert!(answers.iter().all(|answer| *answer == Err(JournalError::Unavailable)), "{answers:?}");

    // Every writer finds out for itself; once all have, nobody waits any more.
    let _ = store_all(&journal, (0..20).map(|n| decision(tenant, &format!("down-{n}"))).collect()).await;
    assert_eq!(journal.store(decision(tenant, "down-0")).await, Err(JournalError::Unavailable));

    proxy.cut(Cut::Nothing);
    let stored = until_stored(&journal, || decision(tenant, "down-0")).await;
    assert!(matches!(stored, Stored::First(_)), "what was unavailable was not stored");
    assert_eq!(verify(&database).await, 1);
}

/// As where the partition of one decision is on a disk of its own, which is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_decision_that_cannot_be_written_does_not_keep_the_others_out() {
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
    // Those that are not in its batch may be stored.
    let last = decisions.pop().unwrap();
    let answers = store_all(&journal, decisions).await;
    assert_eq!(answers[20], Err(JournalError::Unavailable));
    until_stored(&journal, || last.clone()).await;
    until_stored(&journal, || decision(tenant, "given-up-19")).await;
    verify(&database).await;
}

/// Routers on the way forget connections that are not used, and tell nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unused_connection_that_was_lost_is_replaced_before_a_payment_waits_for_it() {
    let database = TestDatabase::create().await;
    let line = Swallower::start(database.databases().journal.options());
    let settings = DatabaseSettings::for_url(line.url(&database.url));
    let journal = of_one_writer(settings.sessions(Role::Journal).unwrap()).await;
    let tenant = tenant();
    journal.store(decision(tenant, "before")).await.unwrap();
    line.swallow_next(Asked::Look);
    line.until_swallowed().await;
    let answer = journal.store(decision(tenant, "after")).await;
    assert!(matches!(answer, Ok(Stored::First(_))), "{answer:?}");
    assert_eq!(verify(&database).await, 2);
}

async fn of_one_writer(sessions: Sessions) -> Journal {
    let mut settings = journal_settings(sessions);
    settings.writers = 1;
    Journal::start(settings).await.unwrap().0
}

async fn until_it_is_up(journal: &Journal, up: bool) {
    while journal.is_up() != up {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_stored(
    journal: &Journal,
    submit: impl Fn() -> tollgate::domain::decision::Decision,
) -> Stored {
    let begun = Instant::now();
    loop {
        match journal.store(submit()).await {
            Ok(stored) => return stored,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
