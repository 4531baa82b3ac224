//! Malformed requests on every kind of route.

use reqwest::{Client, Method, RequestBuilder};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, FullResponse, Node, payment};

const ID: &str = "0193b0a0-0000-7000-8000-000000000001";

/// Asserts that the response is this problem.
fn is_problem(what: &str, response: &FullResponse, status: u16, slug: &str) {
    assert_eq!(response.status, status, "{what}: {}", response.text);
    assert_eq!(response.header("Content-Type"), "application/problem+json", "{what}");
    let problem = response.json();
    assert_eq!(problem["type"], format!("/problems/{slug}"), "{what}: {problem}");
    assert_eq!(problem["status"], status, "{what}");
    for member in ["title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{what}: {problem}");
    }
    assert_eq!(problem["request_id"], response.header("X-Request-Id"), "{what}");
    assert_eq!(response.header("X-Content-Type-Options"), "nosniff", "{what}");
    assert_eq!(response.header("Cache-Control"), "no-store", "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_are_problems_everywhere() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let plain = |method: Method, path: &str| Client::new().request(method, format!("{}{path}", node.url));
    for path in [
        "/api",
        "/problems/nothing",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v2/payments",
        "/oauth",
        "/oauth/authorize",
        "/admin/secrets.txt",
        "/.well-known/nothing",
        "/api/v1/payments/a/b/c",
        "/%2e%2e/etc/passwd",
        "/api/v1/payments%2f",
        "/docs/../../Cargo.toml",
    ] {
        is_problem(path, &FullResponse::of(plain(Method::GET, path)).await, 404, "not-found");
    }
    for (method, path, allow) in [
        (Method::DELETE, "/api/v1/payments", "GET, POST"),
        (Method::PUT, "/api/v1/payments", "GET, POST"),
        (Method::OPTIONS, "/api/v1/payments", "GET, POST"),
        (Method::POST, "/api/v1/decisions/x", "GET, HEAD"),
        (Method::PATCH, "/api/v1/lists", "GET, HEAD, POST"),
        (Method::GET, "/api/v1/lists/a/entries/b", "DELETE"),
        (Method::GET, "/api/v1/rulesets/payment/rollback", "POST"),
        (Method::PUT, "/api/v1/plugins", "GET, POST"),
        (Method::GET, "/oauth/token", "POST"),
        (Method::POST, "/health", "GET, HEAD"),
        (Method::POST, "/metrics", "GET"),
        (Method::POST, "/api/v1/openapi.json", "GET"),
        (Method::OPTIONS, "/.well-known/jwks.json", "GET"),
    ] {
        let what = format!("{method} {path}");
        let response = FullResponse::of(plain(method, path)).await;
        is_problem(&what, &response, 405, "method-not-allowed");
        for method in allow.split(", ") {
            assert!(response.header("Allow").contains(method), "{what}: {}", response.header("Allow"));
        }
    }
    for (path, status) in [("/health", 200), ("/api/v1/openapi.json", 200), ("/nothing", 404)] {
        let response = FullResponse::of(plain(Method::HEAD, path)).await;
        assert_eq!((response.status, response.text.as_str()), (status, ""), "HEAD {path}");
    }
    // An unknown path needs no token, but existing resources do.
    for path in ["/payments", "/lists", "/plugins", "/rulesets/payment", &format!("/decisions/{ID}")] {
        is_problem(
            path,
            &FullResponse::of(plain(Method::GET, &format!("/api/v1{path}"))).await,
            401,
            "unauthenticated",
        );
    }
    for path in [
        "/payments/nonsense",
        "/payments/1",
        &format!("/payments/{ID}"),
        "/decisions/nonsense",
        "/decisions/nonsense/replay",
        "/decisions/nonsense/rules/a/diagnosis",
        "/plugins/nonsense",
        "/plugins/nonsense/wasm",
        "/rulesets/refund",
        "/rulesets/payment/revisions/one",
        "/lists/nowhere/entries",
        "/payments/%00",
        "/lists/%ff/entries",
    ] {
        is_problem(path, &FullResponse::of(caller.request(Method::GET, path)).await, 404, "not-found");
    }
    let entry = caller.request(Method::DELETE, "/lists/nowhere/entries/nonsense");
    is_problem("an entry", &FullResponse::of(entry).await, 404, "not-found");
    node.stop().await;
}

