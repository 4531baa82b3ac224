//! Tests of access tokens: forgery, confusion of types and keys, time, and rotation.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::*;
use crate::auth::fixtures::{CountingRandomness, NOW_MS, sealer, stored_key};
use crate::auth::signing_key::StoredSigningKey;
use crate::domain::time::FixedClock;

const ISSUER: &str = "https://tollgate.example";
const AUDIENCE: &str = "tollgate";
const NOW_S: u64 = NOW_MS / 1000;

struct TokenFixture {
    tokens: AccessTokens,
    clock: Arc<FixedClock>,
    key: StoredSigningKey,
}

fn ring(stored: &[StoredSigningKey]) -> KeyRing {
    KeyRing::open(stored, &sealer(1), NOW_MS).expect("opens")
}

fn fixture() -> TokenFixture {
    let clock = Arc::new(FixedClock::at(NOW_MS));
    let key = stored_key(1);
    let settings =
        TokenSettings::new(TokenIssuer::configured(ISSUER), AUDIENCE.to_owned(), 300).expect("settings");
    let keys = ring(std::slice::from_ref(&key));
    let world = World::new(clock.clone(), Arc::new(CountingRandomness::default()));
    let tokens = AccessTokens::new(settings, keys, world);
    TokenFixture { tokens, clock, key }
}

impl TokenFixture {
    fn issue(&self) -> IssuedToken {
        let scopes = ScopeSet::parse("payments:write payments:read").expect("scopes");
        self.tokens.issue(tenant(), subject(), scopes, None, None).expect("issued")
    }

    /// Signs any claims with a valid key.
    fn sign(&self, header: &Value, claims: &Value) -> String {
        sign_with(&self.key, header, claims)
    }

    fn header(&self) -> Value {
        json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": self.key.kid })
    }

    fn verify_claims(&self, change: impl FnOnce(&mut Value)) -> Result<VerifiedToken, TokenError> {
        let mut claims = claims();
        change(&mut claims);
        self.tokens.verify(&self.sign(&self.header(), &claims), None)
    }

    fn verify_header(&self, change: impl FnOnce(&mut Value)) -> Result<VerifiedToken, TokenError> {
        let mut header = self.header();
        change(&mut header);
        self.tokens.verify(&self.sign(&header, &claims()), None)
    }
}

fn tenant() -> TenantId {
    TenantId(Uuid::from_u128(1))
}

fn subject() -> Subject {
    Subject::Client { id: client(), generation: 0 }
}

fn client() -> ClientId {
    ClientId(Uuid::from_u128(2))
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": client(), "client_id": client(), "tenant": tenant(),
        "scope": "payments:write", "iat": NOW_S, "nbf": NOW_S, "exp": NOW_S + 300, "jti": Uuid::from_u128(3),
    })
}

fn message(header: &Value, claims: &Value) -> String {
    [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".")
}

fn sign_with(stored: &StoredSigningKey, header: &Value, claims: &Value) -> String {
    sign_text(stored, &header.to_string(), &claims.to_string())
}

/// For JSON that a `Value` cannot represent.
fn sign_text(stored: &StoredSigningKey, header: &str, claims: &str) -> String {
    let ring = ring(std::slice::from_ref(stored));
    let key = &ring.signing(NOW_MS).expect("a key").encoding;
    let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, Algorithm::EdDSA).expect("signed");
    format!("{message}.{signature}")
}

#[test]
fn an_issued_token_is_believed_for_its_tenant_client_and_scopes() {
    let fixture = fixture();
    let issued = fixture.issue();
    let expected = VerifiedToken {
        tenant: tenant(),
        subject: subject(),
        scopes: issued.scopes,
        expires_at_ms: NOW_MS + 300_000,
        requests_per_s: None,
        certificate: None,
        id: issued.id,
    };
    assert_eq!(fixture.tokens.verify(&issued.text, None), Ok(expected), "the first time");
    assert_eq!(fixture.tokens.verify(&issued.text, None), Ok(expected), "from memory");
    assert_eq!((issued.lifetime_s, issued.expires_at_ms), (300, expected.expires_at_ms));
}

#[test]
fn a_token_carries_its_client_s_own_rate_and_one_without_it_has_none() {
    let fixture = fixture();
    for rate in [None, Some(0), Some(7)] {
        let issued = fixture.tokens.issue(tenant(), subject(), ScopeSet::EMPTY, rate, None).expect("issued");
        let verified = fixture.tokens.verify(&issued.text, None).expect("believed");
        assert_eq!(verified.requests_per_s, rate);
    }
    let refused = fixture.verify_claims(|claims| claims["requests_per_s"] = json!(-1));
    assert_eq!(refused, Err(TokenError::Claims));
}

