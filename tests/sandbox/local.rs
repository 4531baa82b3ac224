//! The engine in this process.

use std::sync::Arc;

use tollgate::rules::{EngineSettings, LocalEngine, RuleEngine};

pub type Guard = ();

pub fn start(settings: &EngineSettings) -> (Arc<dyn RuleEngine>, Guard) {
    (Arc::new(LocalEngine::start(settings).expect("the engine starts")), ())
}
