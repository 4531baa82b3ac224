//! Clients that are bound to a certificate (RFC 8705), on a whole server.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tollgate::app::tenants::{ClientLimits, ClientRequest, CreatedClient, create_client_with, create_tenant};
use tollgate::domain::client_certificate::{
    BoundDnsName, BoundUri, CertificateBinding, CertificateThumbprint,
};
use tollgate::domain::tenant::Scope;

use super::server::{Files, client};
use crate::support::certificates::{Authority, Issued};
use crate::support::database::TestDatabase;
use crate::support::program::{run_command, tollgate_on};
use crate::support::service::{Caller, Node};

const NAMES: &str = "DNS:pay.example.com,URI:spiffe://example.com/pay";

/// A node with TLS, and who signs for it and for its clients.
struct Place {
    database: TestDatabase,
    node: Node,
    authority: Authority,
    _files: Files,
}

impl Place {
    async fn start() -> Self {
        let authority = Authority::new("ca");
        let files = Files::of(&authority.issue("IP:127.0.0.1"));
        let settings = files.settings_with_clients(&authority);
        let tls = json!({
            "certificates": settings.certificates, "key": settings.key,
            "client_authorities": settings.client_authorities,
        });
        let database = TestDatabase::create().await;
        let node = Node::start_with(&database, &[("tls", tls)]).await;
        assert!(node.url.starts_with("https://"), "{}", node.url);
        create_tenant(&node.databases.system, "acme", "test").await.unwrap();
        Self { database, node, authority, _files: files }
    }

    fn without(&self) -> reqwest::Client {
        client(&self.authority).build().unwrap()
    }

    fn with(&self, issued: &Issued) -> reqwest::Client {
        client(&self.authority).identity(issued.identity()).build().unwrap()
    }

    async fn bound(&self, certificate: Option<CertificateBinding>) -> (String, String) {
        let order = ClientRequest {
            tenant: "acme".to_owned(),
            name: "test".to_owned(),
            scopes: Scope::ALL.into_iter().collect(),
            created_by: "test".to_owned(),
        };
        let limits = ClientLimits { certificate, ..ClientLimits::default() };
        let created = create_client_with(&self.node.databases.system, order, limits).await;
        let CreatedClient { id, secret, .. } = created.unwrap();
        (id.to_string(), secret.expose().to_owned())
    }

    /// Whether a token is given, or which error.
    async fn token(&self, http: &reqwest::Client, (id, secret): &(String, String)) -> Result<Value, String> {
        let request = http.post(format!("{}/oauth/token", self.node.url)).basic_auth(id, Some(secret));
        let response = request.form(&[("grant_type", "client_credentials")]).send().await.unwrap();
        let (status, body) = (response.status(), response.json::<Value>().await.unwrap());
        if status == StatusCode::OK {
            return Ok(body);
        }
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
        Err(body["error"].as_str().unwrap().to_owned())
    }

    async fn caller(&self, http: reqwest::Client, (id, secret): &(String, String)) -> Caller {
        Caller::sign_in_over(http, &self.node.url, id, secret).await
    }
}

