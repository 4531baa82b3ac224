//! Each process starts only what its roles need.

use reqwest::StatusCode;
use serde_json::json;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::{Socket, Worker, exists, process_asking};
use crate::support::components::component;
use crate::support::database::TestDatabase;
use crate::support::program::{run_command, tollgate};
use crate::support::service::payment_with;

async fn status(url: &str, path: &str) -> StatusCode {
    reqwest::get(format!("{url}{path}")).await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_do_together_what_one_does() {
    let (database, socket) = (TestDatabase::create().await, Socket::new());
    let worker = Worker::at(&socket.address()).await;
    let api = process_asking(&database, "api", &[socket.address()], "in_process").await;
    let background = process_asking(&database, "background", &[socket.address()], "failure_outcome").await;
    for (process, roles) in [(&worker.program, "rules"), (&api, "api"), (&background, "background")] {
        let told = process.log();
        assert!(told.contains(&format!("roles={roles} ")), "{told}");
        for path in ["/health", "/ready", "/metrics"] {
            assert_eq!(status(&process.url, path).await, StatusCode::OK, "{roles} {path}");
        }
        let openapi = status(&process.url, "/api/v1/openapi.json").await;
        assert_eq!(openapi == StatusCode::OK, roles == "api", "{roles}: {openapi}");
    }

    // The API only takes the upload, the background process sees to it, the worker compiles.
    let caller = api.caller_of_new_tenant(&database, "acme").await;
    let plugin = caller.upload(component("good")).await;
    caller.activate_entries(&json!([{"name": "good", "plugin": plugin["digest"], "settings": {}}])).await;
    let (paid, decision) = caller.pay("one", &payment_with(&json!({}))).await;
    assert_eq!((paid, &decision["outcome"]), (StatusCode::CREATED, &json!("approve")), "{decision}");

    // The worker last, since the others ask it until they end.
    for process in [api, background, worker.program] {
        process.stop().await;
    }
    assert!(!exists(&socket.path()), "the socket is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_health_asks_the_server_of_its_configuration() {
    let socket = Socket::new();
    let worker = Worker::at(&socket.address()).await;
    let port = worker.program.url.rsplit(':').next().unwrap().to_owned();
    let asks = async |arguments: &'static [&str]| {
        let mut command = tollgate(arguments);
        command.env("ROCKET_PORT", &port);
        tokio::task::spawn_blocking(move || run_command(command)).await.unwrap()
    };
    let (ended, told, _) = asks(&["health"]).await;
    assert!(ended.success() && told.contains("up"), "{told}");
    let (ended, told, _) = asks(&["health", "--ready"]).await;
    assert!(ended.success() && told.contains("ready"), "{told}");
    worker.program.stop().await;
    let (ended, _, error) = asks(&["health"]).await;
    assert!(!ended.success() && error.contains("tollgate:"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_the_place_of_one_that_was_killed_and_not_of_one_that_runs() {
    let socket = Socket::new();
    let mut first = Worker::at(&socket.address()).await;
    let mut second = tollgate(&["serve", "--roles", "rules"]);
    second.env("ROCKET_TOLLGATE_RULES", format!("{{listen={:?}}}", socket.address()));
    let (ended, _, told) = tokio::task::spawn_blocking(move || run_command(second)).await.unwrap();
    assert!(!ended.success() && told.contains("`tollgate.rules.listen`"), "{told}");
    first.kill().await;
    assert!(exists(&socket.path()));
    Worker::at(&socket.address()).await.program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_has_the_standard_services_for_health_and_reflection() {
    let worker = Worker::at("127.0.0.1:0").await;
    let address = worker.rules_at();
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let service = "tollgate.rules.v1.RuleEngine";
    let health = HealthClient::new(channel.clone())
        .check(HealthCheckRequest { service: service.to_owned() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(health.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);

    let ask = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(futures::stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().expect("an answer").message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = answer else { panic!("{answer:?}") };
    assert!(listed.service.iter().any(|listed| listed.name == service), "{listed:?}");
    worker.program.stop().await;
}

#[test]
fn roles_that_lack_a_setting_are_refused_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    for (roles, rules, told) in [
        ("rules", "{}", "`tollgate.rules.listen`"),
        ("api", "{}", "`tollgate.rules.workers`"),
        ("background,api", "{}", "`tollgate.rules.workers`"),
        ("api", "{workers=[\"https://rules.internal:8200\"]}", "`tollgate.rules.tls`"),
        ("rules", "{listen=\"0.0.0.0:0\"}", "`tollgate.rules.tls`"),
        ("api", "{workers=[\"http://rules.internal:8200\"]}", "https://"),
        ("api", "{workers=[\"rules.internal\"]}", "https://name:port"),
        ("api", "{workers=[\"unix:/tmp/s\"],fallback=\"none\"}", "in_process"),
        (
            "rules",
            "{listen=\"0.0.0.0:0\",tls={certificates=\"/nowhere\",key=\"/nowhere\",authorities=\"/nowhere\"}}",
            "`tollgate.rules.tls.certificates`: the file /nowhere",
        ),
        ("everything", "{}", "expected api, rules or background"),
    ] {
        let mut command = tollgate(&["serve", "--roles", roles]);
        command.env("ROCKET_TOLLGATE_RULES", rules).env_remove("ROCKET_TOLLGATE_ROOT_SECRET");
        command.env("ROCKET_TOLLGATE_DATA_DIR", folder.path());
        let (ended, _, error) = run_command(command);
        assert!(!ended.success() && error.contains(told), "{roles} {rules}: {error}");
    }
}
