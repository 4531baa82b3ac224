//! How many decisions the journal stores per second, compared with one transaction per decision
//! and with pgbench's plain inserts. The private Postgres waits for the disk.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may fail and prints")]

#[path = "parts/allocator.rs"]
mod allocator;
#[path = "parts/bare.rs"]
#[allow(dead_code, reason = "another bench uses the rest")]
mod bare;
#[path = "../tests/suite/support/decisions.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod decisions;
#[path = "parts/latencies.rs"]
#[allow(dead_code, reason = "another bench uses the rest")]
mod latencies;
#[path = "parts/postgres.rs"]
mod postgres;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use decisions::{decision_on, journal_settings, now_ms, order};
use tollgate::domain::decision::Decision;
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::Outcome;
use tollgate::storage::databases::Databases;
use tollgate::storage::journal::{Journal, StoreOutcome};
use tollgate::storage::pool::{DatabaseSettings, SystemPool};
use uuid::Uuid;

const MEASURED: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() {
    let folder = tempfile::Builder::new().prefix("bench").tempdir_in("/var/tmp").unwrap();
    let server = postgres::start(folder.path()).await;
    postgres::settle(&server).await;
    let databases = Databases::open(&DatabaseSettings::for_url(server.url())).await.unwrap();
    // Stores some rows first, from which the plain inserts take the size of their rows.
    with_journal(&databases, 64, 1, 3).await;
    let bare = bare::pgbench(&server, 64, MEASURED).await;
    if let Some(bare) = bare {
        println!("pgbench, 64 clients, one bare insert each: {bare:.0}");
    }
    println!("decisions/s (transactions/s)");
    for waiters in [1, 64, 256, 1024] {
        for writers in [1, 2] {
            let (rows, batches) = with_journal(&databases, waiters, writers, 3).await;
            let ratio = bare.map_or(String::new(), |bare| format!(", {:.2} of pgbench", rows / bare));
            println!("{waiters:5} waiters, {writers} writers, 3 tenants: {rows:7.0} ({batches:.0}){ratio}");
        }
    }
    let (rows, batches) = with_journal(&databases, 256, 1, 256).await;
    println!("  256 waiters, 1 writer, 256 tenants: {rows:7.0} ({batches:.0})");
    for waiters in [1, 64] {
        let rows = one_transaction_each(&databases, waiters).await;
        println!("{waiters:5} connections, one transaction each: {rows:7.0}");
    }
    databases.close().await;
    server.stop().await.unwrap();
}

fn new_decision(tenants: &[TenantId], n: usize) -> Decision {
    let order = order(&format!("c-{}", n % 1_000), 1_000, "EUR");
    let key = Uuid::now_v7().to_string();
    decision_on(tenants[n % tenants.len()], &key, Outcome::Approve, now_ms(), order)
}

async fn with_journal(databases: &Databases, waiters: usize, writers: usize, tenants: usize) -> (f64, f64) {
    let mut settings = journal_settings(databases.journal.clone());
    (settings.writers, settings.batch_max) = (writers, 1_024);
    let (journal, _task) = Journal::start(settings).await.unwrap();
    let tenants: Arc<[TenantId]> = (0..tenants).map(|_| TenantId(Uuid::now_v7())).collect();
    let before = batches(&databases.system).await;
    let rate = measure(waiters, move |n| {
        let (journal, tenants) = (journal.clone(), Arc::clone(&tenants));
        async move {
            let stored = journal.store(new_decision(&tenants, n)).await.unwrap();
            assert!(matches!(stored, StoreOutcome::First(_)));
        }
    })
    .await;
    let batches = batches(&databases.system).await - before;
    (rate, batches as f64 / MEASURED.as_secs_f64())
}

async fn batches(system: &SystemPool) -> i64 {
    sqlx::query_scalar("select count(*) from journal_batches").fetch_one(system.sqlx_pool()).await.unwrap()
}

/// The same rows with a connection and a transaction for each caller.
async fn one_transaction_each(databases: &Databases, waiters: usize) -> f64 {
    let journals = futures::future::join_all((0..waiters).map(|_| async {
        let mut settings = journal_settings(databases.journal.clone());
        (settings.writers, settings.batch_max) = (1, 1);
        Journal::start(settings).await.unwrap().0
    }))
    .await;
    let tenants: Arc<[TenantId]> = (0..3).map(|_| TenantId(Uuid::now_v7())).collect();
    measure(waiters, move |n| {
        let (journal, tenants) = (journals[n % waiters].clone(), Arc::clone(&tenants));
        async move {
            journal.store(new_decision(&tenants, n)).await.unwrap();
        }
    })
    .await
}

/// Each caller submits its next decision when it has the response to the last.
async fn measure<F, W>(waiters: usize, work: W) -> f64
where
    F: Future<Output = ()> + Send,
    W: Fn(usize) -> F + Clone + Send + 'static,
{
    let done = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..waiters)
        .map(|waiter| {
            let (work, done) = (work.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut round = 0;
                while begun.elapsed() < MEASURED {
                    work(waiter + round * waiters).await;
                    round += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}
