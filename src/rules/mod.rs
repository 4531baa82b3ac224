//! The sandbox: where plugins are inspected, compiled and run.
//!
//! Owns everything that touches Wasmtime, and the port behind which rules may
//! one day run in a process of their own. Must never know the database or
//! HTTP, and never lets a plugin's output through unchecked.

mod artifact;
mod call;
mod call_state;
pub mod cases;
pub mod compile;
pub mod component;
mod contract;
mod diagnosis;
mod engine;
mod library;
mod limits;
mod local;
mod progress;
mod settings;
mod spent;
mod tenants;
mod threads;

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;
use tokio::time::Instant;

use crate::domain::decision::EngineId;
use crate::domain::payment::Payment;
use crate::domain::plugin::{Digest, Plugin, Profile};
use crate::domain::selector::{Fact, FactQuery};
use crate::domain::tenant::TenantId;
use crate::domain::verdict::{FailureClass, Reason, RuleResult};

pub use diagnosis::{Diagnosis, Frame};
pub use engine::EngineSetupError;
pub use library::{expected_profile, profile_by_size};
pub use limits::{LimitsInForce, burns, computes_long, has_all_its_fuel, was_starved};
pub use local::{LocalEngine, LocalEngineError};
pub use settings::Settings;
pub use threads::{BACKGROUND_NICENESS, Threads};

/// One rule of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCall {
    pub plugin: Digest,
    pub profile: Profile,
    pub state: Arc<[u8]>,
    pub facts: Vec<Fact>,
    /// Fuel that the rules before this one used, where it is on record: the
    /// budget of a ruleset is shared. Otherwise the call counts for itself.
    pub fuel_spent_before: Option<u64>,
}

/// A whole ruleset on one payment: one call of the engine.
#[derive(Debug, Clone)]
pub struct RulesetCall {
    pub tenant: TenantId,
    pub payment: Arc<Payment>,
    pub rules: Vec<RuleCall>,
    pub deadline: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRun {
    pub result: RuleResult,
    pub fuel_used: u64,
    pub elapsed_us: u32,
}

/// What a rule's `prepare` made of its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    pub profile: Profile,
    pub queries: Vec<FactQuery>,
    pub state: Vec<u8>,
}

/// A call that failed, to be made once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailedCall {
    Prepare {
        plugin: Digest,
        settings: String,
    },
    /// The rule names the fuel that earlier rules used.
    Evaluate {
        payment: Arc<Payment>,
        rule: RuleCall,
    },
}

impl FailedCall {
    pub fn plugin(&self) -> Digest {
        match self {
            Self::Prepare { plugin, .. } => *plugin,
            Self::Evaluate { rule, .. } => rule.plugin,
        }
    }
}

/// How far a ruleset had come when its deadline struck.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missed {
    /// The runs of the rules that had ended, in their order.
    pub runs: Vec<RuleRun>,
    /// Milliseconds that the next rule had computed.
    pub running_ms: u32,
    /// Whether the tenant's own rules kept the engine busy meanwhile, and not
    /// somebody else or a slow machine.
    pub by_its_own: bool,
}

/// The engine as a whole could not evaluate the ruleset.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    #[error("too many payments of this tenant are waiting for their rules")]
    Busy,
    #[error("the rules did not finish before the deadline")]
    Deadline(Missed),
    #[error("the rule engine is unavailable: {0}")]
    Unavailable(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PrepareError {
    #[error("the plugin {0} is not loaded")]
    UnknownPlugin(Digest),
    /// The rule's own words on wrong settings; `field` points into them.
    #[error("the rule does not accept its settings")]
    Refused(Vec<Reason>),
    #[error("the rule failed while reading its settings ({class}): {detail}", class = class.name())]
    Failed { class: FailureClass, detail: String },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddPluginError {
    /// The bytes are at fault; the text says why and what to do about it.
    #[error("{0}")]
    Refused(String),
    /// Only the large limits hold it, and it was to be compiled under the small ones.
    #[error("the plugin needs the limits of large plugins")]
    NeedsLarge,
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// "Evaluate this ruleset on this input": the port to wherever rules run.
#[async_trait]
pub trait RuleEngine: Send + Sync + std::fmt::Debug {
    fn id(&self) -> &EngineId;

    /// Answers one run per rule, in their order. A rule that fails is a run
    /// that says so; an error means the whole call gave nothing.
    async fn evaluate(&self, call: RulesetCall) -> Result<Vec<RuleRun>, EngineError>;

    /// Many payments on spare capacity, for what tries rules: live payments go
    /// first, whatever the number. Answers one list of runs per call, in their order.
    async fn evaluate_in_background(&self, calls: Vec<RulesetCall>)
    -> Result<Vec<Vec<RuleRun>>, EngineError>;

    async fn prepare(&self, plugin: Digest, settings: String) -> Result<Prepared, PrepareError>;

    /// Inspects, compiles (in a child process) and keeps a plugin. The same bytes twice are one plugin.
    /// Under the limits of `most` at most, which whoever calls has taken a turn for.
    async fn add_plugin(&self, bytes: Arc<[u8]>, most: Profile) -> Result<Plugin, AddPluginError>;

    /// A plugin that was added and can run at once. Nothing also for one whose
    /// compiled code was lost: adding its bytes again brings it back.
    async fn plugin(&self, digest: Digest) -> Option<Plugin>;

    /// Looks into a failed call of a loaded plugin, with its `bytes`: makes it
    /// again, apart from the live ones. Nothing where it does not fail again.
    async fn diagnose(&self, call: FailedCall, bytes: Arc<[u8]>) -> Result<Option<Diagnosis>, EngineError>;
}
