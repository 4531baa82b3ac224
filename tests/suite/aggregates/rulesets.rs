//! Rulesets: numbers without holes, activations in the order of their commits.

use futures::future::join_all;
use tollgate::domain::plugin::{Digest, Profile};
use tollgate::domain::ruleset::{DecisionPoint, Mode, PreparedRule, RuleEntry};
use tollgate::domain::selector::{Counting, FactQuery, Selector};
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::FailureOutcome;
use tollgate::storage::StorageError;
use tollgate::storage::pool::Databases;
use tollgate::storage::rulesets::{
    ActivateError, NewRevision, activate, activations, activations_since, active, create, get,
    latest_activations, list, previous, revision_any,
};

use super::tenant;
use crate::support::database::TestDatabase;

const POINT: DecisionPoint = DecisionPoint::Payment;

fn new_revision(note: &str) -> NewRevision {
    let entry = RuleEntry {
        name: "velocity".to_owned(),
        plugin: Digest([3; 32]),
        settings: r#"{"limit": 3}"#.to_owned(),
        on_failure: FailureOutcome::Reject,
        overridable: true,
        mode: Mode::Shadow,
    };
    let query = FactQuery::Velocity {
        selector: Selector::Metadata("shop".to_owned()),
        window_ms: 1_000,
        counting: Counting::Approved,
    };
    let rule = PreparedRule { entry, profile: Profile::Large, queries: vec![query], state: vec![0, 255] };
    NewRevision {
        point: POINT,
        rules: vec![rule],
        note: note.to_owned(),
        created_by: "alice".to_owned(),
        created_at_ms: 7,
    }
}

async fn with_revisions(databases: &Databases, count: usize) -> TenantId {
    let tenant = tenant(databases).await;
    for _ in 0..count {
        create(&databases.app, tenant, new_revision("")).await.unwrap();
    }
    tenant
}

#[tokio::test]
async fn revisions_made_at_once_have_numbers_without_holes_and_read_back_the_same() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, tenant(&databases).await);
    let made = join_all((0..12).map(|n| create(app, tenant, new_revision(&n.to_string())))).await;
    let mut made: Vec<_> = made.into_iter().map(Result::unwrap).collect();
    made.sort_by_key(|revision| revision.number);
    assert!(made.iter().map(|revision| revision.number).eq(1..=12));
    assert_eq!(get(app, tenant, POINT, 5).await.unwrap().as_ref(), Some(&made[4]));
    let any = revision_any(&databases.system, tenant, POINT, 5).await.unwrap();
    assert_eq!(any.as_ref(), Some(&made[4]));
    let page = list(app, tenant, POINT, Some(11), 3).await.unwrap();
    assert!(page.iter().map(|revision| revision.number).eq([10, 9, 8]));
    let other = self::tenant(&databases).await;
    assert_eq!(get(app, other, POINT, 5).await.unwrap(), None, "another tenant's");
}

#[tokio::test]
async fn a_revision_whose_rules_are_not_those_of_its_digest_is_unreadable() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = with_revisions(&databases, 1).await;
    // Still well-formed: another last byte of the state.
    sqlx::query("update revisions set rules = set_byte(rules, length(rules) - 1, 254)")
        .execute(&mut database.superuser().await)
        .await
        .unwrap();
    let found = get(&databases.app, tenant, POINT, 1).await;
    assert!(matches!(found, Err(StorageError::Unreadable { .. })), "{found:?}");
}

#[tokio::test]
async fn of_activations_that_expect_the_same_current_revision_one_succeeds() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, with_revisions(&databases, 4).await);
    let racing =
        join_all((1..=4).map(|number| activate(app, tenant, POINT, number, "alice", 9, Some(None)))).await;
    let won: Vec<_> = racing.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(won.len(), 1);
    for lost in racing.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(lost, ActivateError::Conflict { current: Some(n) } if *n == won[0].revision));
    }
    assert_eq!(active(app, tenant, POINT).await.unwrap().as_ref(), Some(won[0]));
    let unknown = activate(app, tenant, POINT, 99, "alice", 9, None).await;
    assert!(matches!(unknown, Err(ActivateError::UnknownRevision)));
}

#[tokio::test]
async fn a_roll_back_finds_the_revision_that_was_active_before() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, with_revisions(&databases, 3).await);
    assert_eq!(previous(app, tenant, POINT).await.unwrap(), None);
    for (number, before) in [(1, None), (3, Some(1)), (3, Some(1)), (2, Some(3))] {
        activate(app, tenant, POINT, number, "alice", 9, None).await.unwrap();
        assert_eq!(previous(app, tenant, POINT).await.unwrap(), before, "after {number}");
    }
    let log = activations(app, tenant, POINT, 3).await.unwrap();
    assert!(log.iter().map(|activation| activation.revision).eq([2, 3, 3]));
}

/// A poller that remembers the highest sequence it saw must never pass one over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_polls_the_sequence_misses_no_activation() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenants = join_all((0..4).map(|_| with_revisions(&databases, 1))).await;
    let work = tenants.iter().map(|tenant| {
        let (app, tenant) = (databases.app.clone(), *tenant);
        tokio::spawn(async move {
            for _ in 0..15 {
                activate(&app, tenant, POINT, 1, "alice", 9, None).await.unwrap();
            }
        })
    });
    let work: Vec<_> = work.collect();
    let (mut seen, mut last) = (0, 0);
    while seen < 60 {
        for (_, activation) in activations_since(&databases.system, last).await.unwrap() {
            assert!(activation.sequence > last);
            (seen, last) = (seen + 1, activation.sequence);
        }
        if work.iter().all(tokio::task::JoinHandle::is_finished) {
            let rest = activations_since(&databases.system, last).await.unwrap().len();
            assert_eq!(seen + rest, 60);
            break;
        }
    }
    assert_eq!(latest_activations(&databases.system).await.unwrap().len(), 4);
}
