//! The Wasmtime engines and their settings: one engine for each profile, and a second one for small
//! rules.
//!
//! Settings that decide results, fuel or compiled code are in [`compiled_config`], which the
//! compiling child also uses. They are part of the engine's id.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OperatorCost, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use super::call_state::CallState;
use super::contract::BOUNDS_VERSION;
use super::limits::{HOSTCALL_FUEL, INPUT_BYTES_MAX, Limits, RULESET_FUEL, TICK_MS, WASM_STACK_BYTES};
use crate::domain::decision::EngineId;
use crate::domain::plugin::{Digest, Profile};

/// A test compares this with Cargo.lock.
const WASMTIME_VERSION: &str = "48.0.8";

/// The whole 32-bit address space, so that memory accesses need no bounds check.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;
const MEMORY_GUARD_BYTES: u64 = 32 << 20;
/// Larger than the stack that WebAssembly may use, since frames of the host are on it as well.
const FIBER_STACK_BYTES: usize = 1 << 20;

/// How many unused memories are kept for the plugin that used them last, each with 64 kB resident.
/// A fresh instance of the same plugin reuses the pages. Giving a memory to another plugin costs
/// system calls.
const WARM_MEMORIES: u32 = 32;

/// The most frames in a diagnosis.
const FRAMES_MAX: usize = 20;

#[derive(Debug, Error)]
pub enum EngineSetupError {
    #[error("the sandbox for {profile} rules cannot be set up: {reason}", profile = .profile.name())]
    Setup { profile: Profile, reason: String },
    #[error("the clock thread of the sandbox cannot be started: {0}")]
    Ticker(std::io::Error),
}

/// A Wasmtime engine with the limits of one profile.
pub(super) struct Sandbox {
    pub(super) engine: Engine,
    pub(super) limits: &'static Limits,
    /// It stays empty, so that a plugin that imports anything cannot be linked.
    pub(super) linker: Linker<CallState>,
    /// One permit for each live instance, so that the pool always has a free place. All engines of
    /// a profile share the permits, which bounds the memory of the profile.
    pub(super) slots: Arc<Semaphore>,
}

pub(super) struct Sandboxes {
    /// For small rules whose memory starts with one page, as those built with the SDK do.
    one_page: Arc<Sandbox>,
    small: Arc<Sandbox>,
    large: Arc<Sandbox>,
    id: EngineId,
    _ticker: Ticker,
}

impl Sandboxes {
    pub(super) fn new() -> Result<Self, EngineSetupError> {
        let slots = |profile| Arc::new(Semaphore::new(Limits::of(profile).slots as usize));
        let small_slots = slots(Profile::Small);
        let one_page = Arc::new(Sandbox::new(Profile::Small, small_slots.clone(), MemoryReset::Whole)?);
        let small = Arc::new(Sandbox::new(Profile::Small, small_slots, MemoryReset::Written)?);
        let large = Arc::new(Sandbox::new(Profile::Large, slots(Profile::Large), MemoryReset::Written)?);
        let engines = [&one_page, &small, &large].map(|sandbox| sandbox.engine.clone());
        let ticker = Ticker::start(engines.into()).map_err(EngineSetupError::Ticker)?;
        Ok(Self { one_page, small, large, id: engine_id(), _ticker: ticker })
    }

    pub(super) fn of(&self, profile: Profile) -> &Arc<Sandbox> {
        match profile {
            Profile::Small => &self.small,
            Profile::Large => &self.large,
        }
    }

    /// The sandbox in which the plugin runs fastest. The compiled code is the same for all.
    pub(super) fn best_for(&self, profile: Profile, component: &Component) -> &Arc<Sandbox> {
        let pages = component.resources_required().and_then(|required| required.max_initial_memory_size);
        match profile {
            Profile::Small if pages.is_some_and(|pages| pages <= 1) => &self.one_page,
            Profile::Small | Profile::Large => self.of(profile),
        }
    }

