//! Certificates that are replaced while the server runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tollgate::door::tls::{Reload, TlsSettings};

use super::server::{Files, client, link, open, seen, serve};
use crate::support::certificates::Authority;
use crate::support::program::TEST_TIMEOUT;

/// The certificate by which the server is known now: whether a client that believes only this
/// authority is served.
async fn is_known_by(authority: &Authority, address: std::net::SocketAddr) -> bool {
    seen(&client(authority).build().unwrap(), address).await.is_ok()
}

#[tokio::test]
async fn a_new_certificate_is_used_and_a_broken_one_is_not_and_is_told_once() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::of(&old.issue("DNS:localhost"));
    let terminator = open(&files.settings());
    let address = serve(terminator.clone()).await;
    let at = |name| files.0.path().join(name);
    assert_eq!(terminator.reload_if_changed(), Reload::Unchanged);

    for broken in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n",
    ] {
        std::fs::write(at("crt"), broken).unwrap();
        let looks = [(); 4].map(|()| terminator.reload_if_changed());
        assert_eq!(
            looks,
            [Reload::Unsettled, Reload::Refused, Reload::Unchanged, Reload::Unchanged],
            "{broken}"
        );
        assert!(is_known_by(&old, address).await);
    }
    std::fs::remove_file(at("crt")).unwrap();
    let looks = [(); 3].map(|()| terminator.reload_if_changed());
    assert_eq!(looks, [Reload::Unsettled, Reload::Refused, Reload::Unchanged]);
    assert!(is_known_by(&old, address).await);

    // One after the other, with a look between.
    let issued = new.issue("DNS:localhost");
    std::fs::write(at("crt"), &issued.certificate).unwrap();
    assert_eq!(terminator.reload_if_changed(), Reload::Unsettled);
    assert!(is_known_by(&old, address).await);
    std::fs::write(at("key"), &issued.key).unwrap();
    assert_eq!(terminator.reload_if_changed(), Reload::Replaced);
    assert_eq!(terminator.reload_if_changed(), Reload::Unchanged);
    assert!(is_known_by(&new, address).await && !is_known_by(&old, address).await);

    files.replace(&new.issue_expired("DNS:localhost"));
    assert_eq!(terminator.reload_if_changed(), Reload::Replaced, "it is warned of, and used");
    files.replace(&old.issue("DNS:localhost"));
    assert_eq!(terminator.reload_if_changed(), Reload::Replaced);
    assert!(is_known_by(&old, address).await);
}

#[tokio::test]
async fn a_folder_that_is_exchanged_by_a_symbolic_link_is_noticed() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (first, second) = (Files::of(&old.issue("DNS:localhost")), Files::of(&new.issue("DNS:localhost")));
    let place = tempfile::tempdir().unwrap();
    let current = place.path().join("current");
    link(first.0.path(), &current);
    let settings =
        TlsSettings { certificates: current.join("crt"), key: current.join("key"), ..first.settings() };
    let terminator = open(&settings);
    let address = serve(terminator.clone()).await;
    let following = tokio::spawn(terminator.follow_files(Duration::from_millis(20)));
    link(second.0.path(), &current);
    let known = async {
        while !is_known_by(&new, address).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TEST_TIMEOUT, known).await.expect("the new certificate is used");
    following.abort();
}

#[tokio::test]
async fn clients_authorities_are_replaced_with_the_rest() {
    let (server, old, new) = (Authority::new("ca"), Authority::new("old"), Authority::new("new"));
    let files = Files::of(&server.issue("DNS:localhost"));
    let authorities = files.0.path().join("clients");
    std::fs::write(&authorities, old.pem()).unwrap();
    let settings = TlsSettings { client_authorities: Some(authorities.clone()), ..files.settings() };
    let terminator = open(&settings);
    let address = serve(terminator.clone()).await;
    let with = |authority: &Authority| {
        let issued = authority.issue("DNS:pay.example.com");
        client(&server).identity(issued.identity()).pool_max_idle_per_host(0).build().unwrap()
    };
    let (by_old, by_new) = (with(&old), with(&new));
    assert!(seen(&by_old, address).await.is_ok() && seen(&by_new, address).await.is_err());
    std::fs::write(&authorities, old.pem() + &new.pem()).unwrap();
    assert_eq!(terminator.reload_if_changed(), Reload::Replaced);
    assert!(seen(&by_old, address).await.is_ok() && seen(&by_new, address).await.is_ok());
    std::fs::write(&authorities, new.pem()).unwrap();
    assert_eq!(terminator.reload_if_changed(), Reload::Replaced);
    assert!(seen(&by_old, address).await.is_err() && seen(&by_new, address).await.is_ok());
}

const EXCHANGES: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_certificates_are_exchanged_under_load() {
    let authority = Authority::new("ca");
    let issued: Vec<_> = (0..EXCHANGES).map(|_| authority.issue("DNS:localhost")).collect();
    let files = Files::of(&issued[0]);
    let terminator = open(&files.settings());
    let address = serve(terminator.clone()).await;
    let following = tokio::spawn(terminator.follow_files(Duration::from_millis(5)));
    let (ended, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = [0, 0, 8, 8]
        .map(|kept| {
            let client = client(&authority).pool_max_idle_per_host(kept).build().unwrap();
            let (ended, served) = (ended.clone(), served.clone());
            tokio::spawn(async move {
                while !ended.load(Ordering::Relaxed) {
                    seen(&client, address).await.expect("each request is served");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .into();
    for next in &issued[1..] {
        let before = served.load(Ordering::Relaxed);
        files.replace(next);
        while served.load(Ordering::Relaxed) < before + 20 {
            assert!(load.iter().all(|task| !task.is_finished()), "a request failed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    ended.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("each request is served");
    }
    following.abort();
}
