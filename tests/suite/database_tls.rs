//! TLS to the database: verification and fallback.

mod own_server;

use std::path::Path;
use std::process::Command;

use crate::support::database::TestDatabase;
use crate::support::pgbouncer::PgBouncer;
use crate::support::program::{run_command, tollgate};

/// A pooler in front of the test cluster that offers TLS with a certificate from `certificate`.
fn pooler(database: &TestDatabase, certificate: fn(&Path)) -> PgBouncer {
    let folder = tempfile::Builder::new().prefix("pgbouncer").tempdir_in("/tmp").unwrap();
    certificate(folder.path());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = folder.path().display();
    let settings = format!(
        "pool_mode = session\nlisten_addr = 127.0.0.1\nclient_tls_sslmode = allow\n\
         client_tls_key_file = {at}/key\nclient_tls_cert_file = {at}/crt"
    );
    PgBouncer::start_in(folder, port, &database.url, &settings, &["tollgate"])
}

fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
}

fn request(folder: &Path) {
    openssl(folder, "req -new -newkey rsa:2048 -nodes -keyout key -subj /CN=localhost -out csr");
}

/// A self-signed X.509 certificate of version 1, as some distributions create it.
fn version_1(folder: &Path) {
    request(folder);
    openssl(folder, "x509 -req -in csr -signkey key -days 30 -out crt");
    let shown = Command::new("openssl")
        .args(["x509", "-in", "crt", "-noout", "-text"])
        .current_dir(folder)
        .output()
        .unwrap()
        .stdout;
    assert!(String::from_utf8_lossy(&shown).contains("Version: 1 "), "another version");
}

fn self_signed(folder: &Path) {
    openssl(folder, "req -x509 -newkey rsa:2048 -nodes -keyout key -subj /CN=localhost -days 30 -out crt");
}

/// A certificate for `localhost` from the authority `ca`. `other` is another authority.
fn by_an_authority(folder: &Path) {
    for name in ["ca", "other"] {
        let make = "req -x509 -newkey rsa:2048 -nodes -days 30 -addext keyUsage=keyCertSign";
        openssl(folder, &format!("{make} -subj /CN={name} -keyout {name}.key -out {name}"));
    }
    request(folder);
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(
        folder,
        "x509 -req -in csr -CA ca -CAkey ca.key -CAcreateserial -days 30 -extfile names -out crt",
    );
}

#[tokio::test]
async fn each_sslmode_verifies_as_documented_and_prefer_works_without_tls() {
    let database = TestDatabase::create().await;
    let name = database.url.split_once("localhost/").unwrap().1.split_once('?').unwrap().0;
    let (one, own, signed) =
        (pooler(&database, version_1), pooler(&database, self_signed), pooler(&database, by_an_authority));
    for (pooler, host, parameters, works, reported) in [
        (&one, "localhost", "", true, "not encrypted"),
        (&one, "localhost", "sslmode=prefer", true, "not encrypted"),
        (&one, "localhost", "sslmode=disable", true, ""),
        (&one, "localhost", "sslmode=require", false, "certificate"),
        (&own, "localhost", "", true, ""),
        (&own, "localhost", "sslmode=require", true, ""),
        (&own, "localhost", "sslmode=verify-ca", false, "certificate"),
        (&signed, "localhost", "sslmode=verify-full&sslrootcert=CA/ca", true, ""),
        (&signed, "127.0.0.1", "sslmode=verify-full&sslrootcert=CA/ca", false, "not valid for name"),
        (&signed, "127.0.0.1", "sslmode=verify-ca&sslrootcert=CA/ca", true, ""),
        (&signed, "localhost", "sslmode=verify-full", false, "certificate"),
        (&signed, "localhost", "sslmode=verify-full&sslrootcert=CA/other", false, "certificate"),
        (&signed, "localhost", "sslmode=require&sslrootcert=CA/other", false, "certificate"),
        (&signed, "localhost", "sslmode=verify-full&sslrootcert=CA/missing", false, "No such file"),
    ] {
        let parameters = parameters.replace("CA", &pooler.folder.path().display().to_string());
        let url = format!("postgres://tollgate:hush-hush@{host}:{}/{name}?{parameters}", pooler.port);
        let mut command = tollgate(&["migrate"]);
        command.env("ROCKET_DATABASES", format!("{{main={{url={url:?}}}}}"));
        let (status, _, stderr) = tokio::task::spawn_blocking(|| run_command(command)).await.unwrap();
        assert_eq!(status.success(), works, "{host} {parameters}: {stderr}");
        assert!(stderr.contains(reported), "{host} {parameters}: {stderr}");
        assert_eq!(
            stderr.contains("not encrypted"),
            reported == "not encrypted",
            "{host} {parameters}: {stderr}"
        );
        assert!(!stderr.contains("hush-hush"), "{stderr}");
    }
}
