//! A whole server with TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::server::{Files, client};
use crate::support::certificates::Authority;
use crate::support::database::TestDatabase;
use crate::support::program::{TEST_TIMEOUT, run_command, tollgate_on};
use crate::support::service::Node;

const REPLACED: &str = "tls_reloads_total{result=\"replaced\"}";

/// Servers of one process share their metrics, so other tests may count too.
fn value(page: &str, series: &str) -> f64 {
    let found = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{series} is missing:\n{page}")).parse().unwrap()
}

async fn metrics(client: &reqwest::Client, node: &str) -> String {
    client.get(format!("{node}/metrics")).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_the_certificate_is_exchanged_and_nothing_is_served_without_tls() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::of(&old.issue("IP:127.0.0.1"));
    let settings = files.settings();
    let tls = json!({"certificates": settings.certificates, "key": settings.key});
    let database = TestDatabase::create().await;
    let node = Node::start_with(&database, &[("tls", tls)]).await;
    let address = node.url.strip_prefix("https://").unwrap().to_owned();

    let mut plain = TcpStream::connect(&address).await.unwrap();
    plain.write_all(format!("GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(TEST_TIMEOUT, plain.read_to_end(&mut answer)).await.expect("the connection is closed");
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");

    let believed = || {
        let other = reqwest::Certificate::from_pem(new.pem().as_bytes()).unwrap();
        let old = reqwest::Certificate::from_pem(old.pem().as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([old, other]).no_proxy()
    };
    let first = metrics(&believed().build().unwrap(), &node.url).await;
    assert!(value(&first, "tls_certificate_expires_timestamp_seconds") > 0.0);
    assert!(value(&first, "tls_handshakes_failed_total") >= 1.0);
    assert!(value(&first, "tls_reloads_total{result=\"refused\"}") >= 0.0);
    let replaced_before = value(&first, REPLACED);
    let (ended, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = [0, 0, 4].map(|kept| {
        let client = believed().pool_max_idle_per_host(kept).build().unwrap();
        let (ended, served, url) = (ended.clone(), served.clone(), format!("{}/health", node.url));
        tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                let status = client.get(&url).send().await.expect("each request is served").status();
                assert_eq!(status, StatusCode::OK);
                served.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    files.replace(&new.issue("IP:127.0.0.1"));
    let by_new = async {
        let url = format!("{}/health", node.url);
        while client(&new).build().unwrap().get(&url).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(TEST_TIMEOUT, by_new).await.expect("the new certificate is used");
    let before = served.load(Ordering::Relaxed);
    let more = async {
        while served.load(Ordering::Relaxed) < before + 30 && load.iter().all(|task| !task.is_finished()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(TEST_TIMEOUT, more).await.expect("requests go on");
    ended.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("each request is served");
    }
    let after = metrics(&believed().build().unwrap(), &node.url).await;
    assert!(value(&after, REPLACED) > replaced_before, "{after}");
    node.stop().await;
}

#[tokio::test]
async fn a_server_does_not_start_with_files_that_cannot_be_used_and_names_the_key() {
    let authority = Authority::new("ca");
    let files = Files::of(&authority.issue("IP:127.0.0.1"));
    let database = TestDatabase::create().await;
    let at = |name: &str| files.0.path().join(name).display().to_string();
    for (tls, told) in [
        (format!("{{certificates={:?},key={:?}}}", at("missing"), at("key")), "`tollgate.tls.certificates`"),
        (format!("{{certificates={:?},key={:?}}}", at("crt"), at("missing")), "`tollgate.tls.key`"),
        (format!("{{certificates={:?},key={:?}}}", at("crt"), at("crt")), "`tollgate.tls.key`"),
        (format!("{{certificates={:?}}}", at("crt")), "key"),
        (format!("{{certificates={:?},key={:?},ca=\"x\"}}", at("crt"), at("key")), "ca"),
        (
            format!("{{certificates={:?},key={:?},client_certificates=\"required\"}}", at("crt"), at("key")),
            "`tollgate.tls.client_authorities`",
        ),
    ] {
        let mut command = tollgate_on(&database, &["serve"]);
        command.env("ROCKET_TOLLGATE_TLS", &tls);
        let (status, _, stderr) = tokio::task::spawn_blocking(|| run_command(command)).await.unwrap();
        assert!(!status.success() && stderr.contains(told), "{tls}: {stderr}");
    }
}
