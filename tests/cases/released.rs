//! Rules as they were released, with their cases: what they get and answer must never change.
//!
//! `fuel.json` has the fuel of each case on the host of their release. A rule that reads other
//! input, or another number of bytes, uses other fuel. A file is never changed after a release.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tollgate::domain::plugin::Profile;
use tollgate::rules::RuleEngine;
use tollgate::rules::cases::{self, PluginUnderTest};

use super::Engine;
use super::shipped::sorted;

type FuelByCase = BTreeMap<String, u64>;

#[tokio::test]
async fn rules_of_contract_1_0_answer_as_released_and_with_the_same_fuel() {
    let local = Engine::start();
    let folder = Path::new("tests/released/1.0.0");
    let text = std::fs::read_to_string(folder.join("fuel.json")).expect("the fuel");
    let released: BTreeMap<String, FuelByCase> = serde_json::from_str(&text).expect("the fuel");
    assert_eq!(released.len(), 4);
    for (rule, fuel) in released {
        let bytes: Arc<[u8]> = std::fs::read(folder.join(format!("{rule}.wasm"))).expect("the rule").into();
        let added = local.engine.add_plugin(bytes.clone(), Profile::Small).await;
        let plugin = added.unwrap_or_else(|error| panic!("{rule}: {error}"));
        assert_eq!((plugin.contract.as_str(), plugin.profile), ("1.0.0", Profile::Small));
        let under_test = PluginUnderTest { plugin: plugin.digest, bytes };
        let mut used = FuelByCase::new();
        for file in sorted(&folder.join("cases").join(&rule)) {
            let text = std::fs::read_to_string(&file).expect("cases");
            for report in cases::run(&local.engine, &under_test, &text).await.expect("a case file") {
                assert_eq!(report.result, Ok(()), "{}: {}", file.display(), report.name);
                used.insert(report.name, report.fuel_used);
            }
        }
        assert_eq!(used, fuel, "{rule}");
    }
}
