//! Rulesets: consecutive numbers, and activations in commit order.

use futures::future::join_all;
use tollgate::domain::comparison::ValueKind;
use tollgate::domain::plugin::{Digest, Profile};
use tollgate::domain::ruleset::{Activation, Canary, DecisionPoint, Mode, PreparedRule, RuleEntry, Share};
use tollgate::domain::selector::{Counting, FactQuery, Selector, TableLookup};
use tollgate::domain::table::{TableName, TableSchema};
use tollgate::domain::tenant::TenantId;
use tollgate::domain::verdict::FailureOutcome;
use tollgate::storage::StorageError;
use tollgate::storage::databases::Databases;
use tollgate::storage::pool::AppPool;
use tollgate::storage::rulesets::{
    ActivateError, ActivationRequest, ClosedReference, DeploymentVersion, ExpectedActivation, NewActivation,
    NewRevision, activate, activations, activations_since, active, create, get, latest_activations, list,
    revision_any,
};

use tollgate::storage::tables::{self, CloseTableError, NewTable};

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
        create(&databases.app, tenant, new_revision(""), u32::MAX).await.unwrap();
    }
    tenant
}

async fn change_deployment(
    app: &AppPool,
    tenant: TenantId,
    change: ActivationRequest,
    expected: ExpectedActivation,
) -> Result<Activation, ActivateError> {
    let deploying = NewActivation { tenant, point: POINT, actor: "alice".into(), now_ms: 9, expected };
    activate(app, deploying, change).await
}

fn to_revision(revision: i32) -> ActivationRequest {
    ActivationRequest::Activate { revision, guard_backtest: None }
}

#[tokio::test]
async fn concurrent_revisions_have_consecutive_numbers_and_read_back_unchanged() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, tenant(&databases).await);
    let made = join_all((0..12).map(|n| create(app, tenant, new_revision(&n.to_string()), u32::MAX))).await;
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
async fn a_revision_whose_rules_do_not_match_its_digest_cannot_be_read() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = with_revisions(&databases, 1).await;
    // Changes the last byte of the state, which stays well-formed.
    sqlx::query("update revisions set rules = set_byte(rules, length(rules) - 1, 254)")
        .execute(&mut database.superuser().await)
        .await
        .unwrap();
    let found = get(&databases.app, tenant, POINT, 1).await;
    assert!(matches!(found, Err(StorageError::Unreadable { .. })), "{found:?}");
}

#[tokio::test]
async fn of_concurrent_activations_that_expect_the_same_current_one_only_one_succeeds() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, with_revisions(&databases, 4).await);
    let first = ExpectedActivation {
        one_of: Some(vec![DeploymentVersion::BeforeFirstActivation]),
        ..ExpectedActivation::default()
    };
    let racing =
        join_all((1..=4).map(|number| change_deployment(app, tenant, to_revision(number), first.clone())))
            .await;
    let won: Vec<_> = racing.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(won.len(), 1);
    for lost in racing.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(lost, ActivateError::Conflict { current: Some(n) } if *n == won[0].sequence));
    }
    assert_eq!(active(app, tenant, POINT).await.unwrap().as_ref(), Some(won[0]));
    let unknown = change_deployment(app, tenant, to_revision(99), ExpectedActivation::default()).await;
    assert!(matches!(unknown, Err(ActivateError::UnknownRevision)));
}

#[tokio::test]
async fn each_rollback_goes_one_revision_further_back() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, with_revisions(&databases, 4).await);
    let back = ActivationRequest::RollBack { to: None };
    assert!(matches!(
        change_deployment(app, tenant, back, ExpectedActivation::default()).await,
        Err(ActivateError::NothingBefore)
    ));
    for number in [1, 3, 3, 2] {
        change_deployment(app, tenant, to_revision(number), ExpectedActivation::default()).await.unwrap();
    }
    for expected in [3, 1] {
        assert_eq!(
            change_deployment(app, tenant, back, ExpectedActivation::default())
                .await
                .unwrap()
                .deployment
                .revision,
            expected
        );
    }
    assert!(matches!(
        change_deployment(app, tenant, back, ExpectedActivation::default()).await,
        Err(ActivateError::NothingBefore)
    ));
    let to_two = ActivationRequest::RollBack { to: Some(2) };
    assert_eq!(
        change_deployment(app, tenant, to_two, ExpectedActivation::default())
            .await
            .unwrap()
            .deployment
            .revision,
        2
    );
    let to_four = change_deployment(
        app,
        tenant,
        ActivationRequest::RollBack { to: Some(4) },
        ExpectedActivation::default(),
    )
    .await;
    assert!(matches!(to_four, Err(ActivateError::NeverActive)));
    let log = activations(app, tenant, POINT, None, 3).await.unwrap();
    assert!(log.iter().map(|activation| activation.deployment.revision).eq([2, 1, 3]));
    let older = activations(app, tenant, POINT, Some(log[2].sequence), 9).await.unwrap();
    assert!(older.iter().map(|activation| activation.deployment.revision).eq([2, 3, 3, 1]));
}

