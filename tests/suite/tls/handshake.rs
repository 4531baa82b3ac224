//! What is agreed in a handshake, what is refused, and what the server learns of the client.

use serde_json::json;
use tollgate::door::tls::{ClientCertificates, TlsSettings, TlsTerminator};
use tollgate::world::system;

use super::server::{Files, client, open, seen, serve};
use crate::support::certificates::{Authority, openssl};

#[tokio::test]
async fn tls_of_today_is_spoken_with_http_1_1_and_older_tls_refused() {
    let authority = Authority::new("ca");
    let files = Files::of(&authority.issue("DNS:localhost"));
    let address = serve(open(&files.settings())).await;
    for version in [reqwest::tls::Version::TLS_1_2, reqwest::tls::Version::TLS_1_3] {
        let client = client(&authority).tls_version_min(version).tls_version_max(version).build().unwrap();
        let expected = json!({"protocol": "http/1.1", "certificate": null});
        assert_eq!(seen(&client, address).await.unwrap(), expected, "{version:?}");
    }
    let target = format!("localhost:{}", address.port());
    let ca = authority.path();
    for (arguments, agreed) in [
        (&["-tls1_2"][..], true),
        (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..], false),
        (&["-alpn", "h2,http/1.1"][..], true),
        (&["-alpn", "h2"][..], false),
    ] {
        let asked = tokio::process::Command::new("openssl")
            .args(["s_client", "-connect", &target, "-CAfile", ca.to_str().unwrap(), "-verify_return_error"])
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .unwrap();
        let told = String::from_utf8_lossy(&asked.stdout);
        assert_eq!(asked.status.success(), agreed, "{arguments:?}: {told}");
        assert!(!told.contains("ALPN protocol: h2"), "{arguments:?}: {told}");
    }
}

#[tokio::test]
async fn the_server_learns_the_names_and_the_hash_of_a_certificate_that_it_has_verified() {
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let files = Files::of(&authority.issue("DNS:localhost"));
    let optional = files.settings_with_clients(&authority);
    let required = TlsSettings { client_certificates: ClientCertificates::Required, ..optional.clone() };
    let (optional, required) = (serve(open(&optional)).await, serve(open(&required)).await);
    let shown =
        authority.issue("DNS:pay.example.com,DNS:*.example.org,URI:spiffe://example.com/pay,IP:127.0.0.1");
    let expected = json!({
        "thumbprint": shown.thumbprint(),
        "dns_names": ["pay.example.com", "*.example.org"],
        "uris": ["spiffe://example.com/pay"],
    });
    let with = |issued: &crate::support::certificates::Issued| {
        client(&authority).identity(issued.identity()).build().unwrap()
    };
    let right = with(&shown);
    for address in [optional, required] {
        assert_eq!(seen(&right, address).await.unwrap()["certificate"], expected);
        assert!(
            seen(&with(&other.issue("DNS:pay.example.com")), address).await.is_err(),
            "another authority"
        );
        assert!(
            seen(&with(&authority.issue_expired("DNS:pay.example.com")), address).await.is_err(),
            "expired"
        );
    }
    let without = client(&authority).build().unwrap();
    assert_eq!(seen(&without, optional).await.unwrap()["certificate"], json!(null));
    assert!(seen(&without, required).await.is_err());
}

#[test]
fn files_that_cannot_be_used_are_told_by_their_key_and_never_quoted() {
    let authority = Authority::new("ca");
    let issued = authority.issue("DNS:localhost");
    let files = Files::of(&issued);
    let folder = files.0.path();
    std::fs::write(folder.join("text"), "hush-hush").unwrap();
    std::fs::write(folder.join("broken"), "-----BEGIN PRIVATE KEY-----\nhush-hush\n").unwrap();
    std::fs::write(folder.join("other.key"), authority.issue("DNS:localhost").key).unwrap();
    openssl(folder, &["pkcs8", "-topk8", "-in", "key", "-passout", "pass:hush-hush", "-out", "sealed.key"]);
    let at = |name: &str| folder.join(name);
    let good = files.settings();
    for (settings, told) in [
        (TlsSettings { certificates: at("missing"), ..good.clone() }, "`tollgate.tls.certificates`"),
        (TlsSettings { certificates: at("text"), ..good.clone() }, "has no certificate"),
        (TlsSettings { certificates: at("key"), ..good.clone() }, "has no certificate"),
        (TlsSettings { key: at("missing"), ..good.clone() }, "`tollgate.tls.key`"),
        (TlsSettings { key: at("text"), ..good.clone() }, "private key"),
        (TlsSettings { key: at("broken"), ..good.clone() }, "not valid PEM"),
        (TlsSettings { key: at("sealed.key"), ..good.clone() }, "unencrypted"),
        (TlsSettings { key: at("other.key"), ..good.clone() }, "does not belong"),
        (TlsSettings { client_authorities: Some(at("missing")), ..good.clone() }, "client_authorities"),
        (TlsSettings { client_authorities: Some(at("text")), ..good.clone() }, "client_authorities"),
        (TlsSettings { client_certificates: ClientCertificates::Required, ..good.clone() }, "required"),
    ] {
        let error = TlsTerminator::open(&settings, system()).map(drop).expect_err(told).to_string();
        assert!(error.contains(told), "{told}: {error}");
        assert!(!error.contains("hush"), "{error}");
    }
}
