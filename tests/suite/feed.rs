//! The live feed over HTTP: its events, who gets them, and when it ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use tollgate::auth::scope::ScopeSet;
use tollgate::auth::token::Subject;
use tollgate::decisions::feed::{Feed, FeedItem, FeedPosition, FeedSubscriber};
use tollgate::domain::decision::Decision;
use tollgate::domain::payment::PaymentId;
use tollgate::domain::tenant::{ClientId, Scope, TenantId};
use tollgate::domain::verdict::Outcome;
use tollgate::storage::{clients, tenants};
use uuid::Uuid;

use crate::oauth::{ISSUER, issuer};
use crate::support::database::TestDatabase;
use crate::support::decisions::{decision_on, journal, now_ms, order};
use crate::support::feed_client::{FeedClient, FeedEvent, request_feed};
use crate::support::program::{Program, TEST_TIMEOUT};
use crate::support::service::{Caller, Node, payment, payment_with};

/// Longer than the time between two reads.
const QUIET: Duration = Duration::from_millis(1_500);

async fn pay(caller: &Caller, key: &str) -> String {
    let (status, response) = caller.pay(key, &payment_with(&json!({"reference": key}))).await;
    assert_eq!(status, StatusCode::CREATED, "{response}");
    response["id"].as_str().unwrap().to_owned()
}

async fn make_list(caller: &Caller, name: &str) {
    let (status, list) = caller.post("/lists", &json!({"name": name, "kind": "text"})).await;
    assert_eq!(status, StatusCode::CREATED, "{list}");
}

fn of_name<'a>(heard: &'a [FeedEvent], name: &str, key: &str) -> Vec<&'a Value> {
    heard.iter().filter(|event| event.name == name).map(|event| &event.data[key]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_node_appear_in_the_feed_of_another_by_tenant_and_scope() {
    let database = TestDatabase::create().await;
    let first = Node::start(&database).await;
    let second = Node::start(&database).await;
    let here = Caller::of_new_tenant(&first, "acme").await;
    let stranger = Caller::of_new_tenant(&first, "other").await;
    let decisions_only: ScopeSet = [Scope::DecisionsRead].into_iter().collect();
    let reader = Caller::of_tenant(&first, "acme", decisions_only).await;
    let before = pay(&here, "before").await;

    let mut whole = FeedClient::open(&here.at(&second.url)).await;
    let mut reading = FeedClient::open(&reader.at(&second.url)).await;
    let mut strange = FeedClient::open(&stranger.at(&second.url)).await;
    let id = pay(&here, "told").await;
    let heard = whole.next_within(TEST_TIMEOUT).await.expect("the decision");
    assert_eq!((heard.name.as_str(), &heard.data["id"]), ("decision", &json!(id)));
    assert_ne!(id, before, "the feed begins now");
    let (_, shown) = here.get(&format!("/payments/{id}")).await;
    assert_eq!(
        heard.data,
        json!({
            "id": id, "outcome": "review", "reasons": ["no-active-ruleset"], "amount_minor": 2_500,
            "currency": "EUR", "method": "credit_transfer", "reference": "told",
            "received_at_ms": shown["received_at_ms"], "received_at": shown["received_at"],
            "client": here.client_id,
        })
    );

    make_list(&here, "watched").await;
    let heard = whole.next_within(TEST_TIMEOUT).await.expect("the act");
    assert_eq!((heard.name.as_str(), &heard.data["action"]), ("audit", &json!("list.created")));
    let (_, audit) = here.get("/audit?limit=1").await;
    assert_eq!(heard.data, audit["items"][0], "the same as in the record");

    let heard = reading.rest(QUIET).await;
    assert_eq!(of_name(&heard, "decision", "id"), [&json!(id)]);
    assert_eq!(heard.len(), 1, "no acts without audit:read: {heard:?}");
    assert_eq!(strange.rest(QUIET).await, [], "nothing of another tenant");
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resumes_with_the_last_id_misses_no_event() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let stranger = Caller::of_new_tenant(&node, "other").await;

    // The connection is cut before any event.
    let begun = FeedClient::open(&caller).await.last_id;
    let mut expected = BTreeSet::from([pay(&caller, "while-away-0").await]);
    let mut listener = FeedClient::open_after(&caller, Some(&begun)).await;
    let heard = listener.next_within(TEST_TIMEOUT).await.expect("what was decided meanwhile");
    assert!(expected.contains(heard.data["id"].as_str().unwrap()), "{heard:?}");
    let last_id = listener.last_id.clone();
    assert_eq!(last_id, heard.id);
    drop(listener);

    for place in 1..=20 {
        expected.insert(pay(&caller, &format!("while-away-{place}")).await);
        if place % 10 == 0 {
            make_list(&caller, &format!("while-away-{place}")).await;
        }
    }
    let mut listener = FeedClient::open_after(&caller, Some(&last_id)).await;
    expected.insert(pay(&caller, "back").await);
    let heard = listener.rest(QUIET).await;
    let ids: BTreeSet<String> =
        of_name(&heard, "decision", "id").into_iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, expected);
    assert_eq!(of_name(&heard, "audit", "subject"), [&json!("while-away-10"), &json!("while-away-20")]);

    // The event id of another tenant is refused.
    let mut strange = FeedClient::open_after(&stranger, Some(&last_id)).await;
    let heard = strange.rest(QUIET).await;
    assert_eq!(of_name(&heard, "decision", "id"), Vec::<&Value>::new());
    for wrong in ["7", "yesterday.1", &format!("{last_id}.1")] {
        let refused = request_feed(&caller, Some(wrong)).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{wrong:?}");
    }
    node.stop().await;
}

