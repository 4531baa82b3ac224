//! Builds the rule as a plugin of Extism, for the sandbox's target and in a
//! folder of its own: Cargo holds a lock on the one it is building in.

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
        // As small and quick as the shipped rules are built.
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        // Flags that are meant for this machine's code.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status();
    let built = built.expect("Cargo can be started");
    assert!(built.success(), "is the target wasm32-unknown-unknown installed?");
    let module = target_dir.join("wasm32-unknown-unknown/release/extism_rule.wasm");
    println!("cargo::rustc-env=EXTISM_RULE={}", module.display());
}
