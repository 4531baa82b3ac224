//! A node that stops: what is under way is answered, and nothing else is waited for.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use rustix::process::Signal;
use sqlx::{Connection, PgConnection};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT, tollgate_on};
use crate::support::raw_client::{RawClient, RawRequest, address_of};

async fn wait_for_a_waiting_statement(transaction: &mut PgConnection) {
    let begun = Instant::now();
    let waiting = "select exists (select from pg_locks where not granted
                   and database = (select oid from pg_database where datname = current_database()))";
    while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut *transaction).await.unwrap() {
        assert!(begun.elapsed() < TEST_TIMEOUT, "nothing waits");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_node_answers_what_is_under_way_closes_idle_connections_and_refuses_new_ones() {
    let database = TestDatabase::create().await;
    let mut command = tollgate_on(&database, &["serve"]);
    // Longer than this test waits for anything: only what is under way keeps the node up.
    command.env("ROCKET_SHUTDOWN", "{grace=600}");
    let mut program = Program::start(command).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    let connect = async || RawClient::connect(&program.url).await;

    let silent = connect().await;
    let mut idle = connect().await;
    idle.send(&RawRequest::payment(&caller, "before").bytes()).await;
    assert_eq!(idle.answer().await.expect("an answer").status, 201);
    let mut half = connect().await;
    half.send(b"GET /health HTTP/1.1\r\nHost: a\r\n").await;

    // The journal is locked, so these requests stay open.
    let mut superuser = database.superuser().await;
    let mut transaction = superuser.begin().await.unwrap();
    sqlx::raw_sql("lock table decisions in access exclusive mode").execute(&mut *transaction).await.unwrap();
    let mut under_way = Vec::new();
    for place in 0..5 {
        let mut client = connect().await;
        client.send(&RawRequest::payment(&caller, &format!("under-way-{place}")).bytes()).await;
        under_way.push(client);
    }
    wait_for_a_waiting_statement(&mut transaction).await;

    program.signal(Signal::TERM);
    // All this while the payments still wait.
    assert_eq!(silent.rest().await, b"");
    assert_eq!(idle.rest().await, b"");
    half.rest().await;
    let begun = Instant::now();
    while TcpStream::connect(address_of(&program.url)).await.is_ok() {
        assert!(begun.elapsed() < TEST_TIMEOUT, "connections are still taken");
        sleep(Duration::from_millis(5)).await;
    }
    transaction.rollback().await.unwrap();
    for mut client in under_way {
        let answer = client.answer().await.expect("an answer");
        answer.has_common_headers("under way");
        assert_eq!(StatusCode::from_u16(answer.status).unwrap(), StatusCode::CREATED, "{answer:?}");
        assert_eq!(client.rest().await, b"", "nothing keeps the connection");
    }
    assert!(program.wait().await.success(), "{}", program.log());
    let stored: i64 =
        sqlx::query_scalar("select count(*) from decisions").fetch_one(&mut superuser).await.unwrap();
    assert_eq!(stored, 6);
}