/// A decision whose id has this time.
fn decision_at(tenant: TenantId, key: &str, at_ms: u64) -> Decision {
    let mut decision = decision_on(tenant, key, Outcome::Review, at_ms, order("c-1", 1_000, "EUR"));
    let random = Uuid::now_v7().as_u128() & ((1 << 60) - 1);
    Arc::make_mut(&mut decision.evidence.payment).id =
        PaymentId(Uuid::from_u128((u128::from(at_ms) << 80) | random));
    decision
}

async fn read_decisions(feed: &mut Feed, now_ms: u64) -> Vec<(Uuid, FeedPosition)> {
    let news = feed.next(now_ms).await.unwrap().into_iter();
    let decisions = news.filter_map(|reported| match reported.news {
        FeedItem::Decision(decision) => Some((decision.summary.id.0, reported.position)),
        FeedItem::Act(_) | FeedItem::Review(_) => None,
    });
    decisions.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_is_stored_late_appears_in_the_feed_exactly_once() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (tenant, start_ms) = (TenantId(Uuid::now_v7()), now_ms());
    tenants::create_tenant(&databases.system, tenant, "acme", start_ms, "test").await.unwrap();
    let journal = journal(databases.journal.clone()).await;
    let store = async |key: &str, at_ms: u64| {
        let decision = decision_at(tenant, key, at_ms);
        let id = decision.id().0;
        journal.store(decision).await.unwrap();
        id
    };
    let follower = FeedSubscriber {
        app: databases.app.clone(),
        tenant,
        sees_acts: false,
        submission_deadline: Duration::from_millis(2_700),
    };
    let ids =
        |reported: Vec<(Uuid, FeedPosition)>| reported.into_iter().map(|(id, _)| id).collect::<Vec<_>>();

    store("before", start_ms - 1_000).await;
    let mut feed = Feed::open(follower.clone(), None, start_ms).await.unwrap();
    let later = store("later", start_ms + 900).await;
    assert_eq!(ids(read_decisions(&mut feed, start_ms).await), [later]);
    // Their ids are older than the start of the feed and the events sent so far.
    let earlier = [store("earlier", start_ms - 2_500).await, store("early", start_ms + 10).await];
    let now_ms = start_ms + 3_000;
    assert_eq!(ids(read_decisions(&mut feed, now_ms).await), earlier);
    assert_eq!(ids(read_decisions(&mut feed, now_ms).await), Vec::<Uuid>::new());

    // More decisions than one read returns, after a pause that is longer than any decision takes.
    let many = futures::future::join_all(
        (0..1_203_u64).map(|place| store_many(&journal, tenant, place, start_ms + 4_000)),
    )
    .await;
    let now_ms = start_ms + 60_000;
    let mut expected: BTreeSet<Uuid> = many.into_iter().collect();
    let mut readings = Vec::new();
    let mut half_way = None;
    loop {
        let reading = read_decisions(&mut feed, now_ms).await;
        half_way = half_way.or(reading.last().map(|(_, position)| *position));
        readings.push(reading.len());
        for id in ids(reading) {
            assert!(expected.remove(&id), "{id} was sent twice, or never stored");
        }
        if !feed.is_behind() {
            break;
        }
    }
    assert_eq!((readings, expected), (vec![500, 500, 203], BTreeSet::new()));

    // A client resumes after the first of these reads.
    let mut again = Feed::open(follower, half_way, now_ms).await.unwrap();
    let mut since = BTreeSet::new();
    while again.is_behind() {
        since.extend(ids(read_decisions(&mut again, now_ms).await));
    }
    assert!(since.len() >= 703, "{}", since.len());
    journal.flush_and_stop().await;
}

