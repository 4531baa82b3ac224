//! Floods of connections: whoever has a token is served, and no tenant takes the places of another.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use sqlx::Connection;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::program::{Program, tollgate_on};
use crate::support::raw_client::{RawAnswer, RawClient, RawRequest};
use crate::support::service::{Caller, Node, payment};

const CONNECTIONS: usize = 2_048;
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const PAYMENTS: usize = 10;

/// Both ends of all connections are in this process.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// What each connection of a flood sends. Nothing is one of them.
fn kinds(url: &str) -> [(&'static str, Vec<u8>); 5] {
    let host = url.trim_start_matches("http://");
    let head = format!("Host: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
    let body = format!("POST /oauth/token HTTP/1.1\r\n{head}Content-Length: 500\r\n\r\ngrant_type=");
    let large = body.replace("500", "1000000");
    let stopped = format!("POST /oauth/token HTTP/1.1\r\n{head}");
    let bad_token =
        format!("GET /api/v1/payments HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer no\r\n\r\n");
    [
        ("unfinished bodies", body.into_bytes()),
        ("unfinished large bodies", large.into_bytes()),
        ("stopped heads", stopped.into_bytes()),
        ("nothing", Vec::new()),
        ("bad tokens", bad_token.into_bytes()),
    ]
}

/// Holds as many connections as it is told, and replaces the oldest all the time.
struct Flood(JoinHandle<()>);

impl Flood {
    /// Returns when all connections have been opened once.
    async fn start(url: &str, sources: Vec<Ipv4Addr>, bytes: Vec<u8>, connections: usize) -> Self {
        let url = url.to_owned();
        let (all_opened, opened) = tokio::sync::oneshot::channel();
        let flooding = tokio::spawn(async move {
            let mut held = VecDeque::new();
            let mut all_opened = Some(all_opened);
            for place in 0.. {
                if held.len() == connections {
                    held.pop_front();
                    let _ = all_opened.take().map(|all_opened| all_opened.send(()));
                    sleep(Duration::from_millis(1)).await;
                }
                if let Ok(mut client) = RawClient::connect_from(&url, sources[place % sources.len()]).await {
                    client.send(&bytes).await;
                    held.push_back(client);
                }
            }
        });
        opened.await.expect("all are opened");
        Self(flooding)
    }

    /// Closes all connections.
    async fn stop(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

/// Pays from an address, without repeating what is refused.
async fn pays(caller: &Caller, what: &str, source: Ipv4Addr, kept: bool) {
    let builder = Client::builder().local_address(std::net::IpAddr::from(source));
    let http = builder.pool_max_idle_per_host(usize::from(kept)).build().unwrap();
    for place in 0..PAYMENTS {
        let request = http.request(Method::POST, format!("{}/api/v1/payments", caller.url));
        let request = request.bearer_auth(caller.token()).json(&payment());
        let key = format!("{}-{source}-{kept}-{place}", what.replace(' ', "-"));
        let sent = request.header("Idempotency-Key", &key).send().await;
        let answer = sent.unwrap_or_else(|error| panic!("{what}: {key}: {error:?}"));
        let status = answer.status();
        assert_eq!(status, StatusCode::CREATED, "{key}: {}", answer.text().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_address_leaves_all_payments_answered() {
    allow_many_files();
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    for (what, bytes) in kinds(&node.url) {
        let flood = Flood::start(&node.url, vec![HERE], bytes, CONNECTIONS).await;
        for source in [HERE, ELSEWHERE] {
            for kept in [true, false] {
                pays(&caller, what, source, kept).await;
            }
        }
        // A client without a token gets one, from another address.
        let http = Client::builder().local_address(std::net::IpAddr::from(ELSEWHERE)).build().unwrap();
        let sign_in = http
            .post(format!("{}/oauth/token", node.url))
            .basic_auth(&caller.client_id, Some(&caller.client_secret))
            .form(&[("grant_type", "client_credentials")]);
        assert_eq!(sign_in.send().await.unwrap().status(), StatusCode::OK, "{what}");
        let health = http.get(format!("{}/health", node.url)).send().await.unwrap();
        assert_eq!(health.status(), StatusCode::OK, "{what}");
        flood.stop().await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_many_addresses_leaves_the_connections_of_tokens_open() {
    allow_many_files();
    let database = TestDatabase::create().await;
    let listener = json!({"connections_max": 128, "address_connections_max": 16});
    let node = Node::start_with(&database, &[("listener", listener)]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mut kept = RawClient::connect(&node.url).await;
    kept.send(&RawRequest::payment(&caller, "first").bytes()).await;
    assert_eq!(kept.answer().await.expect("an answer").status, 201);
    let sources = (3..63).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect::<Vec<_>>();
    for (what, bytes) in kinds(&node.url) {
        let flood = Flood::start(&node.url, sources.clone(), bytes, 512).await;
        for place in 0..PAYMENTS {
            let key = format!("{}-{place}", what.replace(' ', "-"));
            kept.send(&RawRequest::payment(&caller, &key).bytes()).await;
            let answer = kept.answer().await.expect("the connection stays open");
            assert_eq!(answer.status, 201, "{what}: {answer:?}");
        }
        for source in [HERE, ELSEWHERE] {
            pays(&caller, what, source, false).await;
        }
        flood.stop().await;
    }
    node.stop().await;
}

/// Sends requests that wait for a locked table. Returns those that are under way once all others
/// were refused as too many.
async fn hold(requests: Vec<(Ipv4Addr, RawRequest)>, url: &str, under_way: usize) -> JoinSet<RawAnswer> {
    let count = requests.len();
    let mut held = JoinSet::new();
    for (source, request) in requests {
        let mut client = RawClient::connect_from(url, source).await.unwrap();
        client.send(&request.bytes()).await;
        held.spawn(async move { client.answer().await.expect("an answer") });
    }
    for _ in under_way..count {
        let answer = held.join_next().await.expect("an answer").unwrap();
        answer.has_problem("one too many", 503, "busy");
        assert_eq!(answer.header("Retry-After"), Some("1"), "{answer:?}");
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenant_takes_at_most_its_share_of_the_requests() {
    let database = TestDatabase::create().await;
    for (share, setting) in [(4, 0), (2, 2)] {
        let settings = [("requests_max", json!(8)), ("tenant_requests_max", json!(setting))];
        let node = Node::start_with(&database, &settings).await;
        let greedy = Caller::of_new_tenant(&node, &format!("greedy-{share}")).await;
        let other = Caller::of_new_tenant(&node, &format!("other-{share}")).await;
        let mut superuser = database.superuser().await;
        let mut lock = superuser.begin().await.unwrap();
        sqlx::raw_sql("lock table users in access exclusive mode").execute(&mut *lock).await.unwrap();
        let users = RawRequest::get(&greedy, "/api/v1/users");
        let mut held = hold(vec![(HERE, users); 32], &node.url, share).await;
        let refused = greedy.post("/payments", &payment()).await;
        assert_eq!(
            (refused.0, &refused.1["type"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("/problems/busy"))
        );
        for kept in [true, false] {
            pays(&other, "other", HERE, kept).await;
        }
        lock.rollback().await.unwrap();
        while let Some(answer) = held.join_next().await {
            assert_eq!(answer.unwrap().status, 200);
        }
        pays(&greedy, "greedy", HERE, true).await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connections_of_some_tenants_leave_places_for_another() {
    let database = TestDatabase::create().await;
    let listener = json!({"connections_max": 64});
    let node = Node::start_with(&database, &[("listener", listener)]).await;
    let other = Caller::of_new_tenant(&node, "other").await;
    let mut held = Vec::new();
    // Together they could take all places.
    for name in ["greedy", "greedier", "greediest"] {
        let greedy = Caller::of_new_tenant(&node, name).await;
        for place in 0..64 {
            let mut client = RawClient::connect(&node.url).await;
            client.send(&RawRequest::payment(&greedy, &format!("k{place}")).bytes()).await;
            let answer = client.answer().await;
            assert!(answer.as_ref().is_none_or(|answer| [201, 503].contains(&answer.status)), "{answer:?}");
            held.push(client);
        }
        for kept in [true, false] {
            pays(&other, name, HERE, kept).await;
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_token_never_take_the_last_half() {
    let database = TestDatabase::create().await;
    // Of one address half of that half.
    let settings = [("requests_max", json!(8)), ("address_requests_max", json!(2))];
    let node = Node::start_with(&database, &settings).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mut superuser = database.superuser().await;
    let mut lock = superuser.begin().await.unwrap();
    sqlx::raw_sql("lock table clients in access exclusive mode").execute(&mut *lock).await.unwrap();
    let sign_in = || {
        let body = format!("grant_type=client_credentials&client_id={}&client_secret=none", Uuid::now_v7());
        RawRequest::get(&caller, "")
            .line("POST /oauth/token HTTP/1.1")
            .without("Authorization")
            .field("Content-Type: application/x-www-form-urlencoded")
            .field(format!("Content-Length: {}", body.len()))
            .with_body(body.as_bytes())
    };
    let of_one = (0..8).map(|_| (ELSEWHERE, sign_in())).collect();
    let _of_one = hold(of_one, &node.url, 2).await;
    let of_many = (3..35).map(|last| (Ipv4Addr::new(127, 0, 0, last), sign_in())).collect();
    let _of_many = hold(of_many, &node.url, 2).await;
    // A tenant has half of the requests as well, all at once.
    let mut paying = JoinSet::new();
    for lane in 0..4 {
        let caller = caller.clone();
        paying.spawn(async move { pays(&caller, &format!("lane {lane}"), HERE, false).await });
    }
    while let Some(paid) = paying.join_next().await {
        paid.expect("all payments are answered");
    }
    lock.rollback().await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_few_files_serves_closes_connections_and_says_so() {
    let database = TestDatabase::create().await;
    let serving = tollgate_on(&database, &["serve"]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 160 && exec \"$0\" \"$@\""]).arg(serving.get_program());
    command.args(serving.get_args()).env_clear();
    let variables = serving.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command
        .envs(variables)
        .current_dir(serving.get_current_dir().unwrap())
        .stdin(std::process::Stdio::null());
    let program = Program::start(command).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    let mut kept = RawClient::connect(&program.url).await;
    kept.send(&RawRequest::payment(&caller, "first").bytes()).await;
    assert_eq!(kept.answer().await.expect("an answer").status, 201);
    let sources = (3..13).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect::<Vec<_>>();
    let flood = Flood::start(&program.url, sources, Vec::new(), 400).await;
    for place in 0..PAYMENTS {
        kept.send(&RawRequest::payment(&caller, &format!("kept-{place}")).bytes()).await;
        let answer = kept.answer().await.expect("the connection stays open");
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    pays(&caller, "few files", HERE, false).await;
    flood.stop().await;
    pays(&caller, "few files after", HERE, false).await;
    assert!(program.log().contains("connections_max"), "{}", program.log());
    program.stop().await;
}
