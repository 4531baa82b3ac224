//! The plugins that are shipped, as built, against their own cases.

use std::path::{Path, PathBuf};

use tollgate::domain::plugin::Profile;
use tollgate::rules::{RuleEngine, cases};

use crate::harness::Harness;

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// The built plugin of each folder that has one, with its folder of cases.
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
async fn every_case_of_every_shipped_plugin_holds() {
    let harness = Harness::start();
    let shipped = shipped();
    assert!(!shipped.is_empty(), "no built plugin");
    let mut wrong = Vec::new();
    for (wasm, cases_folder) in shipped {
        let bytes = std::fs::read(&wasm).expect("it can be read");
        let plugin = harness.engine.add_plugin(bytes.into()).await.expect("it is taken in");
        assert_eq!(plugin.profile, Profile::Small, "{}", wasm.display());
        let files = sorted(&cases_folder);
        assert!(!files.is_empty(), "{} has no cases", wasm.display());
        for file in files {
            let text = std::fs::read_to_string(&file).expect("it can be read");
            let reports = cases::run(&harness.engine, plugin.digest, &text).await.expect("a case file");
            assert!(!reports.is_empty(), "{} is empty", file.display());
            let failed = reports.into_iter().filter_map(|report| Some((report.name, report.result.err()?)));
            wrong.extend(failed.map(|(name, why)| format!("{}: {name}\n{why}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test]
async fn a_case_that_does_not_hold_says_what_was_expected_and_what_came() {
    let harness = Harness::start();
    let plugin = harness.add("good").await;
    let file = |expect: &str| {
        format!(
            r#"{{"payment": {{"id": "p", "reference": "r", "method": "card", "received_at_ms": 1,
                "amount": {{"minor": 1, "currency": "EUR", "exponent": 9}},
                "debtor": {{"name": "a", "account": {{"iban": "no iban"}}}}, "creditor": {{"name": "b"}}}},
                "settings": {{}}, "cases": [{{"name": "n", "expect": {expect}}}]}}"#
        )
    };
    let wrong = [
        (r#"{"verdict": "reject"}"#, "expected reject\ngot Pass"),
        (r#"{"verdict": "pass", "notes": ["a"]}"#, "expected notes [\"a\"]\ngot []"),
        (r#"{"verdict": "pass", "reasons": [{"code": "a"}]}"#, "expected reasons"),
        (r#"{"failure": "x"}"#, "expected a failure with 'x'\ngot Ran"),
        (r#"{"refused_settings": []}"#, "expected the settings to be refused"),
        (
            r#"{"verdict": "pass", "queries": [{"listed": {"list": "l", "selector": "ip", "matching": "exact"}}]}"#,
            "expected queries [Listed",
        ),
    ];
    for (expect, told) in wrong {
        let reports = cases::run(&harness.engine, plugin, &file(expect)).await.expect("a case file");
        let why = reports[0].result.clone().expect_err(expect);
        assert!(why.contains(told), "{why}");
    }
    let reports = cases::run(&harness.engine, plugin, &file(r#"{"verdict": "pass"}"#)).await;
    assert_eq!(reports.expect("a case file")[0].result, Ok(()));
}
