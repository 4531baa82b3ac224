//! What an operator may set of the sandbox. Limits that decide results are
//! not here: they are constants of the engine.

use std::path::PathBuf;

#[derive(Clone)]
pub struct Settings {
    /// The binary that has the `compile-plugin` command: this one, except in tests.
    pub compiler_exe: PathBuf,
    /// Where compiled plugins are kept. A cache: may be deleted at any time.
    pub cache_dir: PathBuf,
    /// Authenticates compiled plugins: code from the cache runs as native code.
    pub cache_key: [u8; 32],
    /// Compiled plugins in memory; the least recently used leave. A small one takes about 0.3 MB.
    pub loaded_max: usize,
    /// Rulesets of one tenant that run at once.
    pub tenant_concurrency: usize,
    /// Payments of one tenant that wait for their turn; the next is told that the engine is busy.
    pub tenant_waiting_max: usize,
    /// Threads that run the rules which take long; as many again for what is tried.
    pub threads: usize,
    /// Plugins that are compiled at once, one of them large at most; for diagnoses one small one more.
    pub compilations_max: usize,
    /// Processor time of one compilation of a small plugin; a large one gets six times as much.
    pub compile_cpu_s: u64,
    /// Whether long rules and compiling leave the processor to payments; without payments there is no need.
    pub stands_back: bool,
    /// Whether a diagnosis reads debug information: for an author's own plugins, never in a server.
    pub diagnosis_with_lines: bool,
}

impl Settings {
    pub fn new(compiler_exe: PathBuf, cache_dir: PathBuf, cache_key: [u8; 32]) -> Self {
        Self {
            compiler_exe,
            cache_dir,
            cache_key,
            loaded_max: 256,
            tenant_concurrency: 8,
            tenant_waiting_max: 1024,
            // The other half is for everything else, whatever the rules of one tenant do.
            threads: std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2),
            // Besides what a tenant handed in, what another node took in already.
            compilations_max: 2,
            compile_cpu_s: 10,
            stands_back: true,
            diagnosis_with_lines: false,
        }
    }
}

/// The key stays out of logs.
impl std::fmt::Debug for Settings {
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