#[tokio::test]
async fn a_canary_and_a_shadow_end_when_another_revision_is_activated() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, with_revisions(&databases, 3).await);
    let canary = |revision| {
        ActivationRequest::Canary(Some(Canary { revision, share: Share::new(500).expect("valid") }))
    };
    assert!(matches!(
        change_deployment(app, tenant, canary(2), ExpectedActivation::default()).await,
        Err(ActivateError::NothingActive)
    ));
    change_deployment(app, tenant, to_revision(1), ExpectedActivation::default()).await.unwrap();
    assert!(matches!(
        change_deployment(app, tenant, canary(1), ExpectedActivation::default()).await,
        Err(ActivateError::AlreadyActive)
    ));
    assert!(matches!(
        change_deployment(app, tenant, canary(9), ExpectedActivation::default()).await,
        Err(ActivateError::UnknownRevision)
    ));
    change_deployment(app, tenant, canary(2), ExpectedActivation::default()).await.unwrap();
    let both =
        change_deployment(app, tenant, ActivationRequest::Shadow(Some(3)), ExpectedActivation::default())
            .await
            .unwrap()
            .deployment;
    assert_eq!(
        (both.revision, both.canary.map(|canary| canary.revision), both.shadow),
        (1, Some(2), Some(3))
    );
    // The canary becomes active; the shadow continues.
    let active = change_deployment(app, tenant, to_revision(2), ExpectedActivation::default())
        .await
        .unwrap()
        .deployment;
    assert_eq!((active.revision, active.canary, active.shadow), (2, None, Some(3)));
    let active = change_deployment(app, tenant, to_revision(3), ExpectedActivation::default())
        .await
        .unwrap()
        .deployment;
    assert_eq!((active.revision, active.shadow), (3, None));
}

#[tokio::test]
async fn a_rollback_finds_the_earlier_active_revision_behind_many_changes() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, with_revisions(&databases, 4).await);
    for number in [4, 1, 2] {
        change_deployment(app, tenant, to_revision(number), ExpectedActivation::default()).await.unwrap();
    }
    let many = |kind: &'static str, count: i32| {
        sqlx::query(
            "insert into activations (tenant_id, point, kind, revision, activated_by, activated_at_ms)
             select $1, 'payment', $2, case when $2 = 'shadow' then 2 else 1 + n % 2 end, 'a', n
             from generate_series(1, $3) n",
        )
        .bind(tenant.0)
        .bind(kind)
        .bind(count)
    };
    let mut superuser = database.superuser().await;
    many("shadow", 1_100).execute(&mut superuser).await.unwrap();
    let back = |to| {
        change_deployment(app, tenant, ActivationRequest::RollBack { to }, ExpectedActivation::default())
    };
    assert_eq!(back(None).await.unwrap().deployment.revision, 1);
    many("activate", 1_100).execute(&mut superuser).await.unwrap();
    assert_eq!(back(Some(4)).await.unwrap().deployment.revision, 4);
    assert!(matches!(back(Some(3)).await, Err(ActivateError::NeverActive)));
}

/// Pollers only remember the highest sequence that they have read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polling_the_sequence_misses_no_activation() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenants = join_all((0..4).map(|_| with_revisions(&databases, 1))).await;
    let work = tenants.iter().map(|tenant| {
        let (app, tenant) = (databases.app.clone(), *tenant);
        tokio::spawn(async move {
            for _ in 0..15 {
                change_deployment(&app, tenant, to_revision(1), ExpectedActivation::default()).await.unwrap();
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
    assert_eq!(latest_activations(&databases.system, POINT).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_table_that_a_deployed_revision_asks_is_not_closed_and_a_closed_one_is_not_deployed() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, tenant(&databases).await);
    let name = TableName::parse("bins").unwrap();
    let table = NewTable {
        name: name.clone(),
        description: String::new(),
        schema: TableSchema::new(TableLookup::Exact, ValueKind::Text, vec![]).unwrap(),
        created_by: "alice".to_owned(),
        created_at_ms: 7,
    };
    tables::create(app, tenant, table, 10).await.unwrap();
    let mut asking = new_revision("asks the table");
    asking.rules[0].queries = vec![FactQuery::Table {
        table: "bins".to_owned(),
        selector: Selector::CardBin,
        lookup: TableLookup::Exact,
    }];
    for revision in [asking, new_revision("asks nothing of it")] {
        create(app, tenant, revision, u32::MAX).await.unwrap();
    }
    let any = ExpectedActivation::default;
    change_deployment(app, tenant, to_revision(1), any()).await.unwrap();
    let in_use = tables::close(app, tenant, &name, 9, "alice".into()).await;
    assert!(matches!(in_use, Err(CloseTableError::InUse { revision: 1 })), "{in_use:?}");
    change_deployment(app, tenant, to_revision(2), any()).await.unwrap();
    tables::close(app, tenant, &name, 9, "alice".into()).await.unwrap();
    let refused = change_deployment(app, tenant, to_revision(1), any()).await;
    let expected = ClosedReference::Table("bins".to_owned());
    assert!(matches!(&refused, Err(ActivateError::Closed(closed)) if *closed == expected), "{refused:?}");
}
