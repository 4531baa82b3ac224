//! Browser clients of other origins.

use reqwest::{Client, Method, RequestBuilder};
use serde_json::json;

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, FullResponse, Node, payment};

const SHOP: &str = "https://shop.example";

/// Origins that were not named, some of them similar to one that was.
const OTHERS: [&str; 5] = [
    "null",
    "https://evil.example",
    "https://shop.example.evil.example",
    "http://shop.example",
    "HTTPS://SHOP.EXAMPLE",
];

fn preflight(node: &Node, path: &str, origin: &str) -> RequestBuilder {
    let request = Client::new().request(Method::OPTIONS, format!("{}{path}", node.url));
    request
        .header("Origin", origin.to_owned())
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization,idempotency-key")
}

fn has_no_cors(what: &str, response: &FullResponse) {
    for name in ["Allow-Origin", "Allow-Credentials", "Allow-Methods", "Allow-Headers", "Expose-Headers"] {
        assert_eq!(response.header(&format!("Access-Control-{name}")), "", "{what}: {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_named_origin_may_use_the_api_and_no_other_page() {
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("cors", json!({"origins": [SHOP]}))]).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;

    let asked = FullResponse::of(preflight(&node, "/api/v1/payments", SHOP)).await;
    assert_eq!((asked.status, asked.header("Access-Control-Allow-Origin")), (204, SHOP));
    assert_eq!(asked.header("Access-Control-Allow-Methods"), "GET, HEAD, POST");
    for name in ["Authorization", "Idempotency-Key", "Content-Type", "If-Match"] {
        assert!(asked.header("Access-Control-Allow-Headers").contains(name), "{name}");
    }
    assert_eq!((asked.header("Access-Control-Max-Age"), asked.header("Vary")), ("7200", "Origin"));
    assert_eq!(asked.header("Access-Control-Allow-Credentials"), "");

    let pay = |origin: &str| {
        let request =
            caller.request(Method::POST, "/payments").header("Idempotency-Key", "k").json(&payment());
        request.header("Origin", origin.to_owned())
    };
    let paid = FullResponse::of(pay(SHOP)).await;
    assert_eq!((paid.status, paid.header("Access-Control-Allow-Origin")), (201, SHOP));
    for name in ["ETag", "Location", "Idempotent-Replayed", "RateLimit", "Retry-After", "X-Request-Id"] {
        assert!(paid.header("Access-Control-Expose-Headers").contains(name), "{name}");
    }
    assert_eq!((paid.header("Vary"), paid.header("Access-Control-Allow-Credentials")), ("Origin", ""));
    // Errors can be read as well, those of unknown paths included.
    for (path, status) in [("/payments", 401), ("/nothing", 404)] {
        let request = caller.with_token("none").request(Method::GET, path).header("Origin", SHOP);
        let refused = FullResponse::of(request).await;
        assert_eq!((refused.status, refused.header("Access-Control-Allow-Origin")), (status, SHOP));
    }

    for origin in OTHERS {
        let asked = FullResponse::of(preflight(&node, "/api/v1/payments", origin)).await;
        assert_eq!(
            (asked.status, asked.header("Allow"), asked.header("Vary")),
            (405, "GET, HEAD, POST", "Origin")
        );
        has_no_cors(origin, &asked);
        let again = FullResponse::of(pay(origin)).await;
        assert_eq!((again.status, again.header("Vary")), (200, "Origin"), "{origin}");
        has_no_cors(origin, &again);
    }
    for (path, status) in [("/admin", 405), ("/admin/a/page.js", 405), ("/metrics", 405), ("/nothing", 404)] {
        let asked = FullResponse::of(preflight(&node, path, SHOP)).await;
        assert_eq!(asked.status, status, "{path}");
        has_no_cors(path, &asked);
    }
    for path in ["/session", "/session/refresh", "/admin/", "/admin/a/page.js", "/"] {
        let asked = FullResponse::of(preflight(&node, path, SHOP)).await;
        has_no_cors(path, &asked);
        let read = Client::new().get(format!("{}{path}", node.url)).header("Origin", SHOP);
        has_no_cors(path, &FullResponse::of(read).await);
    }
    let unknown = FullResponse::of(preflight(&node, "/api/v1/nothing", SHOP)).await;
    assert_eq!(unknown.status, 404);
    // An `OPTIONS` that is no preflight.
    let plain = caller.request(Method::OPTIONS, "/payments").header("Origin", SHOP);
    assert_eq!(FullResponse::of(plain).await.status, 405);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_named_origins_no_other_page_may_use_the_api() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let asked = FullResponse::of(preflight(&node, "/api/v1/payments", SHOP)).await;
    assert_eq!((asked.status, asked.header("Vary")), (405, ""));
    has_no_cors("a preflight", &asked);
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let read = FullResponse::of(caller.request(Method::GET, "/payments").header("Origin", SHOP)).await;
    assert_eq!((read.status, read.header("Vary")), (200, ""));
    has_no_cors("a request", &read);
    node.stop().await;
}
