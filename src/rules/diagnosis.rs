//! Finds out why a call failed: it repeats the call on code with more information, and reads the
//! rule's memory afterwards.
//!
//! The result is for the rule's author and must decide nothing. Texts from the rule may be hostile,
//! so they are shortened and their control characters removed.

mod last_words;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::Mutex;
use wasmtime::component::Component;
use wasmtime::{Instance, Module, Store, WasmCoreDump};

use super::EngineError;
use super::call::{Call, CallInstance};
use super::call_state::CallState;
use super::compile::{CompiledCode, Compiler};
use super::component::{ContractVersion, inspect};
use super::contract::{LinkedPlugin, PaymentInput, failure_detail};
use super::engine::{CompileMode, DiagnosticSandbox, Sandbox};
use super::library::on_blocking_thread;
use super::limits::{HOSTCALL_FUEL, Limits, WASM_STACK_BYTES};
use super::settings::EngineSettings;
use crate::domain::decision::EngineId;
use crate::domain::plugin::{ByProfile, Digest, Profile};
use crate::domain::selector::Fact;
use crate::domain::verdict::FailureClass;
use crate::rules::compile::artifact::ArtifactCache;

const NAME_CHARS_MAX: usize = 160;
/// How many plugins compiled for diagnoses stay on disk.
const KEPT_MAX: usize = 16;
/// A module whose start function traps. If it is instantiated in the store of a call that ended
/// without a trap, Wasmtime dumps the memories of that call.
const STOPS_AT_START: [u8; 28] =
    [0, b'a', b's', b'm', 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 8, 1, 0, 10, 5, 1, 3, 0, 0, 11];

/// What repeating a failed call showed. Texts of the rule are shortened and without control
/// characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// How it failed this time. A failure that the host caused may be different.
    #[serde(serialize_with = "class_name")]
    pub class: FailureClass,
    /// The limit that was exceeded, with its value, or the usual cause of such a failure.
    pub cause: String,
    /// The message of the rule's panic with file and line, or a text in its memory that looks like
    /// an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// The call stack, the innermost function first. The names are the plugin's own.
    pub frames: Vec<Frame>,
    pub fuel_used: u64,
    pub fuel_max: u64,
    pub memory_bytes: u64,
    pub memory_max_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// The function's number in its module if it has no name.
    pub function: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

fn class_name<S: serde::Serializer>(class: &FailureClass, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(class.name())
}

/// A failed call to repeat.
pub(super) struct DiagnosisRequest<'a> {
    pub(super) plugin: Digest,
    pub(super) bytes: Arc<[u8]>,
    pub(super) profile: Profile,
    pub(super) fuel: u64,
    pub(super) call: CallInput<'a>,
}

