//! The shipped components and their cases.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tollgate::domain::plugin::Profile;
use tollgate::rules::RuleEngine;
use tollgate::rules::cases::{self, PluginUnderTest};

use super::Engine;
use crate::sandbox::components::component;

pub fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Each shipped component with its folder of cases.
fn shipped() -> Vec<(PathBuf, PathBuf)> {
    let folders = sorted(Path::new("plugins")).into_iter().filter(|path| path.is_dir());
    let built = folders.filter_map(|folder| {
        let name = folder.file_name()?.to_owned();
        let wasm = folder.join(name).with_extension("wasm");
        wasm.exists().then(|| (wasm, folder.join("cases")))
    });
    built.collect()
}

#[tokio::test]
async fn every_case_of_every_shipped_plugin_succeeds() {
    let local = Engine::start();
    let shipped = shipped();
    assert!(!shipped.is_empty(), "no built plugin");
    let mut wrong = Vec::new();
    for (wasm, cases_folder) in shipped {
        let bytes: Arc<[u8]> = std::fs::read(&wasm).expect("it can be read").into();
        let plugin =
            local.engine.add_plugin(bytes.clone(), Profile::Large).await.expect("the plugin is accepted");
        let tried = PluginUnderTest { plugin: plugin.digest, bytes };
        assert_eq!(plugin.profile, Profile::Small, "{}", wasm.display());
        let files = sorted(&cases_folder);
        assert!(!files.is_empty(), "{} has no cases", wasm.display());
        for file in files {
            let text = std::fs::read_to_string(&file).expect("it can be read");
            let reports = cases::run(&local.engine, &tried, &text).await.expect("a case file");
            assert!(!reports.is_empty(), "{} is empty", file.display());
            let failed = reports.into_iter().filter_map(|report| Some((report.name, report.result.err()?)));
            wrong.extend(failed.map(|(name, why)| format!("{}: {name}\n{why:?}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test]
async fn a_failed_case_reports_the_expected_and_the_actual_result() {
    let local = Engine::start();
    let plugin = local.engine.add_plugin(component("good").into(), Profile::Small).await;
    let plugin = plugin.expect("a good rule").digest;
    let tried = PluginUnderTest { plugin, bytes: component("good").into() };
    let file = |expect: &str| {
        format!(
            r#"{{"payment": {{"id": "p", "reference": "r", "method": "card", "received_at_ms": 1,
                "amount": {{"minor": 1, "currency": "EUR", "exponent": 9}},
                "debtor": {{"name": "a", "account": {{"iban": "no iban"}}}}, "creditor": {{"name": "b"}}}},
                "settings": {{}}, "cases": [{{"name": "n", "expect": {expect}}}]}}"#
        )
    };
    let passed = json!({"verdict": "pass", "reasons": [], "notes": []});
    let query = r#"{"listed": {"list": "l", "selector": {"metadata": "k"}, "matching": "exact"}}"#;
    let with_query = format!(r#"{{"verdict": "pass", "queries": [{query}]}}"#);
    let wrong = [
        (r#"{"verdict": "reject"}"#, json!({"verdict": "reject", "reasons": []}), passed.clone()),
        (r#"{"verdict": "pass", "notes": ["a"]}"#, json!({"notes": ["a"]}), json!({"notes": []})),
        (
            r#"{"verdict": "pass", "reasons": [{"code": "a"}]}"#,
            json!({"reasons": [{"code": "a"}]}),
            json!({"reasons": []}),
        ),
        (r#"{"failure": "x"}"#, json!({"failure": "x"}), passed),
        (r#"{"refused_settings": []}"#, json!({"refused_settings": []}), json!("the settings were accepted")),
        (
            &with_query,
            serde_json::from_str(&format!(r#"{{"queries": [{query}]}}"#)).expect("JSON"),
            json!({"queries": []}),
        ),
    ];
    for (expect, expected, got) in wrong {
        let reports = cases::run(&local.engine, &tried, &file(expect)).await.expect("a case file");
        let difference = reports[0].result.clone().expect_err(expect);
        assert_eq!((difference.expected, difference.got), (expected, got), "{expect}");
    }
    let reports = cases::run(&local.engine, &tried, &file(r#"{"verdict": "pass"}"#)).await;
    assert_eq!(reports.expect("a case file")[0].result, Ok(()));
}