async fn store_many(
    journal: &tollgate::storage::journal::Journal,
    tenant: TenantId,
    place: u64,
    from_ms: u64,
) -> Uuid {
    let decision = decision_at(tenant, &format!("many-{place}"), from_ms + place);
    let id = decision.id().0;
    journal.store(decision).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_may_have_eight_streams_which_take_no_slot_from_requests() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("requests_max", json!(2))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let other = Caller::of_new_tenant(&node, "other").await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(FeedClient::open(&caller).await);
    }
    let refused = request_feed(&caller, None).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["Retry-After"], "15");
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["type"], "/problems/too-many-streams", "{problem}");
    let mut of_another = FeedClient::open(&other).await;
    // Eight streams are open, although there are only two slots.
    let id = pay(&caller, "beside-streams").await;
    for listener in &mut open {
        assert_eq!(listener.next_within(TEST_TIMEOUT).await.expect("the decision").data["id"], id.as_str());
    }
    assert_eq!(of_another.next_within(QUIET).await, None);
    let narrow = Caller::of_tenant(&node, "acme", [Scope::PaymentsRead].into_iter().collect()).await;
    assert_eq!(request_feed(&narrow, None).await.status(), StatusCode::FORBIDDEN);
    drop((open, of_another));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let client = ClientId(caller.client_id.parse().unwrap());
    let tenant = clients::find_credentials(&node.databases.app, client).await.unwrap().unwrap().tenant;
    // The token ended two seconds ago and is accepted for three more.
    let tokens = issuer(&database, ISSUER, "tollgate", now_ms() - 602_000).await;
    let old = tokens
        .issue(
            tenant,
            Subject::Client { id: client, generation: 0 },
            Scope::ALL.into_iter().collect(),
            None,
            None,
        )
        .unwrap()
        .text;
    let mut listener = FeedClient::open(&caller.with_token(&old)).await;
    let mut lasting = FeedClient::open(&caller).await;
    let id = pay(&caller, "in-time").await;
    assert_eq!(listener.next_within(TEST_TIMEOUT).await.expect("the decision").data["id"], id.as_str());
    let ended = tokio::time::timeout(TEST_TIMEOUT, listener.next()).await.expect("the end of the stream");
    assert_eq!(ended, None);
    assert_eq!(lasting.next_within(TEST_TIMEOUT).await.expect("the decision").data["id"], id.as_str());
    let id = pay(&caller, "later").await;
    assert_eq!(lasting.next_within(TEST_TIMEOUT).await.expect("the decision").data["id"], id.as_str());
    drop(lasting);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_open_streams_without_waiting() {
    let database = TestDatabase::create().await;
    let mut program = Program::serve(&database).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    let mut listeners = Vec::new();
    for _ in 0..4 {
        listeners.push(FeedClient::open(&caller).await);
    }
    let (status, response) = caller.pay("before", &payment()).await;
    assert_eq!(status, StatusCode::CREATED, "{response}");
    program.signal(Signal::TERM);
    for mut listener in listeners {
        // The stream ends with the end of the body, not with a closed connection.
        let rest =
            tokio::time::timeout(TEST_TIMEOUT, async { while listener.next().await.is_some() {} }).await;
        assert!(rest.is_ok(), "the stream goes on");
    }
    assert_eq!(program.wait().await.code(), Some(0), "{}", program.log());
}
