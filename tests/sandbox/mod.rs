//! The tests of the sandbox. They run on each engine: every test binary that includes this module
//! says how its engine is started.

mod cache;
mod compiling;
pub mod components;
mod diagnosis;
pub mod harness;
mod hostile;
#[cfg(target_os = "linux")]
mod memory;

use tollgate::domain::verdict::{Evaluation, RuleResult, Verdict};

fn passes() -> RuleResult {
    RuleResult::Ran(Evaluation { verdict: Verdict::Pass, notes: vec![] })
}
