//! Raw requests that are served, and the mistakes that earlier releases served as well.

use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::raw_client::{RawAnswer, RawClient, RawRequest, address_of};
use crate::support::service::{Caller, Node, payment};

/// The only answer to a request, on a connection of its own.
async fn answer_to(caller: &Caller, request: &RawRequest) -> RawAnswer {
    let mut client = RawClient::connect(&caller.url).await;
    client.send(&request.bytes()).await;
    let answer = client.answer().await.unwrap_or_else(|| panic!("no answer to {request:?}"));
    answer.has_common_headers(&format!("{request:?}"));
    answer
}

fn chunks(body: &[u8]) -> Vec<u8> {
    let (first, second) = body.split_at(body.len() / 2);
    let chunk = |part: &[u8]| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
    [chunk(first), chunk(second), b"0\r\n\r\n".to_vec()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order_and_the_connection_is_kept() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mut client = RawClient::connect(&node.url).await;
    let pipelined = [
        RawRequest::payment(&caller, "first").bytes(),
        RawRequest::payment(&caller, "second").bytes(),
        RawRequest::get(&caller, "/api/v1/payments/nothing").bytes(),
        RawRequest::payment(&caller, "first").bytes(),
    ];
    client.send(&pipelined.concat()).await;
    let mut ids: Vec<Value> = Vec::new();
    for status in [201, 201, 404, 200] {
        let answer = client.answer().await.expect("an answer");
        answer.has_common_headers("pipelined");
        assert_eq!((answer.status, answer.header("Connection")), (status, None), "{answer:?}");
        ids.push(answer.json()["id"].clone());
    }
    assert!(ids[0] == ids[3] && ids[0] != ids[1], "{ids:?}");
    // By single bytes, and with a pause in the body.
    let bytes = RawRequest::payment(&caller, "third").bytes();
    for byte in bytes {
        client.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.answer().await.expect("an answer").status, 201);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_chunked_body_the_connection_is_closed_and_what_follows_is_not_served() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let body = payment().to_string().into_bytes();
    let chunked = |key: &str, body: &[u8]| {
        let request = RawRequest::payment(&caller, key).without("Content-Length");
        request.field("Transfer-Encoding: chunked").with_body(body).bytes()
    };
    for (key, sent) in [
        ("plain", chunks(&body)),
        ("extension", [b"0001;a=b\r\n{\r\n".as_slice(), &chunks(&body[1..])].concat()),
        ("trailer", [&chunks(&body)[..chunks(&body).len() - 2], b"X-Trailer: a\r\n\r\n"].concat()),
    ] {
        let mut client = RawClient::connect(&node.url).await;
        client.send(&[chunked(key, &sent), RawRequest::payment(&caller, "next").bytes()].concat()).await;
        let answer = client.answer().await.expect(key);
        assert_eq!((answer.status, answer.header("Connection")), (201, Some("close")), "{key}: {answer:?}");
        assert_eq!(client.rest().await, b"", "{key}");
    }
    let whole = String::from_utf8(body.clone()).unwrap();
    for (what, sent) in [
        ("no number", format!("x\r\n{whole}\r\n0\r\n\r\n")),
        ("a prefix", format!("0x{:x}\r\n{whole}\r\n0\r\n\r\n", body.len())),
        ("a sign", format!("+{:x}\r\n{whole}\r\n0\r\n\r\n", body.len())),
        ("negative", format!("-1\r\n{whole}\r\n0\r\n\r\n")),
        ("too large a number", format!("1{:016x}\r\n{whole}\r\n0\r\n\r\n", body.len())),
        ("a bare line feed", format!("{:x}\n{whole}\n0\n\n", body.len())),
        ("more than announced", format!("1\r\n{whole}\r\n0\r\n\r\n")),
        ("empty size", format!("\r\n{whole}\r\n0\r\n\r\n")),
    ] {
        let mut client = RawClient::connect(&node.url).await;
        let next = RawRequest::payment(&caller, "next").bytes();
        client.send(&[chunked("broken", sent.as_bytes()), next].concat()).await;
        let answer = client.answer().await;
        assert!(answer.as_ref().is_none_or(|answer| answer.status == 400), "{what}: {answer:?}");
        assert_eq!(client.rest().await, b"", "{what}");
    }
    let (_, stored) = caller.get("/payments").await;
    assert_eq!(stored["items"].as_array().unwrap().len(), 3, "{stored}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_protocol_allows_is_served() {
    let database = TestDatabase::create().await;
    let cors = json!({"origins": ["https://shop.example"]});
    let node = Node::start_with(&database, &[("cors", cors)]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let get = || RawRequest::get(&caller, "/api/v1/payments");
    let host = address_of(&node.url);
    let absolute = format!("GET http://{host}/api/v1/payments HTTP/1.1");
    let (token, body) = (caller.token(), payment().to_string());
    for (what, request, status) in [
        ("absolute form", get().line(absolute), 200),
        ("another host", get().without("Host").field("Host: api.example"), 200),
        ("a host with a port", get().without("Host").field("Host: api.example:8443"), 200),
        ("an IPv6 host", get().without("Host").field("Host: [::1]:8000"), 200),
        ("no space after the colon", get().field("X-Note:a"), 200),
        ("much space around", get().field("X-Note: \t a b \t "), 200),
        ("an empty value", get().field("X-Note:"), 200),
        ("other bytes in a header that decides nothing", get().field(b"User-Agent: caf\xe9 \xc3\xa9"), 200),
        ("a header twice that decides nothing", get().field("X-Note: a").field("X-Note: a"), 200),
        ("a body of no bytes", get().field("Content-Length: 0"), 200),
        (
            "lower-case names",
            get()
                .without("Host")
                .without("Authorization")
                .field(format!("host: {host}"))
                .field(format!("authorization: Bearer {token}")),
            200,
        ),
        (
            "upper-case names",
            get().without("Authorization").field(format!("AUTHORIZATION: Bearer {token}")),
            200,
        ),
        (
            "zeros before a length",
            RawRequest::payment(&caller, "zeros")
                .without("Content-Length")
                .field(format!("Content-Length: 000{} ", body.len())),
            201,
        ),
        ("64 fields", (2..64).fold(get(), |request, place| request.field(format!("X-{place}: a"))), 200),
    ] {
        let answer = answer_to(&caller, &request).await;
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!((answer.status, answer.header("Connection")), (status, None), "{what}: {text}");
    }
    let preflight = RawRequest::get(&caller, "")
        .line("OPTIONS /api/v1/payments HTTP/1.1")
        .without("Authorization")
        .field("Origin: https://shop.example")
        .field("Access-Control-Request-Method: POST");
    let answer = answer_to(&caller, &preflight).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("https://shop.example"));
    let closing = answer_to(&caller, &get().field("Connection: close")).await;
    assert_eq!((closing.status, closing.header("Connection")), (200, Some("close")));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_and_a_continue_are_answered_as_the_protocol_says() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let mut client = RawClient::connect(&node.url).await;
    client.send(&RawRequest::get(&caller, "/api/v1/payments").bytes()).await;
    let whole = client.answer().await.expect("an answer");
    client.send(&RawRequest::get(&caller, "").line("HEAD /api/v1/payments HTTP/1.1").bytes()).await;
    let head = client.answer_without_body().await.expect("an answer");
    head.has_common_headers("HEAD");
    assert_eq!((head.status, head.header("Content-Length")), (200, whole.header("Content-Length")));

    let asking = RawRequest::payment(&caller, "asked").field("Expect: 100-continue");
    client.send(&asking.head()).await;
    assert_eq!(client.answer().await.expect("an interim answer").status, 100);
    client.send(payment().to_string().as_bytes()).await;
    assert_eq!(client.answer().await.expect("an answer").status, 201);
    // A refusal before the body comes without an interim answer.
    let refused = asking
        .without("Authorization")
        .field("Authorization: Bearer none")
        .without("Content-Length")
        .field("Content-Length: 70000");
    client.send(&refused.head()).await;
    assert_eq!(client.answer().await.expect("an answer").status, 401);
    assert_eq!(client.rest().await, b"");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_a_path_does_not_support_is_answered_with_those_it_does() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"] {
        let request = RawRequest::get(&caller, "").line(format!("{method} /api/v1/payments HTTP/1.1"));
        let answer = answer_to(&caller, &request).await;
        answer.has_problem(method, 405, "method-not-allowed");
        assert_eq!(answer.header("Allow"), Some("GET, HEAD, POST"), "{method}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_cannot_choose_another_method() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    caller.post("/lists", &json!({"name": "watched", "kind": "text"})).await;
    let (_, entry) = caller.post("/lists/watched/entries", &json!({"value": "v", "reason": "r"})).await;
    let path = format!("/api/v1/lists/watched/entries/{}", entry["id"].as_str().expect("an id"));
    let form = |path: &str, body: &str| {
        RawRequest::get(&caller, "")
            .line(format!("POST {path} HTTP/1.1"))
            .field("Content-Type: application/x-www-form-urlencoded")
            .field(format!("Content-Length: {}", body.len()))
            .with_body(body.as_bytes())
    };
    for body in ["_method=delete", "_method=DELETE&a=b", "_method=put"] {
        let answer = answer_to(&caller, &form(&path, body)).await;
        answer.has_problem(body, 405, "method-not-allowed");
        assert_eq!(answer.header("Allow"), Some("DELETE"), "{body}");
        let closing = answer_to(&caller, &form("/api/v1/lists/watched", body)).await;
        closing.has_problem(body, 405, "method-not-allowed");
    }
    let (_, entries) = caller.get("/lists/watched/entries").await;
    assert_eq!(entries["items"].as_array().unwrap().len(), 1, "{entries}");
    assert_eq!(entries["items"][0].get("valid_to_ms"), None, "{entries}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_cannot_be_read_changes_nothing() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let first = caller.activate(&[("account-check", json!({}))]).await;
    let second = caller.activate(&[("account-check", json!({"iban_unregistered": "reject"}))]).await;
    let body = json!({"revision": first}).to_string();
    for (name, field) in [
        ("If-Match", b"If-Match: \"999\xe9\"".as_slice()),
        ("If-Match", b"If-Match: \"999\"\r\nIf-Match: \"999\""),
        ("If-None-Match", b"If-None-Match: \"999\xe9\""),
        ("Content-Digest", b"Content-Digest: sha-256=:\xe9AA:"),
        ("Repr-Digest", b"Repr-Digest: sha-256=:\xe9AA:"),
    ] {
        let request = RawRequest::get(&caller, "")
            .line("POST /api/v1/rulesets/payment/activations HTTP/1.1")
            .field("Content-Type: application/json")
            .field(format!("Content-Length: {}", body.len()))
            .field(field)
            .with_body(body.as_bytes());
        let problem = answer_to(&caller, &request).await.has_problem(name, 400, "malformed-request");
        assert_eq!(problem["errors"][0]["parameter"], name, "{problem}");
    }
    let (_, active) = caller.get("/rulesets/payment").await;
    assert_eq!(active["activation"]["revision"], second, "{active}");
    node.stop().await;
}
