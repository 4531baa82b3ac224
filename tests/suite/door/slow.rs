//! Slow connections: each kind is closed by its own bound, while another client is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::support::database::TestDatabase;
use crate::support::feed_client::{FeedClient, request_feed};
use crate::support::program::TEST_TIMEOUT;
use crate::support::raw_client::{RawClient, RawRequest};
use crate::support::service::{Caller, Node, payment};

const DROP: Duration = Duration::from_millis(40);

/// Answers of together some megabytes, more than the buffers of a connection hold.
const ANSWERS: usize = 40;

/// A client that pays all the time, on kept and on new connections.
struct LiveClient {
    stopped: Arc<AtomicBool>,
    paying: JoinHandle<usize>,
}

impl LiveClient {
    fn start(caller: &Caller) -> Self {
        let (caller, stopped) = (caller.clone(), Arc::new(AtomicBool::new(false)));
        let is_stopped = Arc::clone(&stopped);
        let paying = tokio::spawn(async move {
            let mut paid = 0;
            while !is_stopped.load(Ordering::SeqCst) {
                let mut client = RawClient::connect(&caller.url).await;
                for _ in 0..3 {
                    client.send(&RawRequest::payment(&caller, &format!("live-{paid}")).bytes()).await;
                    let answer = client.answer().await.expect("an answer");
                    assert_eq!(answer.status, 201, "{answer:?}");
                    paid += 1;
                }
                sleep(Duration::from_millis(20)).await;
            }
            paid
        });
        Self { stopped, paying }
    }

    async fn stop(self) {
        self.stopped.store(true, Ordering::SeqCst);
        assert!(self.paying.await.expect("all payments are decided") > 0);
    }
}

#[derive(Debug, Clone, Copy)]
enum Slow {
    Silent,
    IdleAfterAnswer,
    StoppedHead,
    HeadByDrops,
    StoppedSecondHead,
    BodyNeverComes,
    BodyStops,
    BodyByDrops,
    ChunkedBodyStops,
    BodyTakesTooLongInAll,
    UnreadAnswers,
}

use Slow::*;

/// Each kind, the last status before the connection is closed, and the bound that closes it.
const KINDS: [(Slow, Option<u16>, &str); 11] = [
    (Silent, None, "idle_time"),
    (IdleAfterAnswer, None, "idle_time"),
    (StoppedHead, Some(408), "head_time"),
    (HeadByDrops, Some(408), "head_time"),
    (StoppedSecondHead, Some(408), "head_time"),
    (BodyNeverComes, Some(408), "body_time"),
    (BodyStops, Some(408), "body_time"),
    (BodyByDrops, Some(408), "body_time"),
    (ChunkedBodyStops, Some(408), "body_time"),
    (BodyTakesTooLongInAll, Some(408), "body_time"),
    (UnreadAnswers, None, "answer_time"),
];

const BOUNDS: [&str; 4] = ["idle_time", "head_time", "body_time", "answer_time"];

/// How many connections of each kind there are at once. A tenant may send four large bodies.
const EACH: usize = 4;

fn upload(caller: &Caller) -> RawRequest {
    RawRequest::get(caller, "")
        .line("POST /api/v1/plugins HTTP/1.1")
        .field("Content-Type: application/wasm")
        .field("Content-Length: 20000000")
}

