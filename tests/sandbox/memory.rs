//! How many compiled plugins stay in memory, by what the kernel says of this process.

use std::collections::HashSet;
use std::path::Path;

use tollgate::rules::RuleEngine as _;

use super::harness::Harness;
use super::harness::components::{component_of, good_rule};
use super::passes;

/// Compiled plugins that are mapped into this process, by what the kernel says.
fn loaded_from(cache_dir: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the kernel tells");
    let folder = format!("{}/", cache_dir.display());
    let code = maps.lines().filter(|line| line.contains(" r-xp ") && line.contains(&folder));
    let files = code.filter_map(|line| line.split(&folder).nth(1));
    files.collect::<HashSet<&str>>().len()
}

#[tokio::test]
async fn more_plugins_than_memory_may_hold_all_answer_and_never_more_are_loaded() {
    const LOADED_MAX: usize = 3;
    let harness = Harness::with(|settings| settings.loaded_max = LOADED_MAX);
    let mut plugins = Vec::new();
    for number in 0..8 {
        let rule = component_of(&good_rule(&format!("Is rule {number:02}.")));
        plugins.push(harness.engine.add_plugin(rule.into()).await.expect("a good rule").digest);
        assert!(loaded_from(&harness.cache_dir()) <= LOADED_MAX);
    }
    assert_eq!(loaded_from(&harness.cache_dir()), LOADED_MAX);
    for round in 0..5 {
        for place in 0..plugins.len() {
            let [one, other] = [place, place * 3 + round].map(|place| &plugins[place % plugins.len()]);
            let runs = harness.evaluate(&[one, other]).await.expect("the engine serves");
            assert!(runs.iter().all(|run| run.result == passes()), "{runs:?}");
            assert!(loaded_from(&harness.cache_dir()) <= LOADED_MAX, "what left memory is unmapped");
        }
    }
}
