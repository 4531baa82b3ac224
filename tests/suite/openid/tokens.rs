//! ID tokens of a provider that lies: none but the right one lets anybody in.

use aws_lc_rs::signature::Ed25519KeyPair;
use serde_json::{Value, json};

use super::{REFUSED, node_with};
use crate::support::database::TestDatabase;
use crate::support::hostile_provider::{HostileProvider, signed, signed_by_secret, unsigned};
use crate::support::openid::{Browser, CLIENT_SECRET, REDIRECT, parameter, set, settings};
use crate::support::service::{Caller, Node};

/// The time in seconds, with a difference.
fn seconds(from_now: i64) -> i64 {
    i64::try_from(tollgate::world::system().now_ms() / 1_000).unwrap() + from_now
}

fn right_claims(issuer: &str, nonce: &str) -> Value {
    json!({
        "iss": issuer, "aud": "tollgate", "sub": "ann", "nonce": nonce,
        "iat": seconds(0), "exp": seconds(300),
        "email": "ann@example.com", "email_verified": true, "groups": "auditors",
    })
}

/// Signs in with a token that is made from the right claims.
async fn arrive(
    node: &Node,
    provider: &HostileProvider,
    make: impl FnOnce(&HostileProvider, Value) -> String,
) -> String {
    let mut browser = Browser::new(node);
    let address = browser.start("acme").await;
    let claims = right_claims(&provider.issuer, &parameter(&address, "nonce"));
    provider.set_token(&make(provider, claims));
    browser.come_back(&format!("{REDIRECT}?code=any&state={}", parameter(&address, "state"))).await
}

type Make = fn(&HostileProvider, Value) -> String;

fn changed(provider: &HostileProvider, mut claims: Value, change: &Value) -> String {
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    provider.sign("first", &claims)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_that_is_right_in_everything_lets_a_person_in() {
    let provider = HostileProvider::start().await;
    let database = TestDatabase::create().await;
    let node = node_with(&database, &[&provider.issuer]).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    set(&admin, &settings(&provider.issuer)).await;
    let wrong: [(&str, Make); 13] = [
        ("another key", |_, claims| signed(&Ed25519KeyPair::generate().unwrap(), "first", &claims)),
        ("no signature", |_, claims| unsigned(&claims)),
        ("signed with the client's secret", |_, claims| signed_by_secret(CLIENT_SECRET, &claims)),
        ("another key id", |provider, claims| provider.sign("unknown", &claims)),
        ("changed after signing", |provider, claims| {
            let token = provider.sign("first", &claims);
            let (head, rest) = token.split_once('.').unwrap();
            let other = unsigned(&json!({"iss": "x"}));
            format!("{head}.{}.{}", other.split('.').nth(1).unwrap(), rest.split('.').nth(1).unwrap())
        }),
        ("another nonce", |provider, claims| changed(provider, claims, &json!({"nonce": "other"}))),
        ("no nonce", |provider, claims| changed(provider, claims, &json!({"nonce": null}))),
        ("another audience", |provider, claims| changed(provider, claims, &json!({"aud": "other"}))),
        ("one audience too many", |provider, claims| {
            changed(provider, claims, &json!({"aud": ["tollgate", "other"]}))
        }),
        ("another issuer", |provider, claims| {
            changed(provider, claims, &json!({"iss": "https://evil.example"}))
        }),
        ("expired", |provider, claims| changed(provider, claims, &json!({"exp": seconds(-120)}))),
        ("from the future", |provider, claims| changed(provider, claims, &json!({"iat": seconds(600)}))),
        ("no token", |_, _| "none".to_owned()),
    ];
    for (why, make) in wrong {
        let place = arrive(&node, &provider, make).await;
        let refused = [format!("{REFUSED}answer"), format!("{REFUSED}provider")].contains(&place);
        assert!(refused, "{why}: {place}");
    }
    let (_, users) = admin.get("/users").await;
    assert_eq!(users["items"], json!([]));
    let clocks_differ = |provider: &HostileProvider, claims| {
        changed(provider, claims, &json!({"exp": seconds(-20), "iat": seconds(20)}))
    };
    assert_eq!(arrive(&node, &provider, clocks_differ).await, "/admin/#/decisions");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_of_the_provider_is_fetched_when_a_token_names_it() {
    let provider = HostileProvider::start().await;
    let database = TestDatabase::create().await;
    let node = node_with(&database, &[&provider.issuer]).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    set(&admin, &settings(&provider.issuer)).await;
    let fetched = |provider: &HostileProvider| {
        provider.asked().iter().filter(|path| path.starts_with("/.well-known/")).count()
    };
    for _ in 0..3 {
        let place = arrive(&node, &provider, |provider, claims| provider.sign("first", &claims)).await;
        assert_eq!(place, "/admin/#/decisions");
    }
    assert_eq!(fetched(&provider), 1, "it is kept");
    provider.rename_key("second");
    // It is fetched again only some seconds after the last time.
    let begun = std::time::Instant::now();
    loop {
        let place = arrive(&node, &provider, |provider, claims| provider.sign("second", &claims)).await;
        if place == "/admin/#/decisions" {
            break;
        }
        assert!(begun.elapsed() < crate::support::program::TEST_TIMEOUT, "{place}");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert_eq!(fetched(&provider), 2);
    node.stop().await;
}
