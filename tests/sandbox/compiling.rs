//! The compiling process: its limits, its failures, and the files it leaves.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tollgate::domain::plugin::Profile;
use tollgate::rules::{AddPluginError, EngineError, FailedCall, RuleCall};

use super::harness::components::{component_of, with_section};
use super::harness::{Harness, compile_bomb, component, payment};
use super::hostile::refusal_by;

/// A script that takes the place of the compiler.
pub fn compiler(folder: &Path, lines: &str) -> PathBuf {
    let path = folder.join("compiler");
    let script = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path);
    script.expect("a script").write_all(format!("#!/bin/sh\n{lines}\n").as_bytes()).expect("a script");
    path
}

#[tokio::test]
async fn a_compile_bomb_is_stopped_by_the_limits_of_the_compiling_process() {
    let harness = Harness::with(|settings| settings.compile_cpu_s = 2);
    let why = refusal_by(&harness, compile_bomb()).await;
    assert!(why.contains("compiling the plugin took more than 2 s of processor time"), "{why}");
}

#[tokio::test]
async fn a_compiler_that_was_killed_is_not_reported_as_a_timeout() {
    let folder = tempfile::tempdir().expect("a folder");
    let killed = compiler(folder.path(), "kill -9 $$");
    let harness = Harness::with(|settings| settings.compiler_exe = killed);
    let added = harness.engine.add_plugin(component("good").into(), Profile::Large).await;
    let Err(AddPluginError::Refused(why)) = added else { panic!("not refused: {added:?}") };
    assert!(why.contains("signal: 9"), "{why}");
}

#[tokio::test]
async fn a_plugin_that_is_refused_after_compilation_leaves_no_file() {
    let harness = Harness::start();
    for fixture in ["bad_description", "start_loop"] {
        let refused = harness.engine.add_plugin(component(fixture).into(), Profile::Large).await;
        assert!(matches!(refused, Err(AddPluginError::Refused(_))), "{fixture}: {refused:?}");
    }
    let left: Vec<_> = std::fs::read_dir(harness.cache_dir()).expect("the cache").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_missing_compiler_is_reported_as_such_and_not_as_a_bad_plugin() {
    let harness = Harness::with(|settings| settings.compiler_exe = "/nowhere/tollgate".into());
    let added = harness.engine.add_plugin(component("good").into(), Profile::Large).await;
    assert!(matches!(added, Err(AddPluginError::Engine(EngineError::Unavailable(_)))), "{added:?}");
}

/// A compiler that records when it begins and ends, and with which memory limit.
fn recording_compiler(folder: &Path) -> PathBuf {
    let (exe, record) = (env!("CARGO_BIN_EXE_tollgate"), folder.join("record"));
    let lines = format!(
        "echo begins $3 $4 >> {record}\n{exe} \"$@\"\nstatus=$?\nsleep 0.3\necho ends $3 $4 >> {record}\nexit $status",
        record = record.display()
    );
    compiler(folder, &lines)
}

/// The largest number of concurrent compilations: of all, and of those with the limits of large
/// plugins.
fn max_concurrent_compilations(folder: &Path) -> (usize, usize) {
    let record = std::fs::read_to_string(folder.join("record")).expect("a record");
    let (mut now, mut most) = ((0_usize, 0_usize), (0, 0));
    for line in record.lines() {
        let is_large = usize::from(line.split(' ').nth(1) == Some("2048"));
        now = match line.starts_with("begins") {
            true => (now.0 + 1, now.1 + is_large),
            false => (now.0 - 1, now.1 - is_large),
        };
        most = (most.0.max(now.0), most.1.max(now.1));
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_one_large_compilation_runs_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let recording = recording_compiler(folder.path());
    let harness = Harness::with(|settings| settings.compiler_exe = recording);
    let failing = std::fs::read_to_string("tests/hostile/panic_message.wat").expect("a fixture");
    let failing: Arc<[u8]> =
        component_of(&failing.replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 200)"))
            .into();
    let plugin =
        harness.engine.add_plugin(failing.clone(), Profile::Large).await.expect("the plugin is accepted");
    assert_eq!(plugin.profile, Profile::Large);
    let rule = RuleCall {
        plugin: plugin.digest,
        profile: plugin.profile,
        state: Arc::from([]),
        facts: vec![],
        fuel_spent_before: None,
    };
    let call = FailedCall::Evaluate { payment: Arc::new(payment()), rule };
    let others = (0..4_u8).map(|place| {
        let fixture = if place % 2 == 0 { "roomy" } else { "good" };
        harness.engine.add_plugin(with_section(component(fixture), &[place]).into(), Profile::Large)
    });
    let (added, diagnosed) =
        futures::join!(futures::future::join_all(others), harness.engine.diagnose(call, failing));
    for added in added {
        added.expect("the plugin is accepted");
    }
    assert!(diagnosed.expect("it can be looked into").is_some());
    let (of_all, large) = max_concurrent_compilations(folder.path());
    assert_eq!(large, 1, "{of_all} at once");
    assert!(of_all <= 3, "{of_all} at once");
}
