//! The command line and its error messages.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::components::{compile_bomb, component};
use crate::support::database::TestDatabase;
use crate::support::program::{run_command, tollgate, tollgate_in, tollgate_on};
use crate::support::service::{ROOT_SECRET, shipped_plugins};

/// Asserts that the command fails with all of these words and without the secret. Returns its error
/// output.
fn assert_refused(command: Command, words: &[&str]) -> String {
    let (status, stdout, log) = run_command(command);
    assert_eq!(status.code(), Some(1), "{stdout}\n{log}");
    for word in words {
        assert!(log.contains(word), "{word} is missing:\n{log}");
    }
    assert!(!log.contains(ROOT_SECRET) && !stdout.contains(ROOT_SECRET), "{stdout}\n{log}");
    log
}

fn assert_success(command: Command) -> String {
    let (status, stdout, log) = run_command(command);
    assert!(status.success(), "{stdout}\n{log}");
    assert!(!log.contains(ROOT_SECRET), "{log}");
    stdout
}

#[test]
fn a_wrong_setting_prevents_the_start_and_the_error_has_the_allowed_values() {
    for (name, value, words) in [
        ("ROCKET_PROT", "9000", ["`prot`", "port"]),
        ("ROCKET_PORT", "many", ["PORT", "u16"]),
        ("ROCKET_TOLLGATE_DEADLINE", "1000", ["deadline", "deadline_ms"]),
        ("ROCKET_TOLLGATE_DEADLINE_MS", "5", ["tollgate.deadline_ms", "100 to 60000"]),
        ("ROCKET_TOLLGATE_LOG_FORMAT", "xml", ["LOG_FORMAT", "json"]),
        ("ROCKET_TOLLGATE_LOG_FILTER", "=[=", ["tollgate.log_filter", "invalid"]),
        ("ROCKET_DATABASES", "{main={uri=\"postgres://x\"}}", ["`url`", "DATABASES.MAIN"]),
        ("ROCKET_DATABASES", "{other={url=\"postgres://x\"}}", ["other", "main"]),
    ] {
        let mut command = tollgate(&["serve"]);
        command.env(name, value);
        assert_refused(command, &words);
    }
}

