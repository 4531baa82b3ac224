//! Access tokens over HTTP: issued, refused and verified.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tollgate::app::keys::SigningKeys;
use tollgate::auth::root_secret::RootSecret;
use tollgate::auth::scope::ScopeSet;
use tollgate::auth::token::{AccessTokens, Subject, TokenIssuer, TokenSettings};
use tollgate::domain::tenant::{ClientId, Scope, TenantId};
use tollgate::domain::time::FixedClock;
use tollgate::storage::clients;
use tollgate::world::with_clock;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::decisions::now_ms;
use crate::support::service::{Caller, FullResponse, Node, ROOT_SECRET};

const GRANT: &str = "grant_type=client_credentials";
pub const ISSUER: &str = "http://127.0.0.1:8000";

fn token_request(url: &str, body: &str) -> RequestBuilder {
    let request = Client::new().post(format!("{url}/oauth/token"));
    request.header("Content-Type", "application/x-www-form-urlencoded").body(body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_issued_for_basic_and_form_credentials_with_the_requested_scopes() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (id, secret) = (&caller.client_id, &caller.client_secret);
    let everything = ScopeSet::from_iter(Scope::ALL).to_string();

    let basic = FullResponse::of(token_request(&node.url, GRANT).basic_auth(id, Some(secret))).await;
    let form = format!("{GRANT}&client_id={id}&client_secret={secret}");
    let posted = FullResponse::of(token_request(&node.url, &form)).await;
    for response in [&basic, &posted] {
        assert_eq!(response.status, 200, "{}", response.text);
        assert_eq!((response.header("Cache-Control"), response.header("Pragma")), ("no-store", "no-cache"));
        let token = response.json();
        assert_eq!((&token["token_type"], &token["expires_in"]), (&"Bearer".into(), &600.into()));
        assert_eq!(token["scope"], everything.as_str());
    }
    let narrow = format!("{GRANT}&scope=payments:read%20lists:read");
    let narrow =
        FullResponse::of(token_request(&node.url, &narrow).basic_auth(id, Some(secret))).await.json();
    let granted: Vec<&str> = narrow["scope"].as_str().unwrap().split(' ').collect();
    assert_eq!(granted.len(), 2, "{narrow}");
    let reading = narrow["access_token"].as_str().unwrap();
    let get = |path: &str| Client::new().get(format!("{}/api/v1{path}", node.url)).bearer_auth(reading);
    assert_eq!(FullResponse::of(get("/lists")).await.status, 200);
    let refused = FullResponse::of(get("/plugins")).await;
    assert_eq!(
        (refused.status, refused.json()["type"].as_str()),
        (403, Some("/problems/insufficient-scope"))
    );
    let challenge = refused.header("WWW-Authenticate");
    assert!(challenge.contains(r#"error="insufficient_scope", scope="plugins:read""#), "{challenge}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_follow_oauth_and_do_not_reveal_which_clients_exist() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let scopes: ScopeSet = [Scope::PaymentsRead].into_iter().collect();
    Caller::of_new_tenant(&node, "acme").await;
    let caller = Caller::of_tenant(&node, "acme", scopes).await;
    let (id, secret) = (caller.client_id.as_str(), caller.client_secret.as_str());
    let nobody = Uuid::now_v7().to_string();
    let basic = |body: &str| token_request(&node.url, body).basic_auth(id, Some(secret));
    let form = |id: &str, secret: &str| {
        token_request(&node.url, &format!("{GRANT}&client_id={id}&client_secret={secret}"))
    };
    let json = Client::new()
        .post(format!("{}/oauth/token", node.url))
        .basic_auth(id, Some(secret))
        .json(&Value::Null);
    let long = format!("{GRANT}&padding={}", "x".repeat(9_000));
    for (what, request, status, error) in [
        (
            "a wrong secret",
            token_request(&node.url, GRANT).basic_auth(id, Some("wrong")),
            401,
            "invalid_client",
        ),
        ("a wrong secret in the form", form(id, "wrong"), 401, "invalid_client"),
        ("an unknown client", form(&nobody, secret), 401, "invalid_client"),
        ("no client", token_request(&node.url, GRANT), 401, "invalid_client"),
        (
            "a bearer token",
            token_request(&node.url, GRANT).bearer_auth(caller.token()),
            401,
            "invalid_client",
        ),
        ("another grant", basic("grant_type=password&username=a&password=b"), 400, "unsupported_grant_type"),
        ("no grant", basic("scope=payments:read"), 400, "invalid_request"),
        ("a grant twice", basic(&format!("{GRANT}&{GRANT}")), 400, "invalid_request"),
        (
            "a scope twice",
            basic(&format!("{GRANT}&scope=payments:read&scope=payments:read")),
            400,
            "invalid_request",
        ),
        ("both ways", form(id, secret).basic_auth(id, Some(secret)), 400, "invalid_request"),
        ("a scope it has not", basic(&format!("{GRANT}&scope=payments:write")), 400, "invalid_scope"),
        ("a scope nobody has", basic(&format!("{GRANT}&scope=everything")), 400, "invalid_scope"),
        (
            "one it has and one it has not",
            basic(&format!("{GRANT}&scope=payments:read%20lists:read")),
            400,
            "invalid_scope",
        ),
        ("JSON", json, 400, "invalid_request"),
        ("a long form", basic(&long), 400, "invalid_request"),
        ("no UTF-8", basic("").body(vec![0xff, 0xfe]), 400, "invalid_request"),
    ] {
        let response = FullResponse::of(request).await;
        assert_eq!(response.status, status, "{what}: {}", response.text);
        let shape = response.json();
        assert_eq!(shape["error"], error, "{what}: {shape}");
        assert!(shape["error_description"].is_string(), "{what}: {shape}");
        assert_eq!(response.header("Content-Type"), "application/json", "{what}");
        assert_eq!(response.header("Cache-Control"), "no-store", "{what}");
        assert_eq!(response.header("WWW-Authenticate").starts_with("Basic "), status == 401, "{what}");
        assert!(!response.text.contains(secret) && !response.text.contains(id), "{what}: {shape}");
    }
    let shown = async |request: RequestBuilder| {
        let mut response = FullResponse::of(request).await;
        response.headers.remove("x-request-id");
        response.headers.remove("date");
        format!("{response:?}")
    };
    assert_eq!(shown(form(id, "wrong")).await, shown(form(&nobody, "wrong")).await);
    node.stop().await;
}

/// The issuer with the keys of a database, at a given time.
pub async fn issuer(database: &TestDatabase, issuer: &str, audience: &str, at_ms: u64) -> AccessTokens {
    let world = with_clock(Arc::new(FixedClock::at(at_ms)));
    let root = RootSecret::from_text(ROOT_SECRET).unwrap();
    let keys = SigningKeys::new(&database.databases(), &root).unwrap().open_or_create(&world).await.unwrap();
    let settings = TokenSettings::new(TokenIssuer::configured(issuer), audience.to_owned(), 600).unwrap();
    AccessTokens::new(settings, keys, world)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tokens_that_the_published_key_verifies_are_accepted() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let token = caller.token();

    let metadata =
        FullResponse::of(Client::new().get(format!("{}/.well-known/oauth-authorization-server", node.url)))
            .await
            .json();
    assert_eq!(metadata["issuer"], ISSUER);
    // RFC 8414 requires this member, although there is no such endpoint.
    assert_eq!(metadata["response_types_supported"], json!([]));
    let jwks =
        FullResponse::of(Client::new().get(format!("{}/.well-known/jwks.json", node.url))).await.json();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let key = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["kid"] == header.kid.clone().unwrap())
        .expect("its key");
    assert!(key.get("d").is_none(), "a private key is published");
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["tollgate"]);
    validation.set_issuer(&[ISSUER]);
    let public = DecodingKey::from_ed_components(key["x"].as_str().unwrap()).unwrap();
    let claims = jsonwebtoken::decode::<Value>(token, &public, &validation).unwrap().claims;
    assert_eq!(claims["client_id"], caller.client_id.as_str());

    let id = ClientId(caller.client_id.parse().unwrap());
    let tenant: TenantId = clients::find_credentials(&node.databases.app, id).await.unwrap().unwrap().tenant;
    let everything = || ScopeSet::from_iter(Scope::ALL);
    let now_ms = now_ms();
    let elsewhere = TestDatabase::create().await;
    let issued = async |database: &TestDatabase, by: &str, audience: &str, at_ms: u64| {
        issuer(database, by, audience, at_ms)
            .await
            .issue(tenant, Subject::Client { id, generation: 0 }, everything(), None, None)
            .unwrap()
            .text
    };
    let fresh = issued(&database, ISSUER, "tollgate", now_ms).await;
    let expired = issued(&database, ISSUER, "tollgate", now_ms - 700_000).await;
    let early = issued(&database, ISSUER, "tollgate", now_ms + 600_000).await;
    let other_audience = issued(&database, ISSUER, "elsewhere", now_ms).await;
    let other_issuer = issued(&database, "http://elsewhere", "tollgate", now_ms).await;
    let other_key = issued(&elsewhere, ISSUER, "tollgate", now_ms).await;
    let parts: Vec<&str> = token.split('.').collect();
    let other_parts: Vec<&str> = other_audience.split('.').collect();
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{}.", parts[1]);
    let swapped = format!("{}.{}.{}", parts[0], other_parts[1], parts[2]);
    // Changes the first character of the signature: some bits of the last one have no meaning.
    let first = if parts[2].starts_with('A') { 'B' } else { 'A' };
    let tampered = format!("{}.{}.{first}{}", parts[0], parts[1], &parts[2][1..]);
    let bearer = |token: &str| format!("Bearer {token}");
    let invalid = r#"Bearer realm="tollgate", error="invalid_token""#;
    for (what, authorization, status, challenge) in [
        ("a good one", bearer(token), 200, ""),
        ("another good one", bearer(&fresh), 200, ""),
        ("in another case", format!("bearer {token}"), 200, ""),
        ("none", String::new(), 401, r#"Bearer realm="tollgate""#),
        ("expired", bearer(&expired), 401, invalid),
        ("not valid yet", bearer(&early), 401, invalid),
        ("for another audience", bearer(&other_audience), 401, invalid),
        ("of another issuer", bearer(&other_issuer), 401, invalid),
        ("signed by another key", bearer(&other_key), 401, invalid),
        ("without a signature", bearer(&unsigned), 401, invalid),
        ("with other claims", bearer(&swapped), 401, invalid),
        ("with another signature", bearer(&tampered), 401, invalid),
        ("no token", bearer("nonsense"), 401, invalid),
        ("too long", bearer(&"x".repeat(5_000)), 401, invalid),
        ("another scheme", format!("Basic {token}"), 401, invalid),
    ] {
        let mut request = Client::new().get(format!("{}/api/v1/lists", node.url));
        if !authorization.is_empty() {
            request = request.header("Authorization", authorization);
        }
        let response = FullResponse::of(request).await;
        assert_eq!(
            (response.status, response.header("WWW-Authenticate")),
            (status, challenge),
            "{what}: {}",
            response.text
        );
        if status == 401 {
            assert_eq!(response.header("Content-Type"), "application/problem+json", "{what}");
            assert_eq!(response.json()["type"], "/problems/unauthenticated", "{what}");
        }
    }
    let twice = Client::new()
        .get(format!("{}/api/v1/lists", node.url))
        .bearer_auth(token)
        .header("Authorization", bearer(token));
    assert_eq!(
        FullResponse::of(twice).await.status,
        400,
        "refused as a request, before any token is looked at"
    );
    node.stop().await;
}
