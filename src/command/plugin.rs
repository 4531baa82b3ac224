//! `tollgate plugin`: for authors of rules, without a server or a database.
//!
//! Owns what is printed about a plugin. Must never keep what it compiled.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Failure;
use crate::rules::component;

pub fn build(core: &Path, output: Option<PathBuf>) -> Result<ExitCode, Failure> {
    let component = component::from_core_module(&read(core)?)?;
    let output = output.unwrap_or_else(|| core.with_extension("component.wasm"));
    std::fs::write(&output, &component).map_err(|error| format!("{}: {error}", output.display()))?;
    println!("{} ({} bytes)", output.display(), component.len());
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}
