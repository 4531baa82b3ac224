//! Rate limits of requests and sign-ins: who is limited, and the responses.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate::app::tenants::{ClientLimits, ClientRequest, CreatedClient, create_client_with};
use tollgate::domain::tenant::Scope;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::feed_client::{FeedClient, request_feed};
use crate::support::program::{TEST_TIMEOUT, run_command, tollgate_on};
use crate::support::service::{Caller, FullResponse, Node, payment, payment_with};

/// Far more tokens than are refilled during a test.
const PLENTY: usize = 100;
const TURNS: usize = 5;

async fn make_client(node: &Node, tenant: &str, requests_per_s: Option<u32>) -> (String, String) {
    let order = ClientRequest {
        tenant: tenant.to_owned(),
        name: "test".to_owned(),
        scopes: Scope::ALL.into_iter().collect(),
        created_by: "test".to_owned(),
    };
    let limits = ClientLimits { requests_per_s, ..ClientLimits::default() };
    let created = create_client_with(&node.databases.system, order, limits).await;
    let CreatedClient { id, secret, .. } = created.expect("a client");
    (id.to_string(), secret.expose().to_owned())
}

async fn caller_with_rate(node: &Node, tenant: &str, requests_per_s: Option<u32>) -> Caller {
    let (id, secret) = make_client(node, tenant, requests_per_s).await;
    Caller::sign_in(&node.url, &id, &secret).await
}

async fn read(caller: &Caller) -> FullResponse {
    FullResponse::of(caller.request(Method::GET, "/lists")).await
}

/// Repeats the request until it is refused. Returns the refusal.
async fn send_until_refused(caller: &Caller) -> FullResponse {
    for _ in 0..PLENTY {
        let response = read(caller).await;
        if response.status == 429 {
            return response;
        }
        assert_eq!(response.status, 200, "{}", response.text);
    }
    panic!("{PLENTY} requests were not refused");
}

fn has_no_limit(response: &FullResponse) -> bool {
    !response.headers.contains_key("RateLimit") && !response.headers.contains_key("RateLimit-Policy")
}

