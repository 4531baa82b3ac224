//! Builds the rule as an Extism plugin for WebAssembly. It has its own target folder, since Cargo
//! locks the folder in which it builds.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=extism-rule");
    let target_dir = PathBuf::from(std::env::var_os("OUT_DIR").expect("set by Cargo")).join("extism-rule");
    let cargo = std::env::var_os("CARGO").expect("set by Cargo");
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "-p", "extism-rule", "--target", "wasm32-unknown-unknown"])
        .arg("--target-dir")
        .arg(&target_dir)
        // The same optimisation as the shipped rules.
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        // These flags are for native code.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status();
    let built = built.expect("Cargo can be started");
    assert!(built.success(), "is the target wasm32-unknown-unknown installed?");
    let module = target_dir.join("wasm32-unknown-unknown/release/extism_rule.wasm");
    println!("cargo::rustc-env=EXTISM_RULE={}", module.display());
}
