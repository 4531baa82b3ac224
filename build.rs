//! Embeds the migrations in the program, and warns when a release is built without its allocator.
//!
//! The macro `sqlx::migrate!` would embed them too, but it compiles the database driver a second
//! time, for the machine that builds.

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    embed_migrations()?;
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|found| found == value);
    let without_jemalloc = env::var_os("CARGO_FEATURE_JEMALLOC").is_none();
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && without_jemalloc {
        println!(
            "cargo:warning=built without `--features jemalloc`: \
             a server under load takes a tenth more processor time"
        );
    }
    Ok(())
}

/// Writes a list of the file name and the text of each migration, in the order of their versions.
fn embed_migrations() -> io::Result<()> {
    println!("cargo:rerun-if-changed=migrations");
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("migrations");
    let mut files = fs::read_dir(&folder)?.map(|file| Ok(file?.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    let entries = files.iter().map(|file| {
        let name = file.file_stem().expect("a file has a name").to_string_lossy();
        format!("({name:?}, include_str!({file:?})),\n")
    });
    let list = format!("&[\n{}]", entries.collect::<String>());
    fs::write(PathBuf::from(env::var("OUT_DIR").expect("set by cargo")).join("migrations.rs"), list)
}
