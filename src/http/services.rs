//! What the handlers work with: one managed value, filled by the wiring.
//!
//! Owns nothing but the list. Must never hold what belongs to one request.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::password::SecretHasher;
use crate::auth::sign_in_limits::SignInLimits;
use crate::auth::token::{AccessTokens, Issuer};
use crate::decisions::card_checks::CardChecks;
use crate::decisions::checkpoints::Checkpoints;
use crate::decisions::dry_run::DryRuns;
use crate::decisions::nodes::Nodes;
use crate::decisions::plugins::Plugins;
use crate::decisions::quarantine::Quarantines;
use crate::decisions::replay::Replays;
use crate::decisions::rulesets::Rulesets;
use crate::decisions::submit::Submissions;
use crate::decisions::uploads::Uploads;
use crate::domain::quotas::Quotas;
use crate::domain::time::{Clock, Randomness};
use crate::http::request::cursor::CursorKey;
use crate::storage::pool::AppPool;

/// The use cases and what reading needs.
#[derive(Debug)]
pub struct Services {
    pub submissions: Arc<Submissions>,
    pub rulesets: Arc<Rulesets>,
    pub plugins: Arc<Plugins>,
    pub uploads: Arc<Uploads>,
    pub nodes: Arc<Nodes>,
    pub replays: Arc<Replays>,
    pub dry_runs: DryRuns,
    pub checkpoints: Arc<Checkpoints>,
    pub quarantines: Arc<Quarantines>,
    pub card_checks: Arc<CardChecks>,
    pub app: AppPool,
    pub hasher: Arc<SecretHasher>,
    pub sign_ins: SignInLimits,
    pub clock: Arc<dyn Clock>,
    pub randomness: Arc<dyn Randomness>,
    pub cursors: CursorKey,
    pub quotas: Quotas,
    /// `iss` of our tokens: the address clients know us by.
    pub issuer: Issuer,
    /// How long a submission may take, counted from the request's first byte.
    /// Shorter than the edge's deadline, so that the handler can still answer.
    pub submission_deadline: Duration,
}

/// How handlers get at them.
pub type Shared = rocket::State<Arc<Services>>;

/// Whose tokens are believed. Managed apart from the rest: guards need nothing else.
#[derive(Debug, Clone)]
pub struct Tokens(pub Arc<AccessTokens>);

/// How large bodies may be, and how long they may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub body_bytes: usize,
    /// By then an ordinary body has come, counted from the request's first byte, also on
    /// a route that has longer for other bodies.
    pub body_deadline: Duration,
    /// The bound of a body with many entries of a list.
    pub lines_bytes: usize,
    pub upload_bytes: usize,
    pub form_bytes: usize,
}

/// Takes the measurements that are made on demand, and renders `/metrics`.
pub struct Metrics(pub Box<dyn Fn() -> String + Send + Sync>);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}