#[test]
fn a_token_has_the_header_and_claims_of_rfc_9068() {
    let fixture = fixture();
    let issued = fixture.issue();
    let parts: Vec<Value> = issued
        .text
        .split('.')
        .take(2)
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON"))
        .collect();
    assert_eq!(parts[0], fixture.header());
    let mut expected = claims();
    expected["scope"] = json!("payments:write payments:read");
    expected["jti"] = json!(issued.id);
    assert_eq!(parts[1], expected);
}

#[test]
fn a_lifetime_outside_of_five_to_ten_minutes_is_refused() {
    for (lifetime_s, accepted) in [(0, false), (299, false), (300, true), (600, true), (601, false)] {
        let settings = TokenSettings::new(TokenIssuer::default(), String::new(), lifetime_s);
        assert_eq!(settings.is_ok(), accepted, "{lifetime_s}");
    }
}

#[test]
fn only_believed_tokens_are_remembered() {
    let fixture = fixture();
    let text = fixture.issue().text;
    assert!(fixture.tokens.verify(&format!("{text}A"), None).is_err());
    assert_eq!(fixture.tokens.epoch().verified.len(), 0);
    fixture.tokens.verify(&text, None).expect("believed");
    fixture.tokens.verify(&text, None).expect("believed");
    assert_eq!(fixture.tokens.epoch().verified.len(), 1);
    fixture.tokens.replace_keys(ring(std::slice::from_ref(&fixture.key)));
    assert_eq!(fixture.tokens.epoch().verified.len(), 0, "a new ring starts without memories");
}

#[test]
fn a_token_changed_anywhere_is_refused() {
    let fixture = fixture();
    let text = fixture.issue().text;
    fixture.tokens.verify(&text, None).expect("believed, and remembered");
    for position in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        assert!(fixture.tokens.verify(&changed, None).is_err(), "byte {position}");
    }
}

#[test]
fn what_is_no_jwt_is_malformed() {
    let fixture = fixture();
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    for text in ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", "é.é.é", &long] {
        assert_eq!(fixture.tokens.verify(text, None), Err(TokenError::Malformed), "{text:.20}");
    }
}

