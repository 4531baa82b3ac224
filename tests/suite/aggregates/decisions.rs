//! Search of decisions: by values of their payments, newest first, in pages.

use tollgate::domain::decision::Decision;
use tollgate::domain::selector::Selector;
use tollgate::domain::verdict::Outcome;
use tollgate::storage::decisions::{DecisionFilter, list, since_in_pages};

use super::tenant;
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, index_everything, journal, order};

#[tokio::test]
async fn decisions_are_found_by_outcome_time_value_account_and_reference() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    let journal = journal(databases.journal.clone()).await;
    let outcomes = [Outcome::Approve, Outcome::Review, Outcome::Reject];
    let stored: Vec<Decision> = (0..9)
        .map(|n| {
            let order = order(&format!("c-{}", n % 2), 100, "EUR");
            decision_on(tenant, &format!("key-{n}"), outcomes[n % 3], 1_000 + n as u64, order)
        })
        .collect();
    for decision in &stored {
        journal.store(decision.clone()).await.unwrap();
    }
    index_everything(&databases.system).await;
    let base = DecisionFilter { limit: 100, ..DecisionFilter::default() };
    let customer = |customer: &str| vec![(Selector::Customer, customer.to_owned())];
    let table: [(&str, DecisionFilter, &[usize]); 9] = [
        ("all", base.clone(), &[8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ("outcome", DecisionFilter { outcomes: vec![Outcome::Reject], ..base.clone() }, &[8, 5, 2]),
        ("time", DecisionFilter { from_ms: Some(1_002), to_ms: Some(1_004), ..base.clone() }, &[3, 2]),
        ("value", DecisionFilter { values: customer("c-1"), ..base.clone() }, &[7, 5, 3, 1]),
        ("no value", DecisionFilter { values: customer("c-9"), ..base.clone() }, &[]),
        (
            "both",
            DecisionFilter { values: customer("c-1"), outcomes: vec![Outcome::Reject], ..base.clone() },
            &[5],
        ),
        (
            "account",
            DecisionFilter { account: Some("DE89370400440532013000".to_owned()), limit: 2, ..base.clone() },
            &[8, 7],
        ),
        (
            "reference",
            DecisionFilter { values: vec![(Selector::Reference, "order of c-0".to_owned())], ..base.clone() },
            &[8, 6, 4, 2, 0],
        ),
        ("page", DecisionFilter { position: Some(stored[4].id()), limit: 2, ..base.clone() }, &[3, 2]),
    ];
    for (name, filter, expected) in table {
        let page = list(&databases.app, tenant, &filter).await.unwrap();
        let ids: Vec<_> = page.found.iter().map(|found| found.summary.id).collect();
        let expected: Vec<_> = expected.iter().map(|n| stored[*n].id()).collect();
        assert_eq!(ids, expected, "{name}");
    }
    let other = self::tenant(&databases).await;
    assert!(list(&databases.app, other, &base).await.unwrap().found.is_empty(), "another tenant's");
}

/// Each month of the index is read separately.
#[tokio::test]
async fn decisions_of_many_days_are_found_by_value_and_time() {
    const DAY_MS: u64 = 86_400_000;
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    let journal = journal(databases.journal.clone()).await;
    let days = [0, 1, 2, 30, 400];
    let mut stored = Vec::new();
    for day in days {
        let order = order("c-1", 100, "EUR");
        let decision = decision_on(tenant, &format!("key-{day}"), Outcome::Approve, day * DAY_MS, order);
        stored.push(decision.id());
        journal.store(decision).await.unwrap();
    }
    let customer = vec![(Selector::Customer, "c-1".to_owned())];
    index_everything(&databases.system).await;
    let base = DecisionFilter { limit: 100, values: customer, ..DecisionFilter::default() };
    let table: [(&str, DecisionFilter, &[usize]); 6] = [
        ("all", base.clone(), &[4, 3, 2, 1, 0]),
        (
            "from the middle of a day",
            DecisionFilter { from_ms: Some(DAY_MS + 1), ..base.clone() },
            &[4, 3, 2],
        ),
        ("until a midnight", DecisionFilter { to_ms: Some(2 * DAY_MS), ..base.clone() }, &[1, 0]),
        (
            "between days that have any",
            DecisionFilter { from_ms: Some(3 * DAY_MS), to_ms: Some(29 * DAY_MS), ..base.clone() },
            &[],
        ),
        ("after all", DecisionFilter { from_ms: Some(500 * DAY_MS), ..base.clone() }, &[]),
        ("a page", DecisionFilter { position: Some(stored[3]), limit: 2, ..base.clone() }, &[2, 1]),
    ];
    for (name, filter, expected) in table {
        let page = list(&databases.app, tenant, &filter).await.unwrap();
        let ids: Vec<_> = page.found.iter().map(|found| found.summary.id).collect();
        let expected: Vec<_> = expected.iter().map(|n| stored[*n]).collect();
        assert_eq!(ids, expected, "{name}");
    }
}

#[tokio::test]
async fn the_ids_of_all_tenants_are_read_in_pages() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let journal = journal(databases.journal.clone()).await;
    let tenants = [tenant(&databases).await, tenant(&databases).await];
    for n in 0..7 {
        let order = order("c", 100, "EUR");
        let decision = decision_on(tenants[n % 2], &format!("key-{n}"), Outcome::Approve, 1, order);
        journal.store(decision).await.unwrap();
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = since_in_pages(&databases.system, None, 0, after, 3).await.unwrap();
        let page: Vec<_> = page.iter().map(|stored| (stored.tenant, stored.id)).collect();
        let Some(last) = page.last() else { break };
        after = Some(*last);
        seen.extend(page);
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.is_sorted());
}
