//! Providers that publish what they must not, or nothing.

use serde_json::{Value, json};

use super::{REFUSED, node_with};
use crate::support::database::TestDatabase;
use crate::support::hostile_provider::{Answer, HostileProvider, discovery};
use crate::support::openid::{Browser, set, settings};
use crate::support::service::{Caller, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_publishes_what_is_wrong_is_told_to_the_administrator_and_nobody_gets_in() {
    let elsewhere = HostileProvider::start().await;
    let with = |member: &str, value: &str| {
        let (member, value) = (member.to_owned(), value.to_owned());
        move |issuer: &str| {
            let mut document = discovery(issuer);
            document[&member] = json!(value);
            Answer::Json(200, document)
        }
    };
    let at = |path: &str| format!("{}{path}", elsewhere.issuer);
    type Answering = Box<dyn Fn(&str) -> Answer>;
    let cases: Vec<(&str, Answering)> = vec![
        ("not allowed", Box::new(with("jwks_uri", &at("/keys")))),
        ("not allowed", Box::new(with("token_endpoint", &at("/token")))),
        ("not allowed", Box::new(with("authorization_endpoint", &at("/auth")))),
        ("not allowed", Box::new(with("userinfo_endpoint", &at("/me")))),
        ("not allowed", Box::new(with("token_endpoint", "http://169.254.169.254/token"))),
        ("issuer", Box::new(with("issuer", &elsewhere.issuer))),
        (
            "302",
            Box::new({
                let to = at("/.well-known/openid-configuration");
                move |_| Answer::Redirect(to.clone())
            }),
        ),
        ("longer", Box::new(|_| Answer::Long(300_000))),
        ("cannot be used", Box::new(|_| Answer::Json(200, json!({})))),
        ("500", Box::new(|_| Answer::Json(500, json!({})))),
        ("did not answer", Box::new(|_| Answer::Nothing)),
    ];
    let mut providers = Vec::new();
    for (why, answering) in &cases {
        let provider = HostileProvider::start().await;
        provider.set_discovery(answering(&provider.issuer));
        providers.push((*why, provider));
    }
    let down = "http://127.0.0.1:9";
    let issuers: Vec<&str> = providers.iter().map(|(_, it)| it.issuer.as_str()).chain([down]).collect();
    let database = TestDatabase::create().await;
    let node = node_with(&database, &issuers).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    let all = providers.iter().map(|(why, it)| (*why, it.issuer.as_str())).chain([("did not answer", down)]);
    for (why, issuer) in all {
        set(&admin, &settings(issuer)).await;
        let (status, found) = admin.post("/settings/openid/test", &json!({ "issuer": issuer })).await;
        assert_eq!((status.as_u16(), &found["works"]), (200, &json!(false)), "{why}: {found}");
        assert!(found["why"].as_str().unwrap().contains(why), "{why}: {found}");
        assert_eq!(
            Browser::new(&node).start("acme").await,
            format!("{REFUSED}provider&tenant=acme"),
            "{why}"
        );
    }
    assert_eq!(elsewhere.asked(), Vec::<String>::new(), "nothing connects to what is not allowed");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_issuers_that_the_operator_allows_can_be_set_and_used() {
    let provider = HostileProvider::start().await;
    let other = HostileProvider::start().await;
    let database = TestDatabase::create().await;
    let node = node_with(&database, &[&provider.issuer]).await;
    let admin = Caller::of_new_tenant(&node, "acme").await;
    for (issuer, detail) in [
        (other.issuer.as_str(), "not allowed"),
        ("http://login.example.com", "no issuer"),
        ("https://user@login.example.com", "no issuer"),
        ("file:///etc/passwd", "no issuer"),
    ] {
        let change = admin.request(reqwest::Method::PUT, "/settings/openid").json(&settings(issuer));
        for request in [
            change,
            admin.request(reqwest::Method::POST, "/settings/openid/test").json(&json!({ "issuer": issuer })),
        ] {
            let (status, problem) = send(request).await;
            assert_eq!(status, 422, "{problem}");
            assert_eq!(problem["errors"][0]["pointer"], "/issuer");
            let told: &Value = &problem["errors"][0]["detail"];
            assert!(told.as_str().unwrap().contains(detail), "{issuer}: {told}");
        }
    }
    let (_, found) = admin.post("/settings/openid/test", &json!({ "issuer": provider.issuer })).await;
    assert_eq!((&found["works"], &found["keys"]), (&json!(true), &json!(1)), "{found}");
    set(&admin, &settings(&provider.issuer)).await;
    assert!(Browser::new(&node).start("acme").await.starts_with(&provider.issuer));
    node.stop().await;

    let strict = node_with(&database, &[]).await;
    assert_eq!(Browser::new(&strict).start("acme").await, format!("{REFUSED}not-set-up&tenant=acme"));
    assert_eq!(other.asked(), Vec::<String>::new());
    strict.stop().await;
}