    pub(super) fn id(&self) -> &EngineId {
        &self.id
    }
}

impl Sandbox {
    fn new(profile: Profile, slots: Arc<Semaphore>, clearing: MemoryReset) -> Result<Self, EngineSetupError> {
        let limits = Limits::of(profile);
        let engine = pooled_engine(limits, clearing).or_else(|pool_error| {
            // The pool reserves hundreds of gigabytes of address space. RLIMIT_AS or a small
            // address space can prevent that.
            tracing::warn!(
                profile = profile.name(),
                reason = %pool_error,
                "the instance pool cannot be reserved; rules run without it, about half as fast"
            );
            Engine::new(&compiled_config())
                .map_err(|error| EngineSetupError::Setup { profile, reason: format!("{error:#}") })
        })?;
        let linker = Linker::new(&engine);
        Ok(Self { engine, limits, linker, slots })
    }
}

/// The engine on which a failed call is repeated. It is separate, since the information it records
/// would slow payments.
pub(super) struct DiagnosticSandbox {
    pub(super) sandbox: Sandbox,
    _ticker: Ticker,
}

impl DiagnosticSandbox {
    pub(super) fn new(profile: Profile, code: CompileMode) -> Result<Self, EngineSetupError> {
        let engine = Engine::new(&code.config())
            .map_err(|error| EngineSetupError::Setup { profile, reason: format!("{error:#}") })?;
        let ticker = Ticker::start(vec![engine.clone()]).map_err(EngineSetupError::Ticker)?;
        let (linker, slots) = (Linker::new(&engine), Arc::new(Semaphore::new(1)));
        let sandbox = Sandbox { engine, limits: Limits::of(profile), linker, slots };
        Ok(Self { sandbox, _ticker: ticker })
    }
}

/// What a plugin is compiled for. Results and fuel are the same in all modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CompileMode {
    Live,
    /// For a diagnosis with the names of functions.
    Names,
    /// For a diagnosis with names and lines. Only for an author's own plugin, since hostile debug
    /// information takes long to read.
    Lines,
}

impl CompileMode {
    pub(super) const ALL: [Self; 3] = [Self::Live, Self::Names, Self::Lines];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Names => "names",
            Self::Lines => "lines",
        }
    }

    pub(super) fn config(self) -> Config {
        let mut config = compiled_config();
        let details = match self {
            Self::Live => return config,
            Self::Names => WasmBacktraceDetails::Disable,
            Self::Lines => WasmBacktraceDetails::Enable,
        };
        config
            .coredump_on_trap(true)
            .wasm_backtrace_max_frames(NonZeroUsize::new(FRAMES_MAX))
            .wasm_backtrace_details(details)
            .generate_address_map(true);
        config
    }
}

/// How a memory is reset for the next instance.
#[derive(Clone, Copy)]
enum MemoryReset {
    /// Clears all resident pages. One page takes 0.7 us; seventeen pages take twice as long as the
    /// rest of an evaluation.
    Whole,
    /// Clears the pages that were written. Finding them takes a system call of 2 to 3 us.
    Written,
}

fn pooled_engine(limits: &Limits, clearing: MemoryReset) -> wasmtime::Result<Engine> {
    let mut config = compiled_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits, clearing)));
    Engine::new(&config)
}

/// All settings that decide the compiled code, its results or its fuel. They must be the same in
/// the server and in the compiling child, and for all profiles.
pub(super) fn compiled_config() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .operator_cost(operator_cost())
        .epoch_interruption(true)
        // NaN payloads and relaxed SIMD differ between processors.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .memory_guard_size(MEMORY_GUARD_BYTES)
        // Callers do not get backtraces. Without the tables for them, compiled plugins are a
        // quarter smaller.
        .wasm_backtrace_max_frames(None)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(false)
        .native_unwind_info(false)
        // The child is limited in processor time and memory. With threads, what it uses would be
        // hard to predict.
        .parallel_compilation(false);
    config
}

