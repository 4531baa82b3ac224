//! Uploads that are refused, cut off, too large or at the same time.

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::json;
use sqlx::Connection;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{create, upload, uploaded};
use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT};
use crate::support::service::{Caller, Node, send};

/// How many rows are in these tables, whoever's they are.
async fn stored(database: &TestDatabase) -> (i64, i64, i64) {
    sqlx::query_as(
        "select (select count(*) from table_versions), (select count(*) from table_chunks),
                (select count(*) from table_activations)",
    )
    .fetch_one(&mut database.superuser().await)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_told_by_line_and_column_and_nothing_is_stored() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    create(&caller, "rates", "exact", "country").await;
    for (csv, pointers) in [
        ("key,issuer\nDE,\n", &["/1/rate"][..]),
        ("key,issuer,rate,x\n", &["/1"]),
        ("key,issuer,rate\n,a,1\nDE,a,one\nDE,a\n", &["/2/key", "/3/rate", "/4"]),
        ("key,issuer,rate\nDE,,1\nAT,,1\nde,,2\n", &["/4/key"]),
        ("key,issuer,rate\nDE,4111111111111111,\n", &["/2/issuer"]),
    ] {
        let (status, problem) = upload(&caller, "rates", csv).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        let errors = problem["errors"].as_array().unwrap();
        let found: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(found, pointers, "{problem}");
        assert!(!problem.to_string().contains("4111"), "{problem}");
    }
    for (media_type, coding, status) in
        [("application/json", "identity", 415), ("text/plain", "identity", 415), ("text/csv", "gzip", 415)]
    {
        let request =
            caller.request(Method::POST, "/tables/rates/versions").header("Content-Type", media_type);
        let (found, problem) = send(request.header("Content-Encoding", coding).body("key")).await;
        assert_eq!(found.as_u16(), status, "{problem}");
    }
    assert_eq!(stored(&database).await, (0, 0, 0));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_versions_and_bytes_are_bounded() {
    let database = TestDatabase::create().await;
    let settings = [
        ("table_rows_max", json!(10_000)),
        ("table_versions_max", json!(2)),
        ("tenant_tables_max", json!(2)),
        ("tenant_tables_stored_max_bytes", json!(1 << 20)),
    ];
    let node = Node::start_with(&database, &settings).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    for name in ["one", "two"] {
        create(&caller, name, "exact", "text").await;
    }
    let third = json!({"name": "three", "lookup": "exact", "kind": "text", "columns": []});
    let (status, problem) = caller.post("/tables", &third).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{problem}");

    let rows = |count: u32| -> String {
        let rows = (0..count).map(|number| format!("key-{number},an issuer of a few words,{number}.5\n"));
        format!("key,issuer,rate\n{}", rows.collect::<String>())
    };
    let (status, problem) = upload(&caller, "one", rows(10_001)).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("/10002"))
    );
    assert_eq!(stored(&database).await, (0, 0, 0));
    let version = uploaded(&caller, "one", &rows(10_000)).await;
    assert_eq!(version["rows"], 10_000);
    uploaded(&caller, "one", &rows(1)).await;
    let (status, problem) = upload(&caller, "one", rows(1)).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("table_versions_max"), "{problem}");
    uploaded(&caller, "two", &rows(10_000)).await;
    let before = stored(&database).await;
    let (status, problem) = upload(&caller, "two", rows(10_000)).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("tenant_tables_stored_max_bytes"), "{problem}");
    assert_eq!(stored(&database).await, before, "its rows were rolled back");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_at_once_get_one_version_each() {
    let database = TestDatabase::create().await;
    let (node, other) = (Node::start(&database).await, Node::start(&database).await);
    let caller = Caller::of_new_tenant(&node, "acme").await;
    create(&caller, "rates", "exact", "text").await;
    let uploads = (0..6).map(|number| {
        let caller = if number % 2 == 0 { caller.clone() } else { caller.at(&other.url) };
        // Two uploads fewer than a tenant may send to one node.
        async move { upload(&caller, "rates", format!("key,issuer,rate\nEUR,,{number}\n")).await }
    });
    let mut numbers = Vec::new();
    for (status, version) in futures::future::join_all(uploads).await {
        assert_eq!(status, StatusCode::CREATED, "{version}");
        numbers.push(version["number"].as_i64().unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    let (_, log) = caller.get("/tables/rates/activations").await;
    let logged: Vec<i64> =
        log["items"].as_array().unwrap().iter().map(|line| line["version"].as_i64().unwrap()).collect();
    assert_eq!(logged, [6, 5, 4, 3, 2, 1]);
    other.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    create(&caller, "rates", "exact", "text").await;
    let address = caller.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v1/tables/rates/versions HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: text/csv\r\nContent-Length: 1000\r\n\r\nkey,issuer,rate\nEUR,,1\n",
        caller.token()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    // The next upload is the first version.
    assert_eq!(uploaded(&caller, "rates", "key,issuer,rate\nEUR,,2\n").await["number"], 1);
    assert_eq!(stored(&database).await, (1, 1, 1));
    node.stop().await;
}

/// The process is killed after it has written the rows of a version and before it commits.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_of_an_upload_leaves_nothing() {
    let database = TestDatabase::create().await;
    let mut program = Program::serve(&database).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    create(&caller, "rates", "exact", "text").await;
    let mut superuser = database.superuser().await;
    let mut held = superuser.begin().await.unwrap();
    sqlx::query(
        "select pg_advisory_xact_lock(hashtextextended('tables ' || id, 0)) from tenants where name = 'acme'",
    )
    .execute(&mut *held)
    .await
    .unwrap();
    let upload = {
        let caller = caller.clone();
        tokio::spawn(async move {
            let request =
                caller.request(Method::POST, "/tables/rates/versions").header("Content-Type", "text/csv");
            request.body("key,issuer,rate\nEUR,,1\n").send().await.is_ok()
        })
    };
    let begun = std::time::Instant::now();
    loop {
        let waiting: bool = sqlx::query_scalar(
            "select exists (select from pg_locks where locktype = 'advisory' and not granted
                            and database = (select oid from pg_database where datname = current_database()))",
        )
        .fetch_one(&mut database.superuser().await)
        .await
        .unwrap();
        if waiting {
            break;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "the upload does not wait for the lock");
    }
    program.signal(Signal::KILL);
    assert!(!upload.await.unwrap(), "it was answered");
    assert!(!program.wait().await.success());
    held.commit().await.unwrap();
    let program = Program::serve(&database).await;
    let caller = caller.at(&program.url);
    assert_eq!(uploaded(&caller, "rates", "key,issuer,rate\nEUR,,2\n").await["number"], 1);
    assert_eq!(stored(&database).await, (1, 1, 1));
    program.stop().await;
}
