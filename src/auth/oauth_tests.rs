//! Tables of token requests and their results.

use super::*;

const ID: &str = "0193b0a0-0000-7000-8000-000000000001";
const GRANT: &str = "grant_type=client_credentials";
const REPEATED: &str = "the body must be a form in which each name appears once";

fn basic_header(credentials: &str) -> String {
    format!("Basic {}", BASE64.encode(credentials))
}

/// The client and the secret that were read, or the error.
fn read(authorization: Option<&str>, body: &str) -> Result<(String, String), OAuthError> {
    let request = parse_token_request(authorization, body)?;
    Ok((request.client.to_string(), request.secret.expose().to_owned()))
}

#[test]
fn basic_credentials_are_decoded_twice() {
    let cases = [
        (format!("{ID}:tgs_a-b_c"), "tgs_a-b_c"),
        (format!("{ID}:a%3Ab%20c+d"), "a:b c d"),
        (format!("{ID}:a:b"), "a:b"),
        (format!("{}:s", ID.replace('-', "%2D")), "s"),
        (format!("{ID}:%C3%A9"), "é"),
    ];
    for (credentials, secret) in cases {
        let read = read(Some(&basic_header(&credentials)), GRANT);
        assert_eq!(read, Ok((ID.to_owned(), secret.to_owned())), "{credentials}");
    }
}

#[test]
fn the_scheme_is_matched_in_any_case_and_padding_may_be_left_out() {
    let encoded = BASE64.encode(format!("{ID}:s"));
    assert!(encoded.ends_with('='));
    for header in [
        format!("basic {encoded}"),
        format!("BASIC  {encoded} "),
        format!("Basic {}", encoded.trim_end_matches('=')),
    ] {
        assert!(read(Some(&header), GRANT).is_ok(), "{header}");
    }
}

#[test]
fn basic_credentials_that_cannot_be_read_are_an_invalid_client() {
    let headers = [
        String::new(),
        "Basic".to_owned(),
        "Basic ".to_owned(),
        "Basic !!!".to_owned(),
        format!("Bearer {}", BASE64.encode(format!("{ID}:s"))),
        basic_header(ID),
        basic_header(&format!("{ID}:")),
        basic_header(":s"),
        basic_header("not-a-uuid:s"),
        basic_header(&format!("{ID}:%zz")),
        basic_header(&format!("{}:s", ID.replace('-', ""))),
        basic_header(&format!("{{{ID}}}:s")),
    ];
    for header in headers {
        assert_eq!(read(Some(&header), GRANT), Err(OAuthError::InvalidClient), "{header:?}");
    }
}

#[test]
fn credentials_may_come_in_the_form() {
    let body = format!("{GRANT}&client_id={ID}&client_secret=a%2Bb");
    assert_eq!(read(None, &body), Ok((ID.to_owned(), "a+b".to_owned())));
    for body in [
        GRANT.to_owned(),
        format!("{GRANT}&client_id={ID}"),
        format!("{GRANT}&client_id={ID}&client_secret="),
        format!("{GRANT}&client_secret=s"),
        format!("{GRANT}&client_id=nobody&client_secret=s"),
    ] {
        assert_eq!(read(None, &body), Err(OAuthError::InvalidClient), "{body}");
    }
}

#[test]
fn two_ways_at_once_are_refused() {
    let header = basic_header(&format!("{ID}:s"));
    let both = read(Some(&header), &format!("{GRANT}&client_id={ID}&client_secret=s"));
    assert!(matches!(both, Err(OAuthError::InvalidRequest(_))));
    let other = ID.replace('3', "4");
    let differing = read(Some(&header), &format!("{GRANT}&client_id={other}"));
    assert!(matches!(differing, Err(OAuthError::InvalidRequest(_))));
    assert!(
        read(Some(&header), &format!("{GRANT}&client_id={ID}")).is_ok(),
        "the same name twice is no second way"
    );
}

#[test]
fn only_client_credentials_are_granted() {
    let header = basic_header(&format!("{ID}:s"));
    let cases = [
        ("", OAuthError::InvalidRequest("grant_type is missing")),
        ("grant_type=", OAuthError::InvalidRequest("grant_type is missing")),
        ("grant_type=password", OAuthError::UnsupportedGrantType),
        ("grant_type=Client_Credentials", OAuthError::UnsupportedGrantType),
    ];
    for (body, error) in cases {
        assert_eq!(read(Some(&header), body), Err(error), "{body}");
    }
}

