//! Plugins in memory and in the cache on disk, and the limits under which they are compiled.

use std::sync::Arc;
use std::time::Duration;

use tollgate::domain::plugin::Profile;
use tollgate::domain::verdict::FailureClass::Unreachable;
use tollgate::domain::verdict::RuleResult;
use tollgate::rules::AddPluginError;

use super::harness::components::with_section;
use super::harness::{Harness, component, tenant};
use super::hostile::{assert_fails, refusal};
use super::passes;

#[tokio::test]
async fn concurrent_uploads_of_the_same_bytes_are_compiled_once() {
    let harness = Harness::start();
    let bytes: Arc<[u8]> = component("good").into();
    let added =
        futures::future::join_all((0..6).map(|_| harness.engine.add_plugin(bytes.clone(), Profile::Large)))
            .await;
    let first = added[0].clone().expect("the plugin is accepted");
    assert_eq!((first.profile, first.contract.as_str()), (Profile::Small, "1.0.0"));
    assert!(first.compile_ms > 0);
    for other in added {
        assert_eq!(other.as_ref(), Ok(&first), "one compilation, one time");
    }
}

#[tokio::test]
async fn an_evicted_plugin_is_loaded_from_disk_and_is_unavailable_if_its_file_is_gone() {
    let harness = Harness::with(|settings| settings.loaded_max = 1);
    let good = harness.add("good").await;
    let other = harness.add("unreachable").await;
    let runs = harness.evaluate(&[&good, &other, &good]).await.expect("the engine serves");
    assert_eq!((&runs[0].result, &runs[2].result), (&passes(), &passes()));

    std::fs::remove_dir_all(harness.cache_dir()).expect("the cache can be deleted");
    let runs = harness.evaluate(&[&good, &other]).await.expect("the engine serves");
    assert_eq!(runs[0].result, passes(), "still in memory");
    assert_eq!(runs[1].result, RuleResult::Unavailable);
}

#[tokio::test]
async fn an_unusable_cache_folder_makes_no_call_fail() {
    let harness = Harness::with(|settings| settings.loaded_max = 2);
    let good = harness.add("good").await;
    let path = harness.only_file_in_cache();
    std::fs::remove_file(&path).expect("the compiled plugin can be removed");
    std::fs::create_dir_all(path.join("not-empty")).expect("a folder in its place");
    let harness = harness.restart();
    assert_eq!(harness.add("good").await, good);
    std::fs::remove_dir_all(harness.cache_dir()).expect("the cache can be removed");
    std::fs::write(harness.cache_dir(), b"").expect("a file in its place");
    let harness = harness.restart();
    assert_eq!(harness.add("good").await, good);
    // A plugin that is not in the cache is evicted last.
    std::fs::remove_file(harness.cache_dir()).expect("the file can be removed");
    std::fs::create_dir(harness.cache_dir()).expect("a cache again");
    for fixture in ["unreachable", "roomy", "division_by_zero"] {
        harness.add(fixture).await;
    }
    let runs = harness.evaluate(&[&good]).await.expect("the engine serves");
    assert_eq!(runs[0].result, passes());
}

#[tokio::test]
async fn after_a_restart_plugins_come_from_the_cache_and_tampered_files_are_compiled_again() {
    let harness = Harness::start();
    let good = harness.add("good").await;
    let compile_ms =
        async |harness: &Harness| harness.engine.plugin(good).await.map(|plugin| plugin.compile_ms);
    let harness = harness.restart();
    assert_eq!(harness.engine.plugin(good).await, None);
    harness.add("good").await;
    assert_eq!(compile_ms(&harness).await, Some(0), "from the cache");

    let file = std::fs::read_dir(harness.cache_dir()).expect("the cache").next().expect("a file");
    let path = file.expect("an entry").path();
    let mut bytes = std::fs::read(&path).expect("the compiled plugin");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&path, bytes).expect("it can be damaged");
    let harness = harness.restart();
    harness.add("good").await;
    assert_ne!(compile_ms(&harness).await, Some(0), "compiled again");
    let runs = harness.evaluate(&[&good]).await.expect("the engine serves");
    assert_eq!(runs[0].result, passes());
}

#[tokio::test]
async fn an_evicted_plugin_without_a_compiled_file_is_compiled_again_when_it_is_added() {
    let harness = Harness::with(|settings| settings.loaded_max = 1);
    let good = harness.add("good").await;
    harness.add("unreachable").await;
    for entry in std::fs::read_dir(harness.cache_dir()).expect("the cache") {
        std::fs::remove_file(entry.expect("a file").path()).expect("it can be removed");
    }
    let runs = harness.evaluate(&[&good]).await.expect("the engine serves");
    assert_eq!(runs[0].result, RuleResult::Unavailable);
    assert_eq!(harness.engine.plugin(good).await, None, "what cannot run is not loaded");
    assert_eq!(harness.add("good").await, good);
    assert!(harness.engine.plugin(good).await.is_some());
    let runs = harness.evaluate(&[&good]).await.expect("the engine serves");
    assert_eq!(runs[0].result, passes());
}

#[tokio::test]
async fn a_plugin_that_exceeds_the_small_limits_runs_under_the_large_limits() {
    let harness = Harness::start();
    let roomy = harness.add("roomy").await;
    assert_eq!(harness.engine.plugin(roomy).await.map(|plugin| plugin.profile), Some(Profile::Large));
    let mut call = harness.call(tenant(1), &[&roomy, &roomy], Duration::from_secs(60));
    call.rules[1].profile = Profile::Large;
    let runs = harness.engine.evaluate(call).await.expect("the engine serves");
    assert_eq!(runs[0].result, RuleResult::Unavailable, "not under limits it was not stored with");
    assert_eq!(runs[1].result, passes());
}

#[tokio::test]
async fn a_plugin_that_needs_the_large_limits_is_compiled_under_them_only_if_allowed() {
    let harness = Harness::start();
    let mut many_bytes = component("good");
    many_bytes = with_section(many_bytes, &vec![0; 5 << 20]);
    for (what, bytes) in [("shows when it runs", component("roomy")), ("shows at once", many_bytes)] {
        let bytes: Arc<[u8]> = bytes.into();
        let under = |most| harness.engine.add_plugin(bytes.clone(), most);
        assert_eq!(under(Profile::Small).await, Err(AddPluginError::NeedsLarge), "{what}");
        let added = under(Profile::Large).await.expect("the plugin is accepted");
        assert_eq!(added.profile, Profile::Large, "{what}");
        assert_eq!(under(Profile::Small).await.as_ref(), Ok(&added), "{what}: nothing is left to compile");
    }
}

#[tokio::test]
async fn a_plugin_that_exceeds_the_large_limits_is_refused() {
    let why = refusal(component("too_roomy")).await;
    assert!(why.contains("limits of large plugins") && why.contains("memory"), "{why}");
}

/// Limits apply to a whole process, so the test runs itself as a new process.
#[tokio::test]
async fn rules_run_without_the_pool_if_the_address_space_is_too_small() {
    const CONFINED: &str = "TOLLGATE_TEST_CONFINED";
    if std::env::var_os(CONFINED).is_none() {
        let name = "sandbox::cache::rules_run_without_the_pool_if_the_address_space_is_too_small";
        let output = std::process::Command::new(std::env::current_exe().expect("this test's binary"))
            .args(["--exact", name])
            .env(CONFINED, "1")
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let small = rustix::process::Rlimit { current: Some(16 << 30), maximum: Some(16 << 30) };
    rustix::process::setrlimit(rustix::process::Resource::As, small).expect("a limit");
    assert_fails("unreachable", Unreachable).await;
}
