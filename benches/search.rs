//! The bytes that the search index takes for each decision, and how long pages of a search take.
//!
//! `cargo bench --features jemalloc --bench search` stores 200,000 decisions of one tenant, spread
//! over two months; another number as an argument stores as many. Ten million need 15 GB of disk.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may fail and prints")]

#[path = "../tests/suite/support/decisions.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod decisions;
#[path = "parts/postgres.rs"]
mod postgres;
#[path = "parts/stored_bytes.rs"]
mod stored_bytes;

use std::time::{Duration, Instant};

use decisions::{decision_on, index_everything, journal, order};
use futures::StreamExt;
use sqlx::ConnectOptions;
use tollgate::domain::decision::Decision;
use tollgate::domain::party::{Account, Party};
use tollgate::domain::selector::Selector;
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::Outcome;
use tollgate::storage::databases::Databases;
use tollgate::storage::decisions::{DecisionFilter, list};
use tollgate::storage::pool::DatabaseSettings;
use tollgate::storage::search::SearchOrder;
use uuid::Uuid;

const STORED: u64 = 200_000;
/// How many decisions are stored between two rounds of indexing, as on a busy node.
const STORED_AT_ONCE: u64 = 2_000;
const BEGUN_MS: u64 = 1_800_000_000_000;
const TWO_MONTHS_MS: u64 = 60 * 86_400_000;
const WAITING: usize = 512;
const PAGES: u64 = 50;
const TENANT: TenantId = TenantId(Uuid::from_u128(1));

#[tokio::main]
async fn main() {
    let stored = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(STORED);
    let folder = tempfile::Builder::new().prefix("bench").tempdir_in("/var/tmp").unwrap();
    let server = postgres::start(folder.path()).await;
    let databases = Databases::open(&DatabaseSettings::for_url(server.url())).await.unwrap();
    let indexing = fill(&databases, stored).await;
    println!("{stored} decisions, indexed in {:.1} s", indexing.as_secs_f64());
    let mut connection = server.connect_options().connect().await.unwrap();
    sqlx::raw_sql("vacuum analyze").execute(&mut connection).await.unwrap();
    let tables =
        stored_bytes::per_row_of(&mut connection, "tollgate", "select count(*) from tollgate.decisions");
    for table in tables.await {
        println!(
            "{:>20}: {:6.0} bytes a decision, {:.0} of indexes",
            table.name, table.bytes, table.of_indexes
        );
    }
    let segments: (i64, i64) = sqlx::query_as(
        "select (select count(*) from tollgate.search_segments), (select sum(length(entries)) from tollgate.search_chunks)::bigint",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    let bytes = segments.1 as f64 / stored as f64;
    println!("{} segments, {bytes:.0} bytes of entries a decision", segments.0);
    for (name, filter) in searches(stored) {
        measure(&databases, name, &filter).await;
    }
    databases.close().await;
    server.stop().await.unwrap();
}

async fn fill(databases: &Databases, stored: u64) -> Duration {
    let journal = journal(databases.journal.clone()).await;
    let mut indexing = Duration::ZERO;
    for begun in (0..stored).step_by(STORED_AT_ONCE as usize) {
        let numbers = begun..(begun + STORED_AT_ONCE).min(stored);
        futures::stream::iter(numbers)
            .for_each_concurrent(WAITING, |number| {
                let (journal, decision) = (journal.clone(), payment(number, stored));
                async move { drop(journal.store(decision).await.unwrap()) }
            })
            .await;
        let begun = Instant::now();
        index_everything(&databases.system).await;
        indexing += begun.elapsed();
    }
    indexing
}

/// One in a thousand is rejected, a customer has twenty payments, and one in ten is in dollars.
fn payment(number: u64, stored: u64) -> Decision {
    let currency = if number.is_multiple_of(10) { "USD" } else { "EUR" };
    let outcome = if number.is_multiple_of(1_000) { Outcome::Reject } else { Outcome::Approve };
    let customer = format!("customer-{}", number * 7_919 % (stored / 20).max(1));
    let mut order = order(&customer, 100 + (number * 31 % 1_000_000) as i64, currency);
    order.reference = format!("order-{number}");
    let account = Some(Account::Other(format!("account-{}", number * 104_729 % stored)));
    order.creditor = Party { account, ..Party::named(format!("payee {}", number % 5_000)) };
    decision_on(TENANT, &format!("key-{number}"), outcome, BEGUN_MS + number * TWO_MONTHS_MS / stored, order)
}

/// A search by its name, and its filter for each number of a page.
type Search = (&'static str, Box<dyn Fn(u64) -> DecisionFilter>);

fn searches(stored: u64) -> Vec<Search> {
    let base = move || DecisionFilter { limit: 51, ..DecisionFilter::default() };
    let value =
        move |selector: Selector, value: String| DecisionFilter { values: vec![(selector, value)], ..base() };
    let reference = move |n: u64| value(Selector::Reference, format!("order-{}", n * 7_919 % stored));
    let customer =
        move |n: u64| value(Selector::Customer, format!("customer-{}", n * 31 % (stored / 20).max(1)));
    let absent = move |n: u64| value(Selector::Customer, format!("nobody-{n}"));
    let rejected = move || DecisionFilter { outcomes: vec![Outcome::Reject], ..base() };
    vec![
        ("all", Box::new(move |_| base())),
        ("a reference", Box::new(reference)),
        ("a customer", Box::new(customer)),
        (
            "a customer, oldest",
            Box::new(move |n| DecisionFilter { order: SearchOrder::Oldest, ..customer(n) }),
        ),
        ("nobody", Box::new(absent)),
        ("approved", Box::new(move |_| DecisionFilter { outcomes: vec![Outcome::Approve], ..base() })),
        ("rejected", Box::new(move |_| rejected())),
        (
            "rejected in dollars",
            Box::new(move |_| DecisionFilter { currency: Some("USD".to_owned()), ..rejected() }),
        ),
        (
            "rejected in euros",
            Box::new(move |_| DecisionFilter { currency: Some("EUR".to_owned()), ..rejected() }),
        ),
        (
            "an amount",
            Box::new(move |n| DecisionFilter {
                amount_at_least_minor: Some(n as i64 * 10_000),
                amount_below_minor: Some(n as i64 * 10_000 + 100),
                ..base()
            }),
        ),
    ]
}

async fn measure(databases: &Databases, name: &str, filter: &dyn Fn(u64) -> DecisionFilter) {
    let (mut took, mut found, mut unfinished) = (Vec::new(), 0, 0);
    for number in 0..PAGES {
        let begun = Instant::now();
        let page = list(&databases.app, TENANT, &filter(number)).await.unwrap();
        took.push(begun.elapsed());
        found += page.found.len();
        unfinished += u32::from(page.reached.is_some());
    }
    took.sort_unstable();
    let ms = |place: usize| took[place].as_secs_f64() * 1_000.0;
    let (median, most) = (ms(took.len() / 2), ms(took.len() - 1));
    let each = found as f64 / PAGES as f64;
    println!(
        "{name:>20}: {median:7.1} ms median, {most:7.1} ms most, {each:.0} found, {unfinished} ended early"
    );
}