fn claims(token: &Value) -> Value {
    let payload = token["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

async fn assert_invalid_token(caller: &Caller, path: &str, what: &str) {
    let response = caller.request(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{what}");
    let challenge = response.headers()["WWW-Authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains("invalid_token"), "{what}: {challenge}");
}

#[tokio::test]
async fn a_bound_client_gets_tokens_only_with_its_certificate_and_uses_them_only_with_that_very_one() {
    let place = Place::start().await;
    let first = place.authority.issue(NAMES);
    let renewed = place.authority.issue(NAMES);
    let other = place.authority.issue("DNS:shop.example.com,URI:spiffe://example.com/shop");
    let dns = CertificateBinding::SanDns(BoundDnsName::parse("pay.example.com").unwrap());
    let uri = CertificateBinding::SanUri(BoundUri::parse("spiffe://example.com/pay").unwrap());
    let sha256 = CertificateBinding::Sha256(CertificateThumbprint::parse(&first.thumbprint()).unwrap());
    let invalid_client = Err("invalid_client".to_owned());
    for (binding, allows_renewed) in [(dns, true), (uri, true), (sha256, false)] {
        let id = place.bound(Some(binding.clone())).await;
        let token = place.token(&place.with(&first), &id).await.unwrap();
        assert_eq!(claims(&token)["cnf"], json!({"x5t#S256": first.thumbprint()}), "{binding:?}");
        assert_eq!(place.token(&place.with(&other), &id).await, invalid_client, "{binding:?}");
        assert_eq!(place.token(&place.without(), &id).await, invalid_client, "{binding:?}");
        let with_renewed = place.token(&place.with(&renewed), &id).await;
        assert_eq!(with_renewed.is_ok(), allows_renewed, "{binding:?}: {with_renewed:?}");
        let wrong_secret = (id.0.clone(), "wrong".to_owned());
        assert_eq!(place.token(&place.with(&first), &wrong_secret).await, invalid_client, "{binding:?}");

        let caller = place.caller(place.with(&first), &id).await;
        for turn in ["at first", "from memory"] {
            assert_eq!(caller.get("/lists").await.0, StatusCode::OK, "{binding:?} {turn}");
            for (what, http) in
                [("none", place.without()), ("renewed", place.with(&renewed)), ("other", place.with(&other))]
            {
                for path in ["/lists", "/events"] {
                    assert_invalid_token(&caller.over(http.clone()), path, &format!("{what} {path} {turn}"))
                        .await;
                }
            }
        }
    }
    place.node.stop().await;
}

#[tokio::test]
async fn a_client_without_a_binding_may_show_any_certificate_and_its_tokens_work_on_any_connection() {
    let place = Place::start().await;
    let id = place.bound(None).await;
    let issued = place.authority.issue(NAMES);
    for http in [place.with(&issued), place.without()] {
        let token = place.token(&http, &id).await.unwrap();
        assert_eq!(claims(&token).get("cnf"), None);
        let caller = place.caller(http, &id).await;
        for other in [place.with(&issued), place.without(), place.with(&place.authority.issue(NAMES))] {
            assert_eq!(caller.over(other).get("/lists").await.0, StatusCode::OK);
        }
    }
    let metadata = format!("{}/.well-known/oauth-authorization-server", place.node.url);
    let metadata: Value = place.without().get(metadata).send().await.unwrap().json().await.unwrap();
    assert_eq!(metadata["tls_client_certificate_bound_access_tokens"], true);
    place.node.stop().await;
}

#[tokio::test]
async fn administrators_bind_clients_and_each_change_ends_the_tokens_and_is_told() {
    let place = Place::start().await;
    let admin = place.caller(place.without(), &place.bound(None).await).await;
    let new =
        |certificate: Value| json!({"name": "shop", "scopes": ["lists:read"], "certificate": certificate});
    for (wrong, pointer) in [
        (json!({}), "/certificate/san_dns"),
        (json!({"san_dns": "pay.example.com", "san_uri": "urn:pay"}), "/certificate/san_uri"),
        (json!({"san_dns": "*.example.com"}), "/certificate/san_dns"),
        (json!({"san_dns": null}), "/certificate/san_dns"),
        (json!({"san_uri": "pay"}), "/certificate/san_uri"),
        (json!({"sha256": "abc"}), "/certificate/sha256"),
        (json!({"thumbprint": "abc"}), "/certificate/thumbprint"),
    ] {
        let (status, problem) = admin.post("/clients", &new(wrong.clone())).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}: {problem}");
        let pointers = problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]);
        assert!(pointers.into_iter().any(|found| found == pointer), "{wrong}: {problem}");
    }
    let (status, created) = admin.post("/clients", &new(json!({"san_dns": "Pay.example.com"}))).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    assert_eq!(created["client"]["certificate"], json!({"san_dns": "pay.example.com"}));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let id = (text(&created["client"]["id"]), text(&created["client_secret"]));
    let first = place.authority.issue(NAMES);
    let path = format!("/clients/{}", id.0);
    let mut caller = place.caller(place.with(&first), &id).await;
    for (certificate, ends) in [
        (json!({"san_dns": "pay.example.com"}), false),
        (json!({"san_uri": "spiffe://example.com/pay"}), true),
        (json!({"sha256": first.thumbprint()}), true),
        (json!(null), true),
    ] {
        let change = json!({"certificate": certificate});
        let changed = admin.request(Method::PATCH, &path).json(&change).send().await.unwrap();
        assert_eq!(changed.status(), StatusCode::OK, "{change}");
        let changed: Value = changed.json().await.unwrap();
        assert_eq!(changed.get("certificate").unwrap_or(&json!(null)), &certificate);
        let expected = if ends { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        assert_eq!(caller.get("/lists").await.0, expected, "{change}");
        caller = place.caller(place.with(&first), &id).await;
    }
    place.caller(place.without(), &id).await;

    let few = json!({"name": "few", "scopes": ["clients:write"]});
    let (_, few) = admin.post("/clients", &few).await;
    let few = (text(&few["client"]["id"]), text(&few["client_secret"]));
    let few = place.caller(place.without(), &few).await;
    let change = json!({"certificate": {"san_dns": "pay.example.com"}});
    let refused = few.request(Method::PATCH, &path).json(&change).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN, "it has fewer scopes than the client");
    let (_, acts) = admin.get("/audit?action=client.changed").await;
    let newest = &acts["items"][0];
    assert_eq!(newest["before"]["certificate"], json!({"sha256": first.thumbprint()}), "{newest}");
    place.node.stop().await;
}

#[tokio::test]
async fn the_command_line_binds_clients() {
    let place = Place::start().await;
    let issued = place.authority.issue(NAMES);
    let run = async |arguments: &[&str]| {
        let command = tollgate_on(&place.database, arguments);
        tokio::task::spawn_blocking(|| run_command(command)).await.unwrap()
    };
    let create =
        ["client", "create", "--tenant", "acme", "--name", "shop", "--certificate-dns", "pay.example.com"];
    let (status, stdout, stderr) = run(&create).await;
    assert!(status.success(), "{stderr}");
    let value = |name: &str| stdout.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let id = (value("client_id="), value("client_secret="));
    assert!(place.token(&place.with(&issued), &id).await.is_ok());
    assert!(place.token(&place.without(), &id).await.is_err());
    let thumbprint = issued.thumbprint();
    for (arguments, without) in [
        (&["--certificate-uri", "spiffe://example.com/pay"][..], false),
        (&["--certificate-sha256", &thumbprint][..], false),
        (&["--no-certificate"][..], true),
    ] {
        let change = [&["client", "certificate", "--tenant", "acme", &id.0], arguments].concat();
        let (status, _, stderr) = run(&change).await;
        assert!(status.success(), "{arguments:?}: {stderr}");
        assert!(place.token(&place.with(&issued), &id).await.is_ok(), "{arguments:?}");
        assert_eq!(place.token(&place.without(), &id).await.is_ok(), without, "{arguments:?}");
    }
    for wrong in [
        &[][..],
        &["--certificate-dns", "*.example.com"][..],
        &["--certificate-dns", "a.example", "--certificate-uri", "urn:a"][..],
        &["--certificate-dns", "a.example", "--no-certificate"][..],
    ] {
        let change = [&["client", "certificate", "--tenant", "acme", &id.0], wrong].concat();
        assert!(!run(&change).await.0.success(), "{wrong:?}");
    }
    place.node.stop().await;
}
