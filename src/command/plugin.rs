//! `tollgate plugin`: for authors of rules, without a server or a database.
//!
//! Must apply the limits of a server with the same configuration, and keep no compiled code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Failure;
use super::output::print_result;
use crate::config::{Config, NodeSettings};
use crate::domain::plugin::{Plugin, Profile};
use crate::domain::time::Randomness;
use crate::rules::cases::{CaseDifference, CaseReport, PluginUnderTest};
use crate::rules::{AddPluginError, Diagnosis, LimitsInForce, LocalEngine, RuleEngine, cases, component};
use crate::world::OsRandomness;

pub fn build(core: &Path, output: Option<PathBuf>, keep_names: bool) -> Result<ExitCode, Failure> {
    let make = if keep_names { component::from_core_module_with_names } else { component::from_core_module };
    let component = make(&read(core)?).map_err(|error| of_file(core, error))?;
    let output = output.unwrap_or_else(|| core.with_extension("component.wasm"));
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder).map_err(|error| of_file(folder, error))?;
    }
    std::fs::write(&output, &component).map_err(|error| of_file(&output, error))?;
    print_result!("{} ({} bytes)", output.display(), component.len());
    Ok(ExitCode::SUCCESS)
}

pub fn check(path: &Path, as_json: bool) -> Result<ExitCode, Failure> {
    let settings = Config::load_settings()?;
    in_a_sandbox(path, &settings, async |_, taken| {
        match taken {
            Ok((plugin, _)) if as_json => print_result!("{:#}", taken_in_json(&plugin, &settings)),
            Ok((plugin, _)) => print_accepted(&plugin, &settings),
            Err(why) if as_json => {
                let limits = [Profile::Small, Profile::Large]
                    .map(|profile| LimitsInForce::of(profile, settings.compile_cpu_s));
                let size_max_bytes = settings.plugin_size_max_bytes;
                print_result!(
                    "{:#}",
                    json!({"taken": false, "refused": why, "size_max_bytes": size_max_bytes, "limits": limits})
                );
                return Ok(ExitCode::FAILURE);
            }
            Err(why) => return Err(of_file(path, why)),
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn print_accepted(plugin: &Plugin, settings: &NodeSettings) {
    let description = &plugin.description;
    let limits = LimitsInForce::of(plugin.profile, settings.compile_cpu_s);
    print_result!("{} {}: {}", description.name, description.version, description.summary);
    print_result!("  contract   tollgate:rules@{}", plugin.contract);
    print_result!("  digest     {}", plugin.digest);
    print_result!("  size       {} of at most {} bytes", plugin.size_bytes, settings.plugin_size_max_bytes);
    print_result!(
        "  compiled   in {} ms, limit {} s of processor time",
        plugin.compile_ms,
        limits.plugin_compile_cpu_s
    );
    print_result!(
        "  profile    {}: {} units of fuel and {} MiB of memory per payment",
        limits.profile,
        limits.fuel_evaluate,
        limits.memory_bytes >> 20
    );
    print_result!("  settings   {}", names_of_settings(&description.settings_schema));
}

fn names_of_settings(schema: &str) -> String {
    let schema = serde_json::from_str::<Value>(schema).unwrap_or_default();
    let names = schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys());
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn taken_in_json(plugin: &Plugin, settings: &NodeSettings) -> Value {
    let description = &plugin.description;
    let schema = serde_json::from_str::<Value>(&description.settings_schema);
    json!({
        "taken": true,
        "name": description.name,
        "version": description.version,
        "summary": description.summary,
        "contract": plugin.contract,
        "digest": plugin.digest.to_string(),
        "size_bytes": plugin.size_bytes,
        "size_max_bytes": settings.plugin_size_max_bytes,
        "compile_ms": plugin.compile_ms,
        "limits": LimitsInForce::of(plugin.profile, settings.compile_cpu_s),
        "settings_schema": schema.unwrap_or_default(),
    })
}

pub fn run(path: &Path, case_files: &[PathBuf], as_json: bool) -> Result<ExitCode, Failure> {
    let settings = Config::load_settings()?;
    in_a_sandbox(path, &settings, async |engine, taken| {
        let (plugin, bytes) = taken.map_err(|why| of_file(path, why))?;
        let tried = PluginUnderTest { plugin: plugin.digest, bytes };
        let mut told = Vec::new();
        let (mut passed, mut failed) = (0, 0);
        for file in case_files {
            let text = std::fs::read_to_string(file).map_err(|error| of_file(file, error))?;
            for report in cases::run(engine, &tried, &text).await.map_err(|error| of_file(file, error))? {
                *if report.result.is_ok() { &mut passed } else { &mut failed } += 1;
                if as_json {
                    told.push(case_in_json(file, &report));
                } else if let Err(difference) = &report.result {
                    say_failed(file, &report, difference);
                }
            }
        }
        let name = &plugin.description.name;
        if as_json {
            let limits = LimitsInForce::of(plugin.profile, settings.compile_cpu_s);
            let digest = plugin.digest.to_string();
            let whole = json!({"plugin": name, "digest": digest, "passed": passed, "failed": failed,
                "limits": limits, "cases": told});
            print_result!("{whole:#}");
        } else {
            print_result!("{name}: {passed} passed, {failed} failed");
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn case_in_json(file: &Path, report: &CaseReport) -> Value {
    json!({
        "file": file.display().to_string(),
        "name": report.name,
        "passed": report.result.is_ok(),
        "fuel_used": report.fuel_used,
        "difference": report.result.as_ref().err(),
        "diagnosis": report.diagnosis,
    })
}

fn say_failed(file: &Path, report: &CaseReport, difference: &CaseDifference) {
    print_result!("{}: {}", file.display(), report.name);
    print_result!("  expected {}", difference.expected);
    print_result!("  got      {}", difference.got);
    let Some(Diagnosis { cause, said, frames, .. }) = &report.diagnosis else { return };
    if let Some(said) = said {
        print_result!("  message  {said}");
    }
    print_result!("  cause    {cause}");
    for frame in frames {
        let line = frame.line.map_or_else(String::new, |line| format!(":{line}"));
        let place = frame.file.as_ref().map_or_else(String::new, |file| format!(" at {file}{line}"));
        print_result!("  in       {}{place}", frame.function);
    }
}

/// The plugin as the engine loaded it, with its bytes, or why it was refused.
type PluginInSandbox = Result<(Plugin, Arc<[u8]>), String>;

/// Loads the plugin as a server would, with a cache that is deleted afterwards.
fn in_a_sandbox(
    path: &Path,
    settings: &NodeSettings,
    work: impl AsyncFnOnce(&LocalEngine, PluginInSandbox) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let bytes: Arc<[u8]> = read(path)?.into();
    let cache_dir = std::env::temp_dir().join(format!("tollgate-plugin-{}", std::process::id()));
    let mut key = [0; 32];
    OsRandomness.fill(&mut key);
    let mut sandbox = settings.sandbox(std::env::current_exe()?, cache_dir.clone(), key);
    // Only useful beside live payments, of which there are none here.
    sandbox.stands_back = false;
    sandbox.diagnosis_with_lines = true;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let engine = LocalEngine::start(&sandbox)?;
        let taken = take(&engine, settings, bytes).await?;
        work(&engine, taken).await
    });
    let _ = std::fs::remove_dir_all(&cache_dir);
    result
}

async fn take(
    engine: &LocalEngine,
    settings: &NodeSettings,
    bytes: Arc<[u8]>,
) -> Result<PluginInSandbox, Failure> {
    let most = settings.plugin_size_max_bytes;
    if bytes.len() as u64 > most {
        let why = format!(
            "the plugin has {} bytes, but at most {most} are accepted (plugin_size_max_bytes)",
            bytes.len()
        );
        return Ok(Err(why));
    }
    match engine.add_plugin(bytes.clone(), Profile::Large).await {
        Ok(plugin) => Ok(Ok((plugin, bytes))),
        Err(AddPluginError::Refused(why)) => Ok(Err(why)),
        Err(error) => Err(error.into()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| of_file(path, error))
}

fn of_file(path: &Path, error: impl std::fmt::Display) -> Failure {
    format!("{}: {error}", path.display()).into()
}