async fn metric(node: &Node, name: &str) -> f64 {
    let text = FullResponse::of(Client::new().get(format!("{}/metrics", node.url))).await.text;
    let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_above_its_rate_must_wait_and_others_need_not() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let free = Caller::of_new_tenant(&node, "acme").await;
    let limited = caller_with_rate(&node, "acme", Some(2)).await;

    let (begun, mut granted) = (Instant::now(), 0_u32);
    let refused = loop {
        let response = read(&limited).await;
        assert_eq!(response.header("RateLimit-Policy"), r#""client";q=2;w=1"#);
        if response.status == 429 {
            break response;
        }
        assert_eq!(response.status, 200, "{}", response.text);
        let left = response.header("RateLimit");
        assert!([r#""client";r=1;t=1"#, r#""client";r=0;t=1"#].contains(&left), "{left}");
        granted += 1;
    };
    let most = 2.0 + 2.0 * begun.elapsed().as_secs_f64();
    assert!(granted >= 2 && f64::from(granted) <= most, "{granted} in {:?}", begun.elapsed());
    assert_eq!(refused.header("RateLimit"), r#""client";r=0;t=1"#);
    assert_eq!(refused.header("Retry-After"), "1");
    assert_eq!(refused.header("Content-Type"), "application/problem+json");
    let problem = refused.json();
    assert_eq!((&problem["type"], &problem["status"]), (&json!("/problems/rate-limited"), &json!(429)));
    assert_eq!(problem["request_id"], refused.header("X-Request-Id"));
    assert!(metric(&node, "http_requests_rate_limited_total").await >= 1.0);

    for _ in 0..20 {
        let response = read(&free).await;
        assert!(response.status == 200 && has_no_limit(&response), "{response:?}");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(read(&limited).await.status, 200, "after Retry-After it goes on");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_above_the_rate_is_refused_before_its_body_is_read() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    Caller::of_new_tenant(&node, "acme").await;
    let limited = caller_with_rate(&node, "acme", Some(1)).await;

    let pay = async |key: &str, payment: &Value| {
        let request = limited.request(Method::POST, "/payments").header("Idempotency-Key", key);
        FullResponse::of(request.json(payment)).await
    };
    // If a token is refilled just before the payment, the payment is accepted. So this is repeated
    // until a payment is refused.
    let mut refused = None;
    for number in 0..TURNS {
        send_until_refused(&limited).await;
        let key = format!("key-{number}");
        let response = pay(&key, &payment()).await;
        if response.status == 429 {
            assert_eq!(response.json()["type"], "/problems/rate-limited");
            refused = Some(key);
            break;
        }
    }
    let key = refused.expect("a refusal");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let decided = pay(&key, &payment_with(&json!({"amount_minor": 7}))).await;
    assert_eq!(decided.status, 201, "the key was free for another payment: {}", decided.text);
    assert_eq!(decided.header("RateLimit-Policy"), r#""client";q=1;w=1"#);

    // A request whose body is incomplete, and too large to be received before it is routed.
    let address = node.url.strip_prefix("http://").unwrap();
    let head = format!(
        "POST /api/v1/payments HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Idempotency-Key: unread\r\nContent-Type: application/json\r\nContent-Length: 70000\r\n\r\n{}",
        limited.token(),
        " ".repeat(1_000)
    );
    let mut response = String::new();
    for _ in 0..TURNS {
        send_until_refused(&limited).await;
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut bytes = vec![0; 4_096];
        let reading = tokio::time::timeout(Duration::from_secs(1), connection.read(&mut bytes));
        if let Ok(length) = reading.await {
            response = String::from_utf8_lossy(&bytes[..length.unwrap()]).into_owned();
            break;
        }
    }
    assert!(response.starts_with("HTTP/1.1 429 "), "{response:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configured_rate_applies_to_clients_without_a_rate_and_only_to_the_api() {
    let database = TestDatabase::create().await;
    let settings = [("client_requests_per_s", json!(1)), ("client_requests_burst", json!(3))];
    let node = Node::start_with(&database, &settings).await;
    let limited = Caller::of_new_tenant(&node, "acme").await;
    let free = caller_with_rate(&node, "acme", Some(0)).await;
    let fast = caller_with_rate(&node, "acme", Some(50)).await;
    assert_eq!(send_until_refused(&limited).await.header("RateLimit-Policy"), r#""client";q=3;w=3"#);
    assert_eq!(read(&fast).await.header("RateLimit-Policy"), r#""client";q=50;w=1"#);
    for _ in 0..20 {
        let response = read(&free).await;
        assert!(response.status == 200 && has_no_limit(&response), "{response:?}");
    }
    for path in ["/health", "/ready", "/metrics", "/api/v1/openapi.json", "/admin", "/.well-known/jwks.json"]
    {
        for _ in 0..5 {
            let request = Client::new().get(format!("{}{path}", node.url)).bearer_auth(limited.token());
            let response = FullResponse::of(request).await;
            assert!(response.status < 400 && has_no_limit(&response), "{path}: {response:?}");
        }
    }
    let again = Caller::sign_in(&node.url, &limited.client_id, &limited.client_secret).await;
    send_until_refused(&again).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_counts_as_one_request() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let free = Caller::of_new_tenant(&node, "acme").await;
    let limited = caller_with_rate(&node, "acme", Some(1)).await;
    let mut listener = FeedClient::open(&limited).await;
    let mut refused = None;
    for _ in 0..TURNS {
        send_until_refused(&limited).await;
        let response = request_feed(&limited, None).await;
        if response.status() == 429 {
            refused = Some(response);
            break;
        }
    }
    assert_eq!(refused.expect("a refusal").headers()["Retry-After"], "1");
    for key in ["first", "second", "third"] {
        let (status, _) = free.pay(key, &payment()).await;
        assert_eq!(status, 201);
        assert!(listener.next_within(TEST_TIMEOUT).await.is_some(), "{key}");
    }
    node.stop().await;
}

/// Status, `Retry-After` and body of this many concurrent sign-ins.
async fn sign_ins(node: &Node, count: usize, id: impl Fn() -> String, secret: &str) -> Vec<FullResponse> {
    let http = Client::new();
    let sign_in = |_| {
        let request = http.post(format!("{}/oauth/token", node.url)).basic_auth(id(), Some(secret));
        FullResponse::of(request.form(&[("grant_type", "client_credentials")]))
    };
    join_all((0..count).map(sign_in)).await
}

fn with_status(responses: &[FullResponse], status: u16) -> usize {
    responses.iter().filter(|response| response.status == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_sign_ins_are_limited_and_a_valid_secret_still_works() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let unseen = make_client(&node, "acme", None).await;

    let before = node.app.services.hasher.computations();
    let begun = Instant::now();
    let responses = sign_ins(&node, 60, || caller.client_id.clone(), "wrong").await;
    let most = 20 + begun.elapsed().as_secs() + 1;
    let hashed = node.app.services.hasher.computations() - before;
    assert!(hashed <= most, "{hashed} hashes of at most {most}");
    assert_eq!(with_status(&responses, 401) + with_status(&responses, 429), 60, "{responses:?}");
    let refused = responses.iter().find(|response| response.status == 429).expect("a refusal");
    assert_eq!(refused.header("Retry-After"), "1");
    let shape = refused.json();
    assert_eq!(shape["error"], "temporarily_unavailable");
    assert!(shape["error_description"].is_string());
    assert!(metric(&node, "http_sign_ins_rate_limited_total").await >= 1.0);
    Caller::sign_in(&node.url, &caller.client_id, &caller.client_secret).await;
    Caller::sign_in(&node.url, &unseen.0, &unseen.1).await;

    // The limit also holds for unknown client ids.
    let (before, begun) = (node.app.services.hasher.computations(), Instant::now());
    let responses = sign_ins(&node, 200, || Uuid::now_v7().to_string(), "wrong").await;
    let most = 50 + 10 * (begun.elapsed().as_secs() + 1);
    let hashed = node.app.services.hasher.computations() - before;
    assert!(with_status(&responses, 429) > 0 && hashed <= most, "{hashed} hashes of at most {most}");
    Caller::sign_in(&node.url, &caller.client_id, &caller.client_secret).await;
    let third = make_client(&node, "acme", None).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    Caller::sign_in(&node.url, &third.0, &third.1).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_the_rate_of_a_client_and_this_is_recorded() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    Caller::of_new_tenant(&node, "acme").await;
    let create = |rate: &str| {
        let line = ["client", "create", "--tenant", "acme", "--name", "bulk", "--requests-per-s", rate];
        run_command(tollgate_on(&database, &line))
    };
    for (wrong, reported) in
        [("1000001", "at most 1000000 requests per second"), ("many", "--requests-per-s")]
    {
        let (status, _, log) = create(wrong);
        assert!(!status.success() && log.contains(reported), "{wrong}: {log}");
    }
    let (status, output, log) = create("7");
    assert!(status.success(), "{log}");
    let value = |name: &str| output.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let caller = Caller::sign_in(&node.url, &value("client_id="), &value("client_secret=")).await;
    let audit = FullResponse::of(caller.request(Method::GET, "/audit?limit=1")).await;
    assert_eq!(audit.header("RateLimit-Policy"), r#""client";q=7;w=1"#);
    let act: Value = audit.json()["items"][0].clone();
    assert_eq!((&act["action"], &act["after"]["requests_per_s"]), (&json!("client.created"), &json!(7)));
    node.stop().await;
}