#[test]
fn repeated_parameters_and_broken_forms_are_refused() {
    let header = basic_header(&format!("{ID}:s"));
    for extra in [GRANT, "scope=lists:read&scope=lists:read", "unknown=1&unknown=2", "a=%", "%FF=1"] {
        let error = Err(OAuthError::InvalidRequest(REPEATED));
        assert_eq!(read(Some(&header), &format!("{GRANT}&{extra}")), error, "{extra}");
    }
    let long = format!("{GRANT}&a={}", "a".repeat(MAX_BODY_BYTES));
    assert!(matches!(read(Some(&header), &long), Err(OAuthError::InvalidRequest(_))));
    assert!(read(Some(&header), &format!("{GRANT}&unknown=1")).is_ok(), "unknown ones are ignored");
}

#[test]
fn scopes_are_optional_but_must_be_known() {
    let header = basic_header(&format!("{ID}:s"));
    let scopes = |scope: &str| {
        parse_token_request(Some(&header), &format!("{GRANT}&scope={scope}")).map(|request| request.scopes)
    };
    assert_eq!(scopes(""), Ok(None));
    assert_eq!(scopes("lists%3Aread+payments:write"), Ok(ScopeSet::parse("payments:write lists:read")));
    assert_eq!(scopes("everything"), Err(OAuthError::InvalidScope));
    assert_eq!(scopes("lists:read++payments:write"), Err(OAuthError::InvalidScope));
}

#[test]
fn no_more_is_granted_than_the_client_has() {
    let set = |text| ScopeSet::parse(text).expect("scopes");
    let allowed = set("payments:write payments:read");
    assert_eq!(granted_scopes(None, allowed), Ok(allowed));
    assert_eq!(granted_scopes(Some(set("payments:read")), allowed), Ok(set("payments:read")));
    let more = granted_scopes(Some(set("payments:read lists:write")), allowed);
    assert_eq!(more, Err(OAuthError::InvalidScope));
    assert_eq!(granted_scopes(None, ScopeSet::EMPTY), Err(OAuthError::UnauthorizedClient));
}

#[test]
fn errors_have_the_codes_and_characters_the_standard_allows() {
    let errors = [
        (OAuthError::InvalidRequest(REPEATED), "invalid_request", 400),
        (OAuthError::InvalidClient, "invalid_client", 401),
        (OAuthError::UnauthorizedClient, "unauthorized_client", 400),
        (OAuthError::UnsupportedGrantType, "unsupported_grant_type", 400),
        (OAuthError::InvalidScope, "invalid_scope", 400),
        (OAuthError::TemporarilyUnavailable, "temporarily_unavailable", 503),
        (OAuthError::ServerError, "server_error", 500),
    ];
    for (error, code, status) in errors {
        assert_eq!((error.code(), error.status()), (code, status));
        assert_eq!(error.challenge().is_some(), status == 401);
        let allowed = |character| matches!(character, ' '..='~') && !matches!(character, '"' | '\\');
        assert!(error.description().chars().all(allowed), "{}", error.description());
    }
}

#[test]
fn a_busy_hasher_is_temporary_and_anything_else_our_fault() {
    assert_eq!(OAuthError::from(AuthError::Busy), OAuthError::TemporarilyUnavailable);
    assert_eq!(OAuthError::from(AuthError::StoredHash), OAuthError::ServerError);
}

#[test]
fn the_response_is_that_of_rfc_6749_and_prints_no_token() {
    let issued = IssuedToken {
        text: "header.claims.signature".to_owned(),
        scopes: ScopeSet::parse("lists:read").expect("scopes"),
        lifetime_s: 300,
        expires_at_ms: 0,
        id: Uuid::nil(),
    };
    let response = TokenResponse::from(issued);
    assert!(!format!("{response:?}").contains("claims"));
    let expected = serde_json::json!({
        "access_token": "header.claims.signature", "token_type": "Bearer", "expires_in": 300, "scope": "lists:read",
    });
    assert_eq!(serde_json::to_value(response).expect("JSON"), expected);
}

#[test]
fn a_request_prints_no_secret() {
    let request = parse_token_request(Some(&basic_header(&format!("{ID}:hunter2"))), GRANT).expect("reads");
    assert!(!format!("{request:?}").contains("hunter2"));
}