/// The function that failed, with its arguments.
pub(super) enum CallInput<'a> {
    Prepare { settings: &'a str },
    Evaluate { input: &'a PaymentInput, facts: &'a [Fact], state: &'a [u8] },
}

pub(super) struct Diagnostics {
    code: CompileMode,
    compiler: Compiler,
    folder: PathBuf,
    cache_key: [u8; 32],
    engine_id: EngineId,
    /// Opened by the first diagnosis. Most processes never make one.
    cache: OnceLock<Arc<ArtifactCache>>,
    /// One diagnosis at a time for small plugins and one for large ones. None is urgent, and each
    /// needs an engine of its own.
    turns: ByProfile<Mutex<()>>,
}

impl Diagnostics {
    pub(super) fn new(settings: &EngineSettings, live: &EngineId, compiler: &Compiler) -> Self {
        let code = if settings.diagnosis_with_lines { CompileMode::Lines } else { CompileMode::Names };
        let folder = settings.cache_dir.join("diagnosis");
        let engine_id = EngineId(format!("{}-{}", live.0, code.name()));
        Self {
            code,
            compiler: compiler.for_diagnosis(code),
            folder,
            cache_key: settings.cache_key,
            engine_id,
            cache: OnceLock::new(),
            turns: ByProfile::default(),
        }
    }

    /// `None` if the call does not fail this time.
    pub(super) async fn diagnose(
        &self,
        request: DiagnosisRequest<'_>,
    ) -> Result<Option<Diagnosis>, EngineError> {
        let _turn = self.turns.of(request.profile).lock().await;
        let unavailable = |error: String| EngineError::Unavailable(error);
        let within = DiagnosticSandbox::new(request.profile, self.code)
            .map_err(|error| unavailable(error.to_string()))?;
        let (contract, component) = self.load(&within.sandbox, &request).await?;
        let plugin = LinkedPlugin::new(contract, &within.sandbox.linker, &component)
            .map_err(|error| unavailable(format!("{error:#}")))?;
        let call = Call {
            sandbox: &within.sandbox,
            plugin: &plugin,
            fuel: request.fuel,
            computed_ms: Arc::default(),
        };
        let (failure, fuel_used, instance) = match request.call {
            CallInput::Prepare { settings } => {
                let outcome = call.prepare(settings).await;
                (outcome.result.err(), outcome.fuel_used, outcome.instance)
            }
            CallInput::Evaluate { input, facts, state } => {
                let outcome = call.evaluate(input, facts, state).await;
                (outcome.result.err(), outcome.fuel_used, outcome.instance)
            }
        };
        let Some(failure) = failure else { return Ok(None) };
        let limits = within.sandbox.limits;
        let mut diagnosis = Diagnosis {
            class: failure.class,
            cause: String::new(),
            said: None,
            frames: Vec::new(),
            fuel_used,
            fuel_max: request.fuel,
            memory_bytes: 0,
            memory_max_bytes: limits.memory_bytes as u64,
        };
        if let Some(instance) = instance {
            examine(&within.sandbox, instance, request.bytes, &mut diagnosis).await?;
        }
        diagnosis.cause = cause_of(&diagnosis, limits);
        Ok(Some(diagnosis))
    }

    fn cache(&self) -> Arc<ArtifactCache> {
        let open = || ArtifactCache::open(self.folder.clone(), &self.cache_key, self.engine_id.clone());
        self.cache.get_or_init(|| Arc::new(open())).clone()
    }

    async fn load(
        &self,
        sandbox: &Sandbox,
        request: &DiagnosisRequest<'_>,
    ) -> Result<(ContractVersion, Component), EngineError> {
        let unavailable = |error: String| EngineError::Unavailable(error);
        let DiagnosisRequest { plugin, bytes, profile, .. } = request;
        let (plugin, profile, engine) = (*plugin, *profile, sandbox.engine.clone());
        let (cache, inspected) = (self.cache(), bytes.clone());
        let found = on_blocking_thread(move || {
            let inspection = inspect(&inspected).map_err(|error| unavailable(error.to_string()))?;
            Ok((inspection.contract, cache.load(&engine, plugin, profile)))
        });
        let (contract, found) = found.await??;
        if let Some(component) = found {
            return Ok((contract, component));
        }
        let compiled = self.compiler.compile(plugin, bytes.clone(), profile, self.cache()).await;
        let kept = compiled.map_err(|error| unavailable(error.to_string()))?.kept;
        let (cache, folder, engine) = (self.cache(), self.folder.clone(), sandbox.engine.clone());
        let loaded = on_blocking_thread(move || {
            keep_newest(&folder, KEPT_MAX);
            match kept {
                CompiledCode::InCache => cache
                    .load_trusted(&engine, plugin, profile)
                    .unwrap_or_else(|error| Err(wasmtime::Error::new(error))),
                CompiledCode::InMemory(code) => code.load(&engine),
            }
        });
        let component = loaded.await?.map_err(|error| unavailable(format!("{error:#}")))?;
        Ok((contract, component))
    }
}

/// Removes the oldest files. A plugin whose file was removed is compiled again.
fn keep_newest(folder: &Path, kept: usize) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<(SystemTime, PathBuf)> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    files.sort();
    let surplus = files.len().saturating_sub(kept);
    for (_, path) in files.into_iter().take(surplus) {
        let _ = std::fs::remove_file(path);
    }
}

