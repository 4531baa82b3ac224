//! The sandbox: it inspects, compiles and runs plugins.
//!
//! All use of Wasmtime is in this module. Others call it through [`RuleEngine`], so that rules can
//! move to another process. All output of a plugin must be checked before it is returned.

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
mod processor_time;
mod progress;
mod settings;
mod tenant_limits;
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
pub use engine::{EngineSetupError, engine_id};
pub use library::{expected_profile, profile_by_size};
pub use limits::{LimitsInForce, burns, computes_long, has_all_its_fuel, was_starved};
pub use local::{LocalEngine, LocalEngineError};
pub use settings::EngineSettings;
pub use threads::{BACKGROUND_NICENESS, Threads};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCall {
    pub plugin: Digest,
    pub profile: Profile,
    pub state: Arc<[u8]>,
    pub facts: Vec<Fact>,
    /// The recorded fuel of the earlier rules of the ruleset, since all rules share one budget. If
    /// `None`, the engine adds up the fuel of the rules before this one in the call.
    pub fuel_spent_before: Option<u64>,
}

/// The rules of a ruleset to evaluate on one payment, in one call of the engine.
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

/// The result of a rule's `prepare`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedSettings {
    pub profile: Profile,
    pub queries: Vec<FactQuery>,
    pub state: Vec<u8>,
}

/// A call that failed, to be repeated for a diagnosis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailedCall {
    Prepare {
        plugin: Digest,
        settings: String,
    },
    /// `rule.fuel_spent_before` must be set.
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

/// How far a ruleset had come at its deadline.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MissedDeadline {
    /// The runs of the rules that ended in time, in the order of the rules.
    pub runs: Vec<RuleRun>,
    /// For how many milliseconds the next rule had computed.
    pub running_ms: u32,
    /// Whether the tenant's own rules kept the engine busy. If not, other tenants did, or the
    /// machine was slow.
    pub caused_by_tenant: bool,
}

/// Why the engine could not evaluate a ruleset at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    #[error("too many payments of this tenant are waiting for their rules")]
    Busy,
    #[error("the rules did not finish before the deadline")]
    Deadline(MissedDeadline),
    #[error("the rule engine is unavailable: {0}")]
    Unavailable(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PrepareError {
    #[error("the plugin {0} is not loaded")]
    UnknownPlugin(Digest),
    /// The rule's reasons. `field` points into the settings.
    #[error("the rule does not accept its settings")]
    Refused(Vec<Reason>),
    #[error("the rule failed while reading its settings ({class}): {detail}", class = class.name())]
    Failed { class: FailureClass, detail: String },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddPluginError {
    /// The bytes are at fault. The text says why, and what the author can do.
    #[error("{0}")]
    Refused(String),
    /// The plugin fits only the large limits, and the caller allowed the small ones.
    #[error("the plugin needs the limits of large plugins")]
    NeedsLarge,
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Runs rules, in this process or elsewhere.
#[async_trait]
pub trait RuleEngine: Send + Sync + std::fmt::Debug {
    fn id(&self) -> &EngineId;

    /// Returns one run for each rule, in their order. A rule that fails has a run with the failure.
    /// An error means that the call as a whole has no result.
    async fn evaluate(&self, call: RulesetCall) -> Result<Vec<RuleRun>, EngineError>;

    /// Evaluates many payments in the background. Live payments have priority. Returns one list of
    /// runs for each call, in their order.
    async fn evaluate_in_background(&self, calls: Vec<RulesetCall>)
    -> Result<Vec<Vec<RuleRun>>, EngineError>;

    async fn prepare(&self, plugin: Digest, settings: String) -> Result<PreparedSettings, PrepareError>;

    /// Inspects, compiles (in a child process) and keeps a plugin. The same bytes twice are one
    /// plugin. `most` is the largest profile that may be used; the caller must have taken a turn
    /// for it.
    async fn add_plugin(&self, bytes: Arc<[u8]>, most: Profile) -> Result<Plugin, AddPluginError>;

    /// A plugin that was added and can run at once. `None` if it was never added or its compiled
    /// code was lost; adding its bytes again restores it.
    async fn plugin(&self, digest: Digest) -> Option<Plugin>;

    /// Repeats a failed call of a loaded plugin, apart from live calls, to find the cause. `bytes`
    /// are the plugin's. `None` if the call does not fail again.
    async fn diagnose(&self, call: FailedCall, bytes: Arc<[u8]>) -> Result<Option<Diagnosis>, EngineError>;
}
