//! The compiling child: its limits, its failures, and what it leaves behind.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use tollgate::rules::{AddPluginError, EngineError, RuleEngine};

use super::harness::{Harness, compile_bomb, component};
use super::refused_by;

#[tokio::test]
async fn a_compile_bomb_is_stopped_by_the_limits_of_the_child() {
    let harness = Harness::with(|settings| settings.compile_cpu_s = 2);
    let why = refused_by(&harness, compile_bomb()).await;
    assert!(why.contains("compiling the plugin took more than 2 s of processor time"), "{why}");
}

#[tokio::test]
async fn a_compiler_that_was_killed_is_not_taken_for_one_that_took_too_long() {
    let folder = tempfile::tempdir().expect("a folder");
    let killed = folder.path().join("killed");
    let script = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&killed);
    script.expect("a script").write_all(b"#!/bin/sh\nkill -9 $$\n").expect("a script");
    let harness = Harness::with(|settings| settings.compiler_exe = killed);
    let added = harness.engine.add_plugin(component("good").into()).await;
    let Err(AddPluginError::Refused(why)) = added else { panic!("not refused: {added:?}") };
    assert!(why.contains("signal: 9"), "{why}");
}

#[tokio::test]
async fn what_is_refused_after_it_was_compiled_leaves_nothing_on_the_disk() {
    let harness = Harness::start();
    for fixture in ["bad_description", "start_loop"] {
        let refused = harness.engine.add_plugin(component(fixture).into()).await;
        assert!(matches!(refused, Err(AddPluginError::Refused(_))), "{fixture}: {refused:?}");
    }
    let left: Vec<_> = std::fs::read_dir(harness.cache_dir()).expect("the cache").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn an_engine_whose_compiler_is_missing_says_so_and_blames_no_plugin() {
    let harness = Harness::with(|settings| settings.compiler_exe = "/nowhere/tollgate".into());
    let added = harness.engine.add_plugin(component("good").into()).await;
    assert!(matches!(added, Err(AddPluginError::Engine(EngineError::Unavailable(_)))), "{added:?}");
}
