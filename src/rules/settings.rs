//! The settings of the engine that an operator may change. A limit on which a result depends
//! is a constant and not a setting.

use std::path::PathBuf;

#[derive(Clone)]
pub struct EngineSettings {
    /// The binary with the `compile-plugin` command: this one, except in tests.
    pub compiler_exe: PathBuf,
    /// The cache of compiled plugins. It may be deleted at any time.
    pub cache_dir: PathBuf,
    /// Authenticates compiled plugins, since they run as native code.
    pub cache_key: [u8; 32],
    /// How many compiled plugins stay in memory. A small one takes about 0.3 MB.
    pub loaded_max: usize,
    /// How many rulesets of one tenant run at once.
    pub tenant_concurrency: usize,
    /// How many payments of one tenant may wait. If there are more, the engine is busy.
    pub tenant_waiting_max: usize,
    /// Threads for rulesets that take long, and as many again for background work.
    pub threads: usize,
    /// How many plugins are compiled at once, at most one of them large. One more small plugin may
    /// be compiled for a diagnosis.
    pub compilations_max: usize,
    /// The processor time for compiling a small plugin. A large one gets six times as much.
    pub compile_cpu_s: u64,
    /// Whether long rules and compilations run at a lower priority than payments. A process without
    /// payments does not need this.
    pub stands_back: bool,
    /// Whether a diagnosis reads debug information: for an author's own plugins, never in a server.
    pub diagnosis_with_lines: bool,
}

impl EngineSettings {
    pub fn new(compiler_exe: PathBuf, cache_dir: PathBuf, cache_key: [u8; 32]) -> Self {
        Self {
            compiler_exe,
            cache_dir,
            cache_key,
            loaded_max: 256,
            tenant_concurrency: 8,
            tenant_waiting_max: 1024,
            // The other half of the processors stays free for everything else.
            threads: std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2),
            // One for uploads to this node and one for plugins that other nodes accepted.
            compilations_max: 2,
            compile_cpu_s: 10,
            stands_back: true,
            diagnosis_with_lines: false,
        }
    }
}

/// Written by hand, since the key must not appear in logs.
impl std::fmt::Debug for EngineSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("compiler_exe", &self.compiler_exe)
            .field("cache_dir", &self.cache_dir)
            .field("loaded_max", &self.loaded_max)
            .field("tenant_concurrency", &self.tenant_concurrency)
            .field("tenant_waiting_max", &self.tenant_waiting_max)
            .field("threads", &self.threads)
            .field("compilations_max", &self.compilations_max)
            .field("compile_cpu_s", &self.compile_cpu_s)
            .field("stands_back", &self.stands_back)
            .field("diagnosis_with_lines", &self.diagnosis_with_lines)
            .finish_non_exhaustive()
    }
}
