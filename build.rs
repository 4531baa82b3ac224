//! Embeds the migrations in the program, makes the types of the gRPC service, and warns when a
//! release is built without its allocator.
//!
//! The macro `sqlx::migrate!` would embed them too, but it compiles the database driver a second
//! time, for the machine that builds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs, io};

const PROTO_FOLDER: &str = "proto";
const PROTO_FILE: &str = "tollgate/rules/v1/rules.proto";

fn main() -> io::Result<()> {
    embed_migrations()?;
    generate_messages()?;
    // Otherwise a new file of the page would be missing until something else changes.
    println!("cargo:rerun-if-changed=static");
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_ENV", "musl") {
        // A table of 1.9 MB becomes one of a few kilobytes. musl reads it; an older C library may not.
        println!("cargo:rustc-link-arg-bin=tollgate=-Wl,-z,pack-relative-relocs");
    }
    let without_jemalloc = env::var_os("CARGO_FEATURE_JEMALLOC").is_none();
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && without_jemalloc {
        println!(
            "cargo:warning=built without `--features jemalloc`: \
             a server under load takes a tenth more processor time"
        );
    }
    Ok(())
}

/// Compiled by a library, so that nobody has to install `protoc`.
fn generate_messages() -> io::Result<()> {
    println!("cargo:rerun-if-changed={PROTO_FOLDER}");
    let mut compiler = protox::Compiler::new([PROTO_FOLDER]).map_err(io::Error::other)?;
    compiler.open_file(PROTO_FILE).map_err(io::Error::other)?;
    let out = PathBuf::from(env::var("OUT_DIR").expect("set by cargo"));
    // For the reflection service.
    fs::write(out.join("rules-descriptors.bin"), compiler.encode_file_descriptor_set())?;
    // A payment need not be copied out of the request that it came in.
    tonic_prost_build::configure().bytes(".").compile_fds(compiler.file_descriptor_set())
}

/// Writes a list of the file name and the text of each migration, in the order of their versions.
fn embed_migrations() -> io::Result<()> {
    println!("cargo:rerun-if-changed=migrations");
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("migrations");
    let mut versions = BTreeMap::new();
    for file in fs::read_dir(&folder)? {
        let file = file?.path();
        // Editors and merges leave copies of a file under other endings.
        if file.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let name = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let version = name.split_once('_').and_then(|(version, _)| version.parse::<i64>().ok());
        let version =
            version.unwrap_or_else(|| panic!("{name} does not begin with a version and an underscore"));
        // The program runs each migration in a transaction.
        assert!(!fs::read_to_string(&file)?.starts_with("-- no-transaction"), "{name} needs no transaction");
        let other = versions.insert(version, (name, file));
        assert!(other.is_none(), "version {version} belongs to two migrations");
    }
    let entries = versions.values().map(|(name, file)| format!("({name:?}, include_str!({file:?})),\n"));
    let list = format!("&[\n{}]", entries.collect::<String>());
    fs::write(PathBuf::from(env::var("OUT_DIR").expect("set by cargo")).join("migrations.rs"), list)
}