/// Does what the kind says, until the server answers or closes.
async fn be_slow(client: &mut RawClient, caller: &Caller, kind: Slow) {
    let health = RawRequest::get(caller, "/health");
    let pay = RawRequest::payment(caller, "slow");
    let head = pay.head();
    match kind {
        Silent => {}
        IdleAfterAnswer | StoppedSecondHead => {
            client.send(&health.bytes()).await;
            assert_eq!(client.answer().await.expect("an answer").status, 200);
            if let StoppedSecondHead = kind {
                client.send(&head[..head.len() - 2]).await;
            }
        }
        StoppedHead => {
            client.send(&head[..head.len() - 2]).await;
        }
        HeadByDrops => {
            client.send(b"POST /api/v1/payments HTTP/1.1\r\nHost: a\r\nX-Note: ").await;
            client.send_by_drops(b'a', DROP).await;
        }
        BodyNeverComes => {
            client.send(&head).await;
        }
        BodyStops => {
            let bytes = pay.bytes();
            client.send(&bytes[..bytes.len() - 1]).await;
        }
        BodyByDrops => {
            let announced = pay.without("Content-Length").field("Content-Length: 60000");
            client.send(&announced.head()).await;
            client.send_by_drops(b'a', DROP).await;
        }
        ChunkedBodyStops => {
            let chunked = pay.without("Content-Length").field("Transfer-Encoding: chunked");
            client.send(&[&chunked.head(), b"5\r\n{\"ref\r\n".as_slice()].concat()).await;
        }
        BodyTakesTooLongInAll => {
            client.send(&upload(caller).head()).await;
            while client.send(&[b'a'; 100 << 10]).await && !client.has_arrived(DROP).await {}
        }
        UnreadAnswers => {
            let document = RawRequest::get(caller, "/api/v1/openapi.json").bytes();
            client.send(&document.repeat(ANSWERS)).await;
        }
    }
}

async fn closed_by(url: &str, bound: &str) -> f64 {
    let page = reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap();
    let series = format!("connections_bounded_total{{bound=\"{bound}\"}} ");
    let found = page.lines().find_map(|line| line.strip_prefix(series.as_str()));
    // A series that is not registered yet has counted nothing.
    found.map_or(0.0, |value| value.parse().expect("a number"))
}

async fn wait_until_closed(url: &str, bound: &str, count: f64) {
    let begun = Instant::now();
    while closed_by(url, bound).await < count {
        assert!(begun.elapsed() < TEST_TIMEOUT, "{bound} has not closed {count}");
        sleep(DROP).await;
    }
}