/// Pinned, since Wasmtime's own costs change between releases. They also charge nothing for growing
/// a memory, although each page has to be cleared.
fn operator_cost() -> OperatorCost {
    let mut cost = OperatorCost::new();
    cost.variable.memory_copy_per_byte = 1;
    cost.variable.memory_fill_per_byte = 1;
    cost.variable.memory_init_per_byte = 1;
    cost.variable.memory_grow_per_page = 200;
    cost.variable.table_copy_per_element = 1;
    cost.variable.table_fill_per_element = 1;
    cost.variable.table_init_per_element = 1;
    cost.variable.table_grow_per_element = 1;
    cost
}

fn pool(limits: &Limits, clearing: MemoryReset) -> PoolingAllocationConfig {
    let slots = limits.slots;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots * limits.core_instances_per_instance)
        .total_memories(slots * limits.memories_per_instance)
        .total_tables(slots * limits.tables_per_instance)
        .total_stacks(slots)
        .max_memory_size(limits.memory_bytes)
        .table_elements(limits.table_elements)
        .max_memories_per_component(limits.memories_per_instance)
        .max_tables_per_component(limits.tables_per_instance)
        .max_core_instances_per_component(limits.core_instances_per_instance)
        .max_unused_warm_slots(WARM_MEMORIES)
        // Clearing used pages is cheaper than returning them to the system.
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(16 << 10)
        .pagemap_scan(match clearing {
            MemoryReset::Whole => Enabled::No,
            MemoryReset::Written => Enabled::Auto,
        });
    pool
}

/// Wasmtime's version and a digest of all settings that can change a result or its fuel.
/// The id of the engine in this program.
pub fn engine_id() -> EngineId {
    let settings = format!(
        "{:?} {:?} {WASM_STACK_BYTES} {HOSTCALL_FUEL} {INPUT_BYTES_MAX} {RULESET_FUEL} {BOUNDS_VERSION} \
         {:?} nan=canonical relaxed_simd=off threads=off memory64=off tail_call=off reservation={} guard={} \
         memory=charged-up-to-its-maximum",
        Limits::of(Profile::Small),
        Limits::of(Profile::Large),
        operator_cost(),
        MEMORY_RESERVATION_BYTES,
        MEMORY_GUARD_BYTES,
    );
    let short = Digest::of(settings.as_bytes()).short(8);
    EngineId(format!("wasmtime-{WASMTIME_VERSION}-{short}"))
}

/// The thread that increments the epoch of all engines. It ends when this is dropped.
struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engines: Vec<Engine>) -> std::io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let tick = Duration::from_millis(TICK_MS.into());
        let thread = std::thread::Builder::new().name("rule-clock".to_owned()).spawn(move || {
            while stopped.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                engines.iter().for_each(Engine::increment_epoch);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // How it ended does not matter: the thread has no data.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_id_names_the_wasmtime_that_is_locked() {
        let lock = include_str!("../../Cargo.lock");
        let entry = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"");
        assert!(lock.contains(&entry));
        assert_eq!(engine_id(), engine_id());
    }

    /// A decision is only replayed exactly by the engine that made it. The id covers the `Debug`
    /// form of the limits, so renaming one of their fields would change it as well.
    #[test]
    fn the_engine_id_changes_only_on_purpose() {
        assert_eq!(engine_id().0, "wasmtime-48.0.8-b5c31a8168450584");
    }

    #[test]
    fn the_clock_stops_with_its_engines() {
        let sandboxes = Sandboxes::new().expect("the sandboxes can be set up");
        let engine = sandboxes.of(Profile::Small).engine.weak();
        assert!(engine.upgrade().is_some());
        drop(sandboxes);
        assert!(engine.upgrade().is_none(), "the clock thread still holds an engine");
    }
}