/// A body of this many chunks of 1,000 spaces, without a length.
async fn chunked(node: &Node, caller: &Caller, chunks: usize) -> String {
    let address = node.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v1/lists HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        caller.token()
    );
    let chunk = format!("3e8\r\n{}\r\n", " ".repeat(1_000));
    stream.write_all(format!("{head}{}0\r\n\r\n", chunk.repeat(chunks)).as_bytes()).await.unwrap();
    let mut response = Vec::new();
    // The server may close the connection without reading the whole body.
    let _ = stream.read_to_end(&mut response).await;
    String::from_utf8(response).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_bodies_are_problems_and_are_not_echoed() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (status, list) = caller.post("/lists", &json!({"name": "a", "kind": "text"})).await;
    assert_eq!(status, 201, "{list}");
    let routes = [
        "/payments",
        "/lists",
        "/lists/a/entries",
        "/rulesets/payment/revisions",
        "/rulesets/payment/activations",
    ];
    let secret = "4111111111111111";
    let large = format!("{{\"reference\": \"{}\"}}", "x".repeat(70_000));
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    for route in routes {
        let post = |content_type: &str, body: Vec<u8>| {
            let request = caller.request(Method::POST, route).header("Idempotency-Key", "k");
            request.header("Content-Type", content_type).body(body)
        };
        let json = "application/json";
        for (what, request, status, slug) in [
            ("text", post("text/plain", b"{}".to_vec()), 415, "unsupported-media-type"),
            (
                "a form",
                post("application/x-www-form-urlencoded", b"a=b".to_vec()),
                415,
                "unsupported-media-type",
            ),
            ("too large", post(json, large.clone().into_bytes()), 413, "body-too-large"),
            ("nothing", post(json, Vec::new()), 400, "malformed-body"),
            (
                "cut off",
                post(json, format!("{{\n  \"reference\": \"{secret}").into_bytes()),
                400,
                "malformed-body",
            ),
            ("two values", post(json, b"{} {}".to_vec()), 400, "malformed-body"),
            ("no UTF-8", post(json, vec![b'{', b'"', 0xff, b'"', b':', b'1', b'}']), 400, "malformed-body"),
            ("too deep", post(json, deep.clone().into_bytes()), 400, "malformed-body"),
            ("NaN", post(json, b"{\"amount_minor\": NaN}".to_vec()), 400, "malformed-body"),
            ("an array", post(json, b"[]".to_vec()), 422, "invalid-body"),
            ("text in JSON", post(json, b"\"a\"".to_vec()), 422, "invalid-body"),
            (
                "a repeated key",
                post(json, format!("{{\"name\": \"{secret}\", \"name\": \"b\"}}").into_bytes()),
                422,
                "invalid-body",
            ),
        ] {
            let response = FullResponse::of(request).await;
            is_problem(&format!("{route}: {what}"), &response, status, slug);
            assert!(!response.text.contains(secret), "{route}: {what}: {}", response.text);
            let detail = response.json()["detail"].as_str().unwrap().to_owned();
            match what {
                "cut off" => assert!(detail.contains("line 2"), "{detail}"),
                "too large" => assert!(detail.contains("65536"), "{detail}"),
                "a repeated key" => assert!(response.text.contains("/name"), "{}", response.text),
                _ => {}
            }
        }
    }
    // The limit also applies without a length.
    let response = chunked(&node, &caller, 80).await;
    assert!(
        response.starts_with("HTTP/1.1 413 ") && response.contains("/problems/body-too-large"),
        "{response}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_keys_queries_and_headers_are_problems() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let pay = |keys: &[&[u8]]| -> RequestBuilder {
        let request = caller.request(Method::POST, "/payments").json(&payment());
        keys.iter().fold(request, |request, key| request.header("Idempotency-Key", *key))
    };
    let (long, longest) = ("x".repeat(256), "x".repeat(255));
    for (what, keys) in [
        ("none", &[][..]),
        ("empty", &[&b""[..]]),
        ("with a space", &[b"a b"]),
        ("not ASCII", &["schlüssel".as_bytes()]),
        ("too long", &[long.as_bytes()]),
        ("two", &[b"a", b"b"]),
        ("the same twice", &[b"a", b"a"]),
    ] {
        is_problem(what, &FullResponse::of(pay(keys)).await, 400, "invalid-idempotency-key");
    }
    assert_eq!(FullResponse::of(pay(&[longest.as_bytes()])).await.status, 201);

    for path in [
        "/payments?cursor=nonsense",
        "/payments?cursor=",
        "/payments?limit=0",
        "/payments?limit=x",
        "/payments?limit=1&limit=2",
        "/payments?colour=red",
        "/payments?outcome=perhaps",
        "/payments?from_ms=-1",
        "/payments?from_ms=99999999999999999999",
        "/payments?reference=%ff",
        "/payments?idempotency_key=a&limit=5",
        "/rulesets/payment/revisions?cursor=x",
        "/rulesets/payment/activations?cursor=x",
        "/lists?limit=0",
        "/plugins?name=x",
    ] {
        let response = FullResponse::of(caller.request(Method::GET, path)).await;
        is_problem(path, &response, 400, "invalid-query");
        assert!(!response.json()["errors"].as_array().unwrap().is_empty(), "{path}");
    }
    let untagged = caller.request(Method::POST, "/rulesets/payment/rollback").header("If-Match", "x");
    is_problem("If-Match", &FullResponse::of(untagged).await, 400, "malformed-request");
    // The caller's request id is used only if it is harmless.
    let with_id = |id: &str| caller.request(Method::GET, "/nothing").header("X-Request-Id", id.to_owned());
    assert_eq!(FullResponse::of(with_id("request-1")).await.header("X-Request-Id"), "request-1");
    let strange = FullResponse::of(with_id("<b>not</b> mine")).await;
    assert!(!strange.text.contains("<b>"), "{}", strange.text);
    assert_eq!(strange.json()["request_id"], json!(strange.header("X-Request-Id")));
    node.stop().await;
}
