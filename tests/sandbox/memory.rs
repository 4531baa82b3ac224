//! The memory that compiled plugins use, as the kernel reports it for this process.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use tollgate::domain::plugin::Profile;
use tollgate::rules::AddPluginError;

use super::compiling::compiler;
use super::harness::components::{component_of, good_rule};
use super::harness::{Harness, component};
use super::passes;

/// The compiled plugins that are mapped into this process, according to the kernel.
fn count_loaded(cache_dir: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
    let folder = format!("{}/", cache_dir.display());
    let code = maps.lines().filter(|line| line.contains(" r-xp ") && line.contains(&folder));
    let files = code.filter_map(|line| line.split(&folder).nth(1));
    files.collect::<HashSet<&str>>().len()
}

#[tokio::test]
async fn plugins_beyond_the_memory_limit_all_work_and_the_limit_holds() {
    const LOADED_MAX: usize = 3;
    let harness = Harness::with(|settings| settings.loaded_max = LOADED_MAX);
    let mut plugins = Vec::new();
    for number in 0..8 {
        let rule = component_of(&good_rule(&format!("Is rule {number:02}.")));
        plugins
            .push(harness.engine.add_plugin(rule.into(), Profile::Large).await.expect("a good rule").digest);
        assert!(count_loaded(&harness.cache_dir()) <= LOADED_MAX);
    }
    assert_eq!(count_loaded(&harness.cache_dir()), LOADED_MAX);
    for round in 0..5 {
        for place in 0..plugins.len() {
            let [one, other] = [place, place * 3 + round].map(|place| &plugins[place % plugins.len()]);
            let runs = harness.evaluate(&[one, other]).await.expect("the engine serves");
            assert!(runs.iter().all(|run| run.result == passes()), "{runs:?}");
            assert!(count_loaded(&harness.cache_dir()) <= LOADED_MAX, "what left memory is unmapped");
        }
    }
}

/// The peak of resident memory.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("/proc");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// The peak is per process, so the test runs itself as a new process for each case.
#[tokio::test]
async fn the_output_of_the_compiler_is_held_in_memory_only_if_the_cache_is_unusable() {
    const CACHE: &str = "TOLLGATE_TEST_CACHE";
    const ANSWER_BYTES: u64 = 60 << 20;
    let Ok(cache) = std::env::var(CACHE) else {
        let name =
            "sandbox::memory::the_output_of_the_compiler_is_held_in_memory_only_if_the_cache_is_unusable";
        for cache in ["usable", "none"] {
            let mut anew = Command::new(std::env::current_exe().expect("this test's binary"));
            let output = anew.args(["--exact", name]).env(CACHE, cache).output().expect("it starts");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{cache}: {said}");
        }
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let zeros = compiler(folder.path(), &format!("exec head -c {ANSWER_BYTES} /dev/zero"));
    let harness = Harness::with(|settings| settings.compiler_exe = zeros);
    if cache == "none" {
        std::fs::remove_dir_all(harness.cache_dir()).expect("the cache can be removed");
        std::fs::write(harness.cache_dir(), b"").expect("a file in its place");
    }
    let before = peak_memory_bytes();
    let added = harness.engine.add_plugin(component("good").into(), Profile::Large).await;
    assert!(matches!(added, Err(AddPluginError::NeedsLarge | AddPluginError::Refused(_))), "{added:?}");
    let taken = peak_memory_bytes() - before;
    assert_eq!(taken >= ANSWER_BYTES, cache == "none", "{taken} bytes");
    assert!(!(ANSWER_BYTES / 2..ANSWER_BYTES).contains(&taken), "{taken} bytes");
}
