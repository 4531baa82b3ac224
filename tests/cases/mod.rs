//! Rules with their files of cases. A case may hold what no payment can, so only the engine in this
//! process runs them.

mod released;
mod shipped;

use tempfile::TempDir;
use tollgate::rules::{EngineSettings, LocalEngine};

struct Engine {
    engine: LocalEngine,
    _folder: TempDir,
}

impl Engine {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let exe = env!("CARGO_BIN_EXE_tollgate").into();
        let settings = EngineSettings::new(exe, folder.path().join("cache"), [7; 32]);
        Self { engine: LocalEngine::start(&settings).expect("the engine starts"), _folder: folder }
    }
}