#[test]
fn outside_the_debug_profile_a_missing_database_is_an_error_with_advice() {
    for arguments in [["serve"].as_slice(), &["migrate"], &["tenant", "create", "acme"]] {
        let mut command = tollgate(arguments);
        command.env("ROCKET_PROFILE", "release");
        assert_refused(command, &["databases.main.url", "ROCKET_DATABASES='{main={url=\"postgres://"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_an_error() {
    let database = TestDatabase::create().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = tollgate_on(&database, &["serve"]);
    command.env("ROCKET_PORT", taken.local_addr().unwrap().port().to_string());
    assert_refused(command, &["tollgate: ", "in use"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_root_secret_is_refused_and_not_shown() {
    let database = TestDatabase::create().await;
    let mut command = tollgate_on(&database, &["serve"]);
    command.env("ROCKET_TOLLGATE_ROOT_SECRET", "too-short-and-hush-hush");
    let log = assert_refused(command, &["root secret"]);
    assert!(!log.contains("hush-hush"), "{log}");
}

#[test]
fn an_unreachable_database_is_an_error_that_does_not_show_the_password() {
    let mut command = tollgate(&["migrate"]);
    command.env("ROCKET_DATABASES", "{main={url=\"postgres://ann:hush-hush@127.0.0.1:9/tollgate\"}}");
    let log = assert_refused(command, &["the database cannot be used"]);
    assert!(!log.contains("hush-hush"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_and_clients_are_created_once_and_mistakes_are_explained() {
    let database = TestDatabase::create().await;
    let tollgate = |arguments: &[&str]| tollgate_on(&database, arguments);
    assert!(assert_success(tollgate(&["tenant", "create", "acme"])).starts_with("tenant acme: "));
    assert_refused(tollgate(&["tenant", "create", "acme"]), &["the tenant acme already exists"]);
    for name in
        ["", "Acme", "a b", "-acme", "acme-", "a--b", "äcme", "a'; drop table tenants", &"a".repeat(65)]
    {
        assert_refused(tollgate(&["tenant", "create", "--", name]), &["lower-case words joined by hyphens"]);
    }

    let client = |tenant: &str, name: &str, scopes: &str| {
        let mut command = tollgate(&["client", "create", "--tenant", tenant, "--name", name]);
        command.args(["--scopes", scopes]);
        command
    };
    assert_refused(
        client("nobody", "till", "payments:write"),
        &["no tenant nobody", "tollgate tenant create nobody"],
    );
    for scopes in ["payments:fly", "", "payments:write,payments:read"] {
        assert_refused(client("acme", "till", scopes), &["--scopes", "payments:write payments:read"]);
    }
    for name in ["", "two\nlines", &"a".repeat(101)] {
        assert_refused(client("acme", name, "payments:write"), &["a client name"]);
    }
    let (status, stdout, log) = run_command(client("acme", "till", "payments:write payments:read"));
    assert!(status.success(), "{log}");
    let secret = stdout.lines().find_map(|line| line.strip_prefix("client_secret=")).unwrap();
    assert!(secret.len() >= 32 && !log.contains(secret), "{log}");
    let found: (i64, bool) =
        sqlx::query_as("select count(*), bool_or(clients::text like '%' || $1 || '%') from clients")
            .bind(secret)
            .fetch_one(&mut database.superuser().await)
            .await
            .unwrap();
    assert_eq!(found, (1, false), "one client, and its secret is not stored");
    assert_success(tollgate(&["migrate"]));
}

#[test]
fn an_unknown_command_or_argument_prints_the_usage() {
    for arguments in [["fly"].as_slice(), &["tenant"], &["client", "create"], &["plugin", "run", "x.wasm"]] {
        let (status, _, log) = run_command(tollgate(arguments));
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains("Usage: tollgate"), "{log}");
    }
}

/// Another test covers a machine without Postgres.
#[test]
fn missing_postgres_programs_are_named() {
    let folder = crate::private_server::folder();
    let mut command = tollgate_in(folder.path(), &["migrate"]);
    command.env("PG_BIN", folder.path());
    assert_refused(
        command,
        &["the private Postgres cannot be used", "PG_BIN", folder.path().to_str().unwrap()],
    );
}

fn shipped(name: &str) -> PathBuf {
    shipped_plugins().join(name).join(format!("{name}.wasm"))
}

fn plugin(arguments: &[&Path]) -> Command {
    let mut command = tollgate(&["plugin"]);
    command.args(arguments);
    command
}

#[test]
fn a_shipped_plugin_is_checked_and_passes_its_cases() {
    let rule = shipped("amount-limits");
    let stdout = assert_success(plugin(&["check".as_ref(), &rule]));
    for words in
        ["amount-limits ", "contract   tollgate:rules@", "digest ", "settings   limits, without_limit"]
    {
        assert!(stdout.contains(words), "{words} is missing:\n{stdout}");
    }
    assert!(stdout.lines().count() < 10, "{stdout}");
    let cases = shipped_plugins().join("amount-limits/cases");
    let stdout = assert_success(plugin(&[
        "run".as_ref(),
        &rule,
        &cases.join("limits.json"),
        &cases.join("settings.json"),
    ]));
    assert!(stdout.contains("amount-limits: ") && stdout.contains(" 0 failed"), "{stdout}");
}

#[test]
fn the_report_on_a_plugin_is_available_as_json() {
    let rule = shipped("amount-limits");
    let json = |command| serde_json::from_str::<Value>(&assert_success(command)).expect("JSON");
    let checked = json(plugin(&["check".as_ref(), &rule, "--json".as_ref()]));
    assert_eq!((&checked["name"], &checked["taken"]), (&json!("amount-limits"), &json!(true)));
    assert_eq!(checked["limits"]["compile_cpu_s"], 10, "{checked}");
    assert_eq!(checked["settings_schema"]["type"], "object", "{checked}");

    let cases = shipped_plugins().join("amount-limits/cases/limits.json");
    let ran = json(plugin(&["run".as_ref(), &rule, &cases, "--json".as_ref()]));
    assert_eq!(ran["failed"], 0, "{ran}");
    let first = &ran["cases"][0];
    assert_eq!((&first["passed"], &first["difference"]), (&json!(true), &Value::Null), "{ran}");
    assert!(first["fuel_used"].as_u64().unwrap() > 0, "{ran}");
}

#[test]
fn a_plugin_is_checked_under_the_configured_limits_and_the_exceeded_limit_is_named() {
    let rule = shipped("amount-limits");
    let check = |key: &str, value: &str, more: &[&str]| {
        let mut command = plugin(&["check".as_ref(), &rule]);
        command.args(more).env(key, value);
        command
    };
    let words = ["amount-limits.wasm: ", "at most 4096 are accepted (plugin_size_max_bytes)"];
    assert_refused(check("ROCKET_TOLLGATE_PLUGIN_SIZE_MAX_BYTES", "4096", &[]), &words);
    let (status, stdout, _) =
        run_command(check("ROCKET_TOLLGATE_PLUGIN_SIZE_MAX_BYTES", "4096", &["--json"]));
    let stdout: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(
        (status.code(), &stdout["taken"], &stdout["size_max_bytes"]),
        (Some(1), &json!(false), &json!(4096))
    );
    let stdout = assert_success(check("ROCKET_TOLLGATE_COMPILE_CPU_S", "77", &[]));
    assert!(stdout.contains("limit 77 s of processor time"), "{stdout}");
    assert_refused(check("ROCKET_TOLLGATE_COMPILE_CPU_S", "0", &[]), &["tollgate.compile_cpu_s", "1 to 600"]);
    // Plugin commands need no database.
    assert!(assert_success(check("ROCKET_PROFILE", "release", &[])).contains("digest "));

    let folder = tempfile::tempdir().unwrap();
    let bomb = folder.path().join("bomb.wasm");
    std::fs::write(&bomb, compile_bomb()).unwrap();
    let mut command = plugin(&["check".as_ref(), &bomb]);
    command.env("ROCKET_TOLLGATE_COMPILE_CPU_S", "2");
    assert_refused(
        command,
        &["bomb.wasm: ", "more than 2 s of processor time (the limit is set by compile_cpu_s)"],
    );
}

#[test]
fn the_failure_of_a_rule_in_a_case_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let (rule, cases) = (folder.path().join("rule.wasm"), folder.path().join("cases.json"));
    std::fs::write(&rule, component("panic_message")).unwrap();
    let payment = json!({"id": "p", "reference": "r", "method": "card", "received_at_ms": 1,
        "amount": {"minor": 1, "currency": "EUR", "exponent": 2}, "debtor": {"name": "a"}, "creditor": {"name": "b"}});
    let case = json!({"name": "it passes", "expect": {"verdict": "pass"}});
    let file = json!({"payment": payment, "settings": {}, "cases": [case]});
    std::fs::write(&cases, file.to_string()).unwrap();
    let (status, stdout, log) = run_command(plugin(&["run".as_ref(), &rule, &cases]));
    assert_eq!(status.code(), Some(1), "{stdout}\n{log}");
    for words in [
        r#"expected {"reasons":[],"verdict":"pass"}"#,
        r#""class":"unreachable""#,
        "message  panicked at src/lib.rs:7:9: the list is empty [31m",
        "cause    It stopped itself",
        "in       ",
    ] {
        assert!(stdout.contains(words), "{words} is missing:\n{stdout}");
    }
    assert!(!stdout.contains('\u{1b}'), "{stdout:?}");
}

/// A core module with the contract, as a compiler produces it with the SDK.
fn core_module() -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut core = wat::parse_file(root.join("tests/hostile/good.wat")).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(root.join("plugins/wit/1.0.0")).unwrap();
    let world = resolve.select_world(&[package], Some("payment-rule")).unwrap();
    wit_component::embed_component_metadata(&mut core, &resolve, world, wit_component::StringEncoding::UTF8)
        .unwrap();
    core
}

#[test]
fn a_core_module_becomes_a_component_that_passes_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let core = folder.path().join("good.wasm");
    std::fs::write(&core, core_module()).unwrap();
    let component = folder.path().join("good.component.wasm");
    let stdout = assert_success(plugin(&["build".as_ref(), &core]));
    assert!(stdout.contains(component.to_str().unwrap()), "{stdout}");
    assert!(assert_success(plugin(&["check".as_ref(), &component])).contains("digest "));

    let named = folder.path().join("named.wasm");
    assert_success(plugin(&["build".as_ref(), &core, "--output".as_ref(), &named]));
    assert_eq!(std::fs::read(named).unwrap(), std::fs::read(component).unwrap());
}

#[test]
fn a_core_module_with_an_import_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let core = folder.path().join("forbidden.wasm");
    std::fs::write(&core, wat::parse_str("(module (import \"clock\" \"now\" (func)))").unwrap()).unwrap();
    assert_refused(plugin(&["build".as_ref(), &core]), &["clock", "now"]);
}

#[test]
fn a_failed_case_is_reported_and_fails_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let cases = std::fs::read_to_string(shipped_plugins().join("amount-limits/cases/settings.json")).unwrap();
    let wrong = folder.path().join("wrong.json");
    std::fs::write(&wrong, cases.replace("\"verdict\": \"pass\"", "\"verdict\": \"allow\"")).unwrap();
    let (status, stdout, _) = run_command(plugin(&["run".as_ref(), &shipped("amount-limits"), &wrong]));
    assert_eq!(status.code(), Some(1), "{stdout}");
    assert!(
        stdout.contains("wrong.json: a payment without a limit can pass") && stdout.contains(" 1 failed"),
        "{stdout}"
    );

    std::fs::write(&wrong, "{\"cases\": 1}").unwrap();
    assert_refused(
        plugin(&["run".as_ref(), &shipped("amount-limits"), &wrong]),
        &["wrong.json: not a case file"],
    );
    assert_refused(
        plugin(&["run".as_ref(), &shipped("amount-limits"), &folder.path().join("none.json")]),
        &["none.json"],
    );
}

#[test]
fn a_core_module_is_refused_with_the_command_that_makes_a_component() {
    let folder = tempfile::tempdir().unwrap();
    let core = folder.path().join("core.wasm");
    std::fs::write(&core, wat::parse_str("(module)").unwrap()).unwrap();
    assert_refused(plugin(&["check".as_ref(), &core]), &["tollgate plugin build"]);
    std::fs::write(&core, "no wasm at all").unwrap();
    assert_refused(plugin(&["check".as_ref(), &core]), &["tollgate: ", "core.wasm: "]);
    assert_refused(plugin(&["run".as_ref(), &core, &core]), &["core.wasm: "]);
    assert_refused(plugin(&["build".as_ref(), &core]), &["tollgate: ", "core.wasm: "]);
    assert_refused(plugin(&["build".as_ref(), &shipped("amount-limits")]), &["tollgate: "]);
    assert_refused(plugin(&["check".as_ref(), &folder.path().join("none.wasm")]), &["none.wasm"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a refused build leaves nothing behind");
}
