//! `tollgate plugin`: for authors of rules, without a server or a database.
//!
//! Owns what is printed about a plugin. Must never keep what it compiled.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Failure;
use super::output::say;
use crate::domain::plugin::Plugin;
use crate::rules::{LocalEngine, RuleEngine, Settings, cases, component};

pub fn build(core: &Path, output: Option<PathBuf>) -> Result<ExitCode, Failure> {
    let component = component::from_core_module(&read(core)?)?;
    let output = output.unwrap_or_else(|| core.with_extension("component.wasm"));
    std::fs::write(&output, &component).map_err(|error| format!("{}: {error}", output.display()))?;
    say!("{} ({} bytes)", output.display(), component.len());
    Ok(ExitCode::SUCCESS)
}

pub fn check(path: &Path) -> Result<ExitCode, Failure> {
    in_a_sandbox(path, async |_, plugin| {
        let description = &plugin.description;
        say!("{} {}: {}", description.name, description.version, description.summary);
        say!("  contract   tollgate:rules@{}", plugin.contract);
        say!("  digest     {}", plugin.digest);
        say!("  size       {} bytes", plugin.size_bytes);
        say!("  profile    {}", plugin.profile.name());
        say!("  compiled   in {} ms", plugin.compile_ms);
        say!("  settings   {}", description.settings_schema);
        Ok(ExitCode::SUCCESS)
    })
}

pub fn run(path: &Path, case_files: &[PathBuf]) -> Result<ExitCode, Failure> {
    in_a_sandbox(path, async |engine, plugin| {
        let (mut passed, mut failed) = (0, 0);
        for file in case_files {
            let text =
                std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            for report in cases::run(engine, plugin.digest, &text).await? {
                match report.result {
                    Ok(()) => passed += 1,
                    Err(difference) => {
                        failed += 1;
                        say!("{}: {}\n{difference}", file.display(), report.name);
                    }
                }
            }
        }
        say!("{}: {passed} passed, {failed} failed", plugin.description.name);
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Loads the plugin as the server would, with a cache that goes when this is done.
fn in_a_sandbox(
    path: &Path,
    work: impl AsyncFnOnce(&LocalEngine, &Plugin) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let bytes = read(path)?;
    let cache_dir = std::env::temp_dir().join(format!("tollgate-plugin-{}", std::process::id()));
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let engine = LocalEngine::start(&Settings::new(std::env::current_exe()?, cache_dir.clone(), key))?;
        let plugin = engine.add_plugin(bytes.into()).await?;
        work(&engine, &plugin).await
    });
    let _ = std::fs::remove_dir_all(&cache_dir);
    result
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}