async fn examine(
    sandbox: &Sandbox,
    instance: CallInstance<'_>,
    plugin: Arc<[u8]>,
    diagnosis: &mut Diagnosis,
) -> Result<(), EngineError> {
    let CallInstance { mut store, error, .. } = instance;
    diagnosis.memory_bytes = store.data().memory_bytes(sandbox.limits) as u64;
    let trapped = error.filter(|error| error.is::<WasmCoreDump>());
    if let Some(dump) = trapped.as_ref().and_then(|error| error.downcast_ref::<WasmCoreDump>()) {
        diagnosis.frames = frames_of(dump);
    }
    // A call that ended without a trap has no dump.
    let dumped = match trapped {
        Some(error) => Some(error),
        None => stop(sandbox, &mut store).await,
    };
    // Searching megabytes of memory takes a while.
    let said = on_blocking_thread(move || {
        let dump = dumped.as_ref().and_then(|error| error.downcast_ref::<WasmCoreDump>())?;
        let memories = dump.memories().iter().map(|memory| memory.data(&store));
        last_words::find(memories, &plugin).map(|text| failure_detail(&text))
    });
    diagnosis.said = said.await?;
    Ok(())
}

async fn stop(sandbox: &Sandbox, store: &mut Store<CallState>) -> Option<wasmtime::Error> {
    // Only this module is compiled in the server itself: its bytes are a constant.
    let module = Module::new(&sandbox.engine, STOPS_AT_START).ok()?;
    store.set_fuel(u64::from(u32::MAX)).ok()?;
    store.set_hostcall_fuel(HOSTCALL_FUEL);
    Instance::new_async(store, &module, &[]).await.err()
}

fn frames_of(dump: &WasmCoreDump) -> Vec<Frame> {
    let cut = |text: &str| failure_detail(text).chars().take(NAME_CHARS_MAX).collect::<String>();
    let frame = |frame: &wasmtime::FrameInfo| {
        let symbol = frame.symbols().first();
        let name = symbol.and_then(|symbol| symbol.name()).or(frame.func_name());
        Frame {
            function: name.map_or_else(|| format!("function {}", frame.func_index()), cut),
            file: symbol.and_then(|symbol| symbol.file()).map(cut),
            line: symbol.and_then(|symbol| symbol.line()),
        }
    };
    dump.frames().iter().map(frame).collect()
}

fn cause_of(diagnosis: &Diagnosis, limits: &Limits) -> String {
    let Diagnosis { fuel_max, memory_bytes, memory_max_bytes, .. } = diagnosis;
    match diagnosis.class {
        FailureClass::OutOfFuel => format!(
            "It used all of its {fuel_max} units of fuel; at that point it had {memory_bytes} of at most \
             {memory_max_bytes} bytes of memory. The usual causes are an endless loop and repeated \
             allocation."
        ),
        FailureClass::MemoryLimit => format!(
            "It exceeded its limits of {memory_max_bytes} bytes of memory and {} entries per table. It had \
             {memory_bytes} bytes.",
            limits.table_elements
        ),
        FailureClass::Unreachable => {
            "It stopped itself: a panic, an uncaught exception or an abort.".to_owned()
        }
        FailureClass::Trap => "It did something that WebAssembly forbids: it accessed memory out of bounds \
                               (this is also what happens when a Rust rule exceeds its stack of 16 KiB), \
                               divided by zero, or called something that is not a function."
            .to_owned(),
        FailureClass::StackOverflow => {
            format!("Its nested calls need more than {WASM_STACK_BYTES} bytes of stack.")
        }
        FailureClass::Deadline => format!("It ran for longer than {} ms.", limits.computing_ms),
        FailureClass::RuleError => "It returned an error with its own message.".to_owned(),
        FailureClass::InvalidAnswer => "Its answer violates the rule contract.".to_owned(),
        FailureClass::Host => "The host could not run it.".to_owned(),
    }
}
