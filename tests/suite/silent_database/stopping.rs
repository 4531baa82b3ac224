//! Stopping a node whose database has gone silent.

use rustix::process::Signal;

use crate::support::database::TestDatabase;
use crate::support::program::{Program, tollgate_on};
use crate::support::service::payment;
use crate::support::silent_proxy::SilentProxy;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_hanging_database_stops_on_request_and_logs_what_it_abandoned() {
    let database = TestDatabase::create().await;
    let proxy = SilentProxy::start(database.databases().journal.options());
    let mut command = tollgate_on(&database, &["serve"]);
    command.env(
        "ROCKET_DATABASES",
        format!("{{main={{url={:?},max_connections=4}}}}", proxy.url(&database.url)),
    );
    let mut program = Program::start(command).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    assert!(caller.pay("before", &payment()).await.0.is_success());

    proxy.silence_everything();
    let under_way: Vec<_> = (0..10)
        .map(|place| {
            let caller = caller.clone();
            tokio::spawn(async move { caller.pay(&format!("under-way-{place}"), &payment()).await })
        })
        .collect();
    for request in under_way {
        let (status, response) = request.await.unwrap();
        assert!(status.is_server_error(), "{response}");
    }
    program.signal(Signal::TERM);
    let status = program.wait().await;
    assert_eq!(status.code(), Some(0), "{}", program.log());
    assert!(program.log().contains("took too long and was abandoned"), "{}", program.log());
    assert!(program.lines().last().unwrap().contains("stopped"), "{}", program.log());

    // Payments without a response are neither lost nor duplicated: a retry on another node returns
    // the stored decision, if there is one.
    let again = Program::serve(&database).await;
    let caller = caller.at(&again.url);
    for place in 0..10 {
        let key = format!("under-way-{place}");
        let (status, response) = caller.pay(&key, &payment()).await;
        assert!(status.is_success(), "{response}");
        assert_eq!(caller.pay(&key, &payment()).await.1, response);
    }
    again.stop().await;
    assert_eq!(crate::journal::chain::verify(&database).await, 11);
}
