//! Attacks and their defences.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, ROOT_SECRET};

/// Runs the program, since logging is set up once per process.
struct Process {
    child: Child,
    log: std::path::PathBuf,
    folder: tempfile::TempDir,
}

impl Process {
    fn start(database: &TestDatabase) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .current_dir(folder.path())
            .env("ROCKET_PROFILE", "debug")
            .env("ROCKET_PORT", "0")
            .env("ROCKET_DATABASES", format!("{{main={{url=\"{}\"}}}}", database.url))
            .env("ROCKET_TOLLGATE_ROOT_SECRET", ROOT_SECRET)
            .env("ROCKET_TOLLGATE_PLUGINS_DIR", folder.path().join("none"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The address of the process, once it is ready.
    async fn address(&self) -> String {
        for _ in 0..600 {
            let log = self.log();
            if let Some((_, rest)) = log.split_once("ready address=") {
                return rest.split_whitespace().next().unwrap().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        assert!(Path::new(self.folder.path()).exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_of_a_request_is_logged() {
    let database = TestDatabase::create().await;
    let process = Process::start(&database);
    let address = process.address().await;
    let http = reqwest::Client::new();
    for (method, path) in [
        (Method::GET, "/nowhere/DE89370400440532013000?account=DE89370400440532013000"),
        (Method::PUT, "/api/v1/payments?account=DE89370400440532013000"),
        (Method::GET, "/api/v1/payments?account=DE89370400440532013000"),
        (Method::POST, "/api/v1/payments/DE89370400440532013000"),
    ] {
        let status = http.request(method, format!("http://{address}{path}")).send().await.unwrap().status();
        assert!(status.is_client_error(), "{path}: {status}");
    }
    // Rocket logs a body that ends early, too.
    let mut cut = TcpStream::connect(&address).unwrap();
    cut.write_all(b"POST /DE89370400440532013000 HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nDE8937")
        .unwrap();
    drop(cut);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!process.log().contains("DE8937"), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_postgres_would_refuse_as_text_is_not_found() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let entry = "01a1fdca-cf58-7842-b29d-2b3510ed1504";
    for (method, path) in [
        (Method::GET, "/lists/%00/entries".to_owned()),
        (Method::POST, "/lists/%00/entries".to_owned()),
        (Method::DELETE, format!("/lists/%00/entries/{entry}")),
        (Method::GET, "/rulesets/%00".to_owned()),
        (Method::GET, "/plugins/%00".to_owned()),
        (Method::GET, "/payments/%00".to_owned()),
    ] {
        let request = caller.request(method, &path).json(&json!({"value": "v", "reason": "r"}));
        assert_eq!(request.send().await.unwrap().status(), StatusCode::NOT_FOUND, "{path}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_uploads_of_one_tenant_are_bounded_and_leave_room_for_another() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let greedy = Caller::of_new_tenant(&node, "greedy").await;
    let other = Caller::of_new_tenant(&node, "other").await;
    let request = greedy.request(Method::POST, "/plugins").build().unwrap();
    let token = request.headers()["Authorization"].to_str().unwrap().to_owned();
    // A body that starts but does not continue.
    let stuck = || {
        let mut connection = TcpStream::connect(node.url.trim_start_matches("http://")).unwrap();
        let head = format!(
            "POST /api/v1/plugins HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\n\
             Content-Type: application/wasm\r\nContent-Length: 100000\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(&[0; 100]).unwrap();
        connection
    };
    let held: Vec<TcpStream> = (0..4).map(|_| stuck()).collect();
    let upload = |caller: &Caller| {
        caller
            .request(Method::POST, "/plugins")
            .header("Content-Type", "application/wasm")
            .body("no component")
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    let refused = upload(&greedy).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("Retry-After"));
    let judged = upload(&other).send().await.unwrap();
    assert_eq!(judged.status(), StatusCode::UNPROCESSABLE_ENTITY);

    drop(held);
    node.stop().await;
}

#[tokio::test]
async fn a_session_of_a_request_cannot_read_signing_keys() {
    let database = TestDatabase::create().await;
    let refused =
        sqlx::query("select kid from signing_keys").fetch_all(database.databases().app.sqlx_pool()).await;
    let code =
        refused.unwrap_err().as_database_error().and_then(|error| error.code().map(|c| c.into_owned()));
    assert_eq!(code.as_deref(), Some("42501"));
}
