//! Tests of the guards.

use std::sync::Arc;

use rocket::http::Header;
use rocket::local::blocking::{Client as Caller, LocalResponse};
use rocket::{get, routes};
use uuid::Uuid;

use super::*;
use crate::auth::root_secret::{Purpose, RootSecret};
use crate::auth::sealed::Sealer;
use crate::auth::signing_key::{KeyRing, StoredSigningKey};
use crate::auth::token::{AccessTokens, TokenIssuer, TokenSettings};
use crate::domain::time::FixedClock;
use crate::http::response::problem::default_catcher;
use crate::world::{OsRandomness, system, with_clock};

const NOW_MS: u64 = 1_800_000_000_000;

#[get("/read")]
fn read(client: Client<PaymentsRead>) -> String {
    client.tenant.to_string()
}

#[get("/key")]
fn key(key: IdempotencyKeyHeader) -> String {
    key.0.as_str().to_owned()
}

#[get("/match")]
fn matching(conditions: Conditions) -> String {
    format!("{:?} {:?}", conditions.0.one_of, conditions.0.none_of)
}

fn tokens(clock: &Arc<FixedClock>) -> Arc<AccessTokens> {
    let root = RootSecret::from_text(&format!("{}aa", "0f".repeat(31))).expect("a root secret");
    let sealer = Sealer::new(&root.derive(Purpose::SigningKeys).expect("derives")).expect("a sealer");
    let key = StoredSigningKey::generate(&sealer, &OsRandomness, NOW_MS).expect("a key");
    let ring = KeyRing::open(&[key], &sealer, NOW_MS).expect("a ring");
    let settings =
        TokenSettings::new(TokenIssuer::configured("issuer"), "audience".into(), 600).expect("settings");
    Arc::new(AccessTokens::new(settings, ring, with_clock(clock.clone())))
}

fn caller(tokens: Arc<AccessTokens>) -> Caller {
    let config = rocket::Config { log_level: rocket::config::LogLevel::Off, ..Default::default() };
    let rocket = rocket::custom(config)
        .manage(Tokens(tokens))
        .manage(system())
        .mount("/", routes![read, key, matching])
        .register("/", rocket::catchers![default_catcher]);
    Caller::untracked(rocket).expect("a rocket")
}

fn get<'c>(caller: &'c Caller, path: &'static str, headers: &[(&'static str, String)]) -> LocalResponse<'c> {
    let mut request = caller.get(path);
    for (name, value) in headers {
        request.add_header(Header::new(*name, value.clone()));
    }
    request.dispatch()
}

fn assert_challenge(response: LocalResponse<'_>, status: u16, parts: &[&str]) {
    assert_eq!(response.status().code, status);
    let challenge = response.headers().get_one("WWW-Authenticate").expect("a challenge").to_owned();
    assert!(parts.iter().all(|part| challenge.contains(part)), "{challenge}");
    let type_ = response.content_type().expect("a type").to_string();
    assert_eq!(type_, "application/problem+json");
}

#[test]
fn a_token_opens_what_its_scopes_allow_until_it_expires() {
    let clock = Arc::new(FixedClock::at(NOW_MS));
    let tokens = tokens(&clock);
    let tenant = TenantId(Uuid::from_u128(7));
    let token_of = |scopes: &[Scope]| {
        let scopes = scopes.iter().copied().collect();
        tokens
            .issue(
                tenant,
                Subject::Client { id: ClientId(Uuid::from_u128(8)), generation: 0 },
                scopes,
                None,
                None,
            )
            .expect("a token")
            .text
    };
    let (reader, writer) = (token_of(&[Scope::PaymentsRead]), token_of(&[Scope::PaymentsWrite]));
    let caller = caller(tokens);
    let bearer = |token: &str| [("Authorization", format!("bearer {token}"))];

    let response = get(&caller, "/read", &bearer(&reader));
    assert_eq!(response.into_string(), Some(tenant.to_string()));

    assert_challenge(get(&caller, "/read", &[]), 401, &["Bearer realm=\"tollgate\""]);
    let invalid = ["Bearer ", "error=\"invalid_token\""];
    assert_challenge(get(&caller, "/read", &bearer("nonsense")), 401, &invalid);
    assert_challenge(get(&caller, "/read", &[("Authorization", format!("Basic {reader}"))]), 401, &invalid);
    let twice = [bearer(&reader), bearer(&reader)].concat();
    assert_challenge(get(&caller, "/read", &twice), 401, &invalid);
    let insufficient = ["error=\"insufficient_scope\"", "scope=\"payments:read\""];
    assert_challenge(get(&caller, "/read", &bearer(&writer)), 403, &insufficient);

    clock.advance(700_000);
    assert_challenge(get(&caller, "/read", &bearer(&reader)), 401, &invalid);
}

#[test]
fn an_idempotency_key_is_there_once_and_visible() {
    let caller = caller(tokens(&Arc::new(FixedClock::at(NOW_MS))));
    let header = |value: &str| ("Idempotency-Key", value.to_owned());
    assert_eq!(get(&caller, "/key", &[header("order-1")]).into_string(), Some("order-1".to_owned()));
    for headers in
        [vec![], vec![header("a"), header("b")], vec![header("a b")], vec![header(&"k".repeat(256))]]
    {
        let response = get(&caller, "/key", &headers);
        assert_eq!(response.status().code, 400, "{headers:?}");
        assert!(response.into_string().expect("a body").contains("/problems/invalid-idempotency-key"));
    }
}

#[test]
fn conditions_are_the_tags_of_the_active_deployment() {
    let caller = caller(tokens(&Arc::new(FixedClock::at(NOW_MS))));
    for (if_match, if_none_match, expected) in [
        (Some("\"7\""), None, Some("Some([Activation(7)]) []")),
        (Some("\"none\""), None, Some("Some([BeforeFirstActivation]) []")),
        (Some("\"7\", \"none\""), None, Some("Some([Activation(7), BeforeFirstActivation]) []")),
        (None, None, Some("None []")),
        (Some("*"), None, Some("None []")),
        // Tags of other resources and weak tags are valid, but never match.
        (Some("\"another\""), None, Some("Some([]) []")),
        (Some("W/\"7\""), None, Some("Some([]) []")),
        // The same number in another notation is another tag.
        (Some("\"+7\""), None, Some("Some([]) []")),
        (Some("\"007\""), None, Some("Some([]) []")),
        (Some("\"-0\""), None, Some("Some([]) []")),
        (
            None,
            Some("\"7\", W/\"8\", \"007\", \"none\""),
            Some("None [Activation(7), Activation(8), BeforeFirstActivation]"),
        ),
        // The active deployment always has a tag.
        (None, Some("*"), Some("Some([]) []")),
        (Some("\"7\""), Some("\"8\""), Some("Some([Activation(7)]) [Activation(8)]")),
        (Some("7"), None, None),
        (Some(""), None, None),
        (None, Some("7"), None),
    ] {
        let headers = [("If-Match", if_match), ("If-None-Match", if_none_match)];
        let headers: Vec<_> =
            headers.into_iter().filter_map(|(name, tag)| Some((name, tag?.to_owned()))).collect();
        let response = get(&caller, "/match", &headers);
        match expected {
            Some(expected) => assert_eq!(response.into_string().as_deref(), Some(expected), "{headers:?}"),
            None => assert_eq!(response.status().code, 400, "{headers:?}"),
        }
    }
}