#[test]
fn a_signature_of_another_key_is_refused_under_either_kid() {
    let fixture = fixture();
    let other = stored_key(2);
    let borrowed = sign_with(&other, &fixture.header(), &claims());
    assert_eq!(fixture.tokens.verify(&borrowed, None), Err(TokenError::Signature));
    let own = sign_with(&other, &json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": other.kid }), &claims());
    assert_eq!(fixture.tokens.verify(&own, None), Err(TokenError::UnknownKey));
    let nameless = fixture.verify_header(|header| header["kid"] = Value::Null);
    assert_eq!(nameless, Err(TokenError::UnknownKey));
}

#[test]
fn a_key_brought_along_in_the_header_is_not_used() {
    let fixture = fixture();
    let other = stored_key(2);
    let x = URL_SAFE_NO_PAD.encode(&other.public_key);
    let mut header = fixture.header();
    header["jwk"] = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
    assert_eq!(
        fixture.tokens.verify(&sign_with(&other, &header, &claims()), None),
        Err(TokenError::Signature)
    );
}

#[test]
fn an_unsigned_token_is_refused() {
    let fixture = fixture();
    for algorithm in ["none", "None", "NONE", ""] {
        let mut header = fixture.header();
        header["alg"] = json!(algorithm);
        let token = format!("{}.", message(&header, &claims()));
        assert!(fixture.tokens.verify(&token, None).is_err(), "{algorithm}");
    }
    let token = format!("{}.", message(&fixture.header(), &claims()));
    assert_eq!(fixture.tokens.verify(&token, None), Err(TokenError::Signature));
}

#[test]
fn the_public_key_is_no_shared_secret() {
    let fixture = fixture();
    let x = URL_SAFE_NO_PAD.encode(&fixture.key.public_key);
    for secret in [fixture.key.public_key.as_slice(), x.as_bytes()] {
        let mut header = fixture.header();
        header["alg"] = json!("HS256");
        let message = message(&header, &claims());
        let key = EncodingKey::from_secret(secret);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("signed");
        assert_eq!(
            fixture.tokens.verify(&format!("{message}.{signature}"), None),
            Err(TokenError::Algorithm)
        );
    }
}

#[test]
fn a_token_of_another_type_or_with_critical_extensions_is_refused() {
    let fixture = fixture();
    for typ in [json!("JWT"), json!("id+jwt"), Value::Null] {
        assert_eq!(fixture.verify_header(|header| header["typ"] = typ), Err(TokenError::Type));
    }
    assert_eq!(fixture.verify_header(|header| header["crit"] = json!(["b64"])), Err(TokenError::Type));
    assert!(fixture.verify_header(|_| ()).is_ok());
}

#[test]
fn an_issuer_that_is_not_configured_is_where_the_node_listens() {
    for (address, expected) in [
        ("127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("[::]:8000", "http://[::1]:8000"),
        ("[2001:db8::1]:80", "http://[2001:db8::1]:80"),
    ] {
        let (derived, configured) = (TokenIssuer::default(), TokenIssuer::configured(ISSUER));
        for issuer in [&derived, &configured] {
            issuer.listens_at("http", address.parse().expect("an address"));
        }
        assert_eq!((derived.as_str(), configured.as_str()), (expected, ISSUER));
    }
}

#[test]
fn a_token_of_another_issuer_or_for_another_audience_is_refused() {
    let fixture = fixture();
    let refused = |name: &'static str, value: Value| fixture.verify_claims(|claims| claims[name] = value);
    assert_eq!(refused("iss", json!("https://other.example")), Err(TokenError::Issuer));
    assert_eq!(refused("iss", json!("")), Err(TokenError::Issuer));
    assert_eq!(refused("aud", json!("other")), Err(TokenError::Audience));
    assert_eq!(refused("aud", json!([AUDIENCE, "other"])), Err(TokenError::Claims));
}

#[test]
fn every_claim_is_required() {
    let fixture = fixture();
    assert!(fixture.verify_claims(|_| ()).is_ok());
    for name in ["iss", "aud", "sub", "client_id", "tenant", "scope", "iat", "nbf", "exp", "jti"] {
        let without = fixture.verify_claims(|claims| {
            claims.as_object_mut().expect("an object").remove(name);
        });
        assert_eq!(without, Err(TokenError::Claims), "without {name}");
        assert_eq!(
            fixture.verify_claims(|claims| claims[name] = Value::Null),
            Err(TokenError::Claims),
            "{name}"
        );
    }
}

#[test]
fn times_must_be_whole_numbers() {
    let fixture = fixture();
    let good_s = NOW_S + 300;
    for name in ["exp", "nbf", "iat"] {
        for value in [
            json!(good_s.to_string()),
            json!("never"),
            json!(good_s as f64 + 0.5),
            json!(-1),
            json!([good_s]),
        ] {
            let shown = value.to_string();
            let refused = fixture.verify_claims(|claims| claims[name] = value);
            assert_eq!(refused, Err(TokenError::Claims), "{name} {shown}");
        }
    }
}

#[test]
fn a_claim_or_header_said_twice_is_refused() {
    let fixture = fixture();
    let (header, claims) = (fixture.header().to_string(), claims().to_string());
    let twice = |json: &str, member: &str| json.replacen('{', &format!("{{{member},"), 1);
    for (header, claims) in [
        (header.clone(), twice(&claims, &format!(r#""exp":{}"#, NOW_S + 600))),
        (header.clone(), twice(&claims, &format!(r#""tenant":"{}""#, Uuid::from_u128(9)))),
        (twice(&header, r#""alg":"HS256""#), claims.clone()),
        (twice(&header, r#""kid":"other""#), claims),
    ] {
        let refused = fixture.tokens.verify(&sign_text(&fixture.key, &header, &claims), None);
        assert_eq!(refused, Err(TokenError::Claims), "{header} {claims}");
    }
}

#[test]
fn claims_that_no_token_of_ours_has_are_refused_though_signed() {
    let fixture = fixture();
    let long_lived = fixture.verify_claims(|claims| claims["exp"] = json!(NOW_S + 601));
    assert_eq!(long_lived, Err(TokenError::Claims));
    let for_another = fixture.verify_claims(|claims| claims["sub"] = json!(Uuid::from_u128(9)));
    assert_eq!(for_another, Err(TokenError::Claims));
    let end_of_time = fixture.verify_claims(|claims| {
        claims["exp"] = json!(u64::MAX);
        claims["iat"] = json!(u64::MAX - 1);
    });
    assert_eq!(end_of_time, Err(TokenError::Claims));
}

#[test]
fn a_scope_of_a_later_version_is_left_out() {
    let fixture = fixture();
    let verified = fixture.verify_claims(|claims| claims["scope"] = json!("moon:land payments:write"));
    assert_eq!(verified.expect("believed").scopes.to_string(), "payments:write");
}

#[test]
fn a_token_is_believed_to_its_expiry_and_the_leeway_but_no_longer() {
    let fixture = fixture();
    let [remembered, fresh] = [(); 2].map(|()| fixture.issue().text);
    fixture.tokens.verify(&remembered, None).expect("believed, and remembered");
    fixture.clock.set(NOW_MS + 300_000 + LEEWAY_S * 1000 - 1);
    assert!(fixture.tokens.verify(&remembered, None).is_ok());
    fixture.clock.advance(1);
    assert_eq!(
        fixture.tokens.verify(&remembered, None),
        Err(TokenError::Expired),
        "memory does not outlive it"
    );
    assert_eq!(fixture.tokens.verify(&fresh, None), Err(TokenError::Expired));
}

#[test]
fn a_token_of_the_future_is_refused_beyond_the_leeway() {
    let fixture = fixture();
    let text = fixture.issue().text;
    fixture.clock.set(NOW_MS - LEEWAY_S * 1000);
    assert!(fixture.tokens.verify(&text, None).is_ok());
    fixture.clock.set(NOW_MS - LEEWAY_S * 1000 - 1);
    assert_eq!(fixture.tokens.verify(&text, None), Err(TokenError::NotYetValid), "remembered or not");
}

#[test]
fn a_rotation_keeps_tokens_of_keys_that_stay_and_ends_those_that_go() {
    let fixture = fixture();
    let old = fixture.issue().text;
    fixture.tokens.verify(&old, None).expect("believed, and remembered");
    let newer = stored_key(2);

    fixture.tokens.replace_keys(ring(&[fixture.key.clone(), newer.clone()]));
    let new = fixture.issue().text;
    assert!(fixture.tokens.verify(&old, None).is_ok() && fixture.tokens.verify(&new, None).is_ok());
    assert_eq!(jsonwebtoken::decode_header(&new).expect("a header").kid, Some(newer.kid.clone()));
    assert_eq!(fixture.tokens.jwks().keys.len(), 2);

    fixture.tokens.replace_keys(ring(&[newer]));
    assert_eq!(
        fixture.tokens.verify(&old, None),
        Err(TokenError::UnknownKey),
        "memory does not outlive its key"
    );
    assert!(fixture.tokens.verify(&new, None).is_ok());
}

#[test]
fn a_key_that_retires_ends_its_remembered_tokens_at_that_moment() {
    let fixture = fixture();
    let retiring = StoredSigningKey { retired_at_ms: Some(NOW_MS + 1000), ..fixture.key.clone() };
    fixture.tokens.replace_keys(ring(&[retiring]));
    let text = fixture.issue().text;
    fixture.clock.advance(999);
    assert!(fixture.tokens.verify(&text, None).is_ok());
    fixture.clock.advance(1);
    assert_eq!(fixture.tokens.verify(&text, None), Err(TokenError::UnknownKey));
    let issued = fixture.tokens.issue(tenant(), subject(), ScopeSet::EMPTY, None, None);
    assert!(matches!(issued, Err(AuthError::NoSigningKey)));
}

#[test]
fn a_token_is_never_printed() {
    let fixture = fixture();
    let issued = fixture.issue();
    fixture.tokens.verify(&issued.text, None).expect("believed, and remembered");
    for printed in [format!("{issued:?}"), format!("{:?}", fixture.tokens)] {
        assert!(issued.text.split('.').all(|part| !printed.contains(part)), "{printed}");
    }
}

#[test]
fn a_token_that_is_bound_to_a_certificate_is_refused_on_other_connections_also_from_memory() {
    let fixture = fixture();
    let (own, other) = (CertificateThumbprint::of(b"own"), CertificateThumbprint::of(b"other"));
    let bound = fixture.tokens.issue(tenant(), subject(), ScopeSet::EMPTY, None, Some(own)).expect("issued");
    for turn in ["at first", "from memory"] {
        let verified = fixture.tokens.verify(&bound.text, Some(own));
        assert_eq!(verified.expect(turn).certificate, Some(own), "{turn}");
        for shown in [None, Some(other)] {
            assert_eq!(fixture.tokens.verify(&bound.text, shown), Err(TokenError::Certificate), "{turn}");
        }
    }
    let free = fixture.issue().text;
    for shown in [None, Some(own)] {
        assert!(fixture.tokens.verify(&free, shown).is_ok(), "{shown:?}");
    }
    for cnf in [json!({}), json!({"jwk": {}}), json!({"x5t#S256": "abc"}), json!("x"), json!([])] {
        let refused = fixture.verify_claims(|claims| claims["cnf"] = cnf.clone());
        assert_eq!(refused, Err(TokenError::Claims), "{cnf}");
    }
}