/// Asserts how a slow connection ends. Whoever does not read waits until the bound of answers has
/// closed `unread` connections.
async fn is_closed(caller: &Caller, kind: Slow, status: Option<u16>, unread: f64) {
    let mut client = match kind {
        UnreadAnswers => RawClient::connect_narrow(&caller.url).await,
        _ => RawClient::connect(&caller.url).await,
    };
    be_slow(&mut client, caller, kind).await;
    if let UnreadAnswers = kind {
        wait_until_closed(&caller.url, "answer_time", unread).await;
        let mut whole = 0;
        while client.answer().await.is_some() {
            whole += 1;
        }
        assert!(whole < ANSWERS, "all answers have arrived");
        return;
    }
    if let Some(status) = status {
        let answer = client.answer().await.unwrap_or_else(|| panic!("{kind:?} is not answered"));
        answer.has_problem(&format!("{kind:?}"), status, "request-timeout");
        assert_eq!(answer.header("Connection"), Some("close"), "{kind:?}");
    }
    assert_eq!(String::from_utf8_lossy(&client.rest().await), "", "{kind:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_slow_connection_is_closed_by_its_bound_while_others_are_served() {
    let database = TestDatabase::create().await;
    let listener = json!({
        "head_max_ms": 1_000, "body_part_max_ms": 1_000, "body_max_ms": 3_000, "answer_part_max_ms": 1_000,
        "idle_max_ms": 1_000,
    });
    let node = Node::start_with(&database, &[("listener", listener)]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let slow = Caller::of_new_tenant(&node, "slow").await;
    let mut before = Vec::new();
    for bound in BOUNDS {
        before.push(closed_by(&node.url, bound).await);
    }
    let unread = closed_by(&node.url, "answer_time").await + EACH as f64;
    let live = LiveClient::start(&caller);
    let mut slow_ones = JoinSet::new();
    for (kind, status, _) in KINDS.into_iter().flat_map(|kind| [kind; EACH]) {
        let slow = slow.clone();
        slow_ones.spawn(async move { is_closed(&slow, kind, status, unread).await });
    }
    while let Some(ended) = slow_ones.join_next().await {
        ended.expect("closed");
    }
    live.stop().await;
    for (bound, before) in BOUNDS.into_iter().zip(before) {
        let kinds = KINDS.iter().filter(|(_, _, closes)| *closes == bound).count();
        wait_until_closed(&node.url, bound, before + (kinds * EACH) as f64).await;
    }
    let (_, stored) = slow.get("/payments").await;
    assert_eq!(stored["items"], json!([]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_arrives_slowly_but_within_the_bound_is_served_whole() {
    let database = TestDatabase::create().await;
    let listener = json!({"head_max_ms": 500, "body_part_max_ms": 2_000, "idle_max_ms": 500});
    let node = Node::start_with(&database, &[("listener", listener)]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mut small = RawClient::connect(&node.url).await;
    let (pay, mut body) = (RawRequest::payment(&caller, "slow"), payment().to_string().into_bytes());
    small.send(&pay.head()).await;
    let last = body.split_off(body.len() - 1);
    small.send(&body).await;
    // Four parts, in pieces of a quarter of one.
    let mut large = RawClient::connect(&node.url).await;
    let upload = vec![b'a'; 256 << 10];
    let head = RawRequest::get(&caller, "")
        .line("POST /api/v1/plugins HTTP/1.1")
        .field("Content-Type: application/wasm")
        .field(format!("Content-Length: {}", upload.len()));
    large.send(&head.head()).await;
    for piece in upload.chunks(16 << 10) {
        large.send(piece).await;
        sleep(Duration::from_millis(100)).await;
    }
    small.send(&last).await;
    assert_eq!(small.answer().await.expect("an answer").status, 201);
    // It was read to its end, and is no plugin.
    let answer = large.answer().await.expect("an answer");
    assert_eq!(answer.status, 422, "{}", String::from_utf8_lossy(&answer.body));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_but_goes_on_reading_gets_all_answers() {
    let database = TestDatabase::create().await;
    let listener = json!({"answer_part_max_ms": 1_000, "idle_max_ms": 20_000});
    let node = Node::start_with(&database, &[("listener", listener)]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let document = RawRequest::get(&caller, "/api/v1/openapi.json").bytes();
    let mut quick = RawClient::connect(&node.url).await;
    quick.send(&document).await;
    let expected = quick.answer().await.expect("an answer").body;
    let answers = (5 << 20) / expected.len() + 1;
    let mut client = RawClient::connect_narrow(&node.url).await;
    client.send(&document.repeat(answers)).await;
    // Ten times as quick as the bound asks for, and several seconds in all.
    let begun = Instant::now();
    let mut read = 0;
    while read < answers * expected.len() {
        read += client.fill().await.unwrap_or_else(|| panic!("closed after {read} bytes"));
        let due = Duration::from_millis((read as u64 * 100) >> 16);
        sleep(due.saturating_sub(begun.elapsed())).await;
    }
    for _ in 0..answers {
        assert_eq!(client.answer().await.expect("an answer").body, expected);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_and_a_request_under_way_stay_open_beyond_the_idle_time() {
    let database = TestDatabase::create().await;
    let listener = json!({"idle_max_ms": 300, "answer_part_max_ms": 300, "body_part_max_ms": 300});
    let node = Node::start_with(&database, &[("listener", listener)]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mut feed = FeedClient::open(&caller).await;
    // The journal is locked, so this payment stays under way.
    let mut superuser = database.superuser().await;
    let mut transaction = sqlx::Connection::begin(&mut superuser).await.unwrap();
    sqlx::raw_sql("lock table decisions in access exclusive mode").execute(&mut *transaction).await.unwrap();
    let mut paying = RawClient::connect(&node.url).await;
    paying.send(&RawRequest::payment(&caller, "k").bytes()).await;
    sleep(Duration::from_millis(2_000)).await;
    transaction.rollback().await.unwrap();
    let answer = paying.answer().await.expect("an answer");
    assert_eq!(answer.status, 201, "{answer:?}");
    let heard = feed.next_within(TEST_TIMEOUT).await.expect("the stream is still open");
    assert_eq!((heard.name.as_str(), &heard.data["id"]), ("decision", &answer.json()["id"]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_client_is_gone_gives_up_its_place_before_the_next_heartbeat() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mut gone = Vec::new();
    // As many as a tenant may have.
    for _ in 0..8 {
        gone.push(FeedClient::open(&caller).await);
    }
    let begun = Instant::now();
    drop(gone);
    while request_feed(&caller, None).await.status() != 200 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the streams are still open");
        sleep(DROP).await;
    }
    node.stop().await;
}
