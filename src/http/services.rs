//! The managed state of the server, which `app` fills and handlers use.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::password::SecretHasher;
use crate::auth::sign_in_limits::SignInLimits;
use crate::auth::token::{AccessTokens, TokenIssuer};
use crate::decisions::card_checks::CardChecks;
use crate::decisions::checkpoints::Checkpoints;
use crate::decisions::diagnoses::Diagnoses;
use crate::decisions::dry_run::DryRuns;
use crate::decisions::nodes::Nodes;
use crate::decisions::quarantine::Quarantines;
use crate::decisions::replay::Replays;
use crate::decisions::reviews::Reviews;
use crate::decisions::rulesets::Rulesets;
use crate::decisions::search_index::SearchIndex;
use crate::decisions::submit::Submissions;
use crate::decisions::tables::Tables;
use crate::decisions::uploads::Uploads;
use crate::domain::quotas::Quotas;
use crate::domain::time::World;
use crate::http::request::cursor::CursorKey;
use crate::people::clients::Clients;
use crate::people::openid::Openid;
use crate::people::sign_in::SignIns;
use crate::people::tenants::Tenants;
use crate::people::users::Users;
use crate::proposals::Proposals;
use crate::storage::pool::AppPool;

/// The use cases, and what handlers need to read from storage.
#[derive(Debug)]
pub struct Services {
    pub submissions: Arc<Submissions>,
    pub rulesets: Arc<Rulesets>,
    pub diagnoses: Arc<Diagnoses>,
    pub uploads: Arc<Uploads>,
    pub nodes: Arc<Nodes>,
    pub replays: Arc<Replays>,
    pub dry_runs: DryRuns,
    pub checkpoints: Arc<Checkpoints>,
    pub search: Arc<SearchIndex>,
    pub quarantines: Arc<Quarantines>,
    pub card_checks: Arc<CardChecks>,
    pub reviews: Arc<Reviews>,
    pub tables: Tables,
    pub app: AppPool,
    pub hasher: Arc<SecretHasher>,
    /// Of clients.
    pub sign_in_limits: SignInLimits,
    pub users: Arc<Users>,
    pub proposals: Proposals,
    pub sign_ins: Arc<SignIns>,
    pub openid: Arc<Openid>,
    pub clients: Clients,
    pub tenants: Tenants,
    pub world: World,
    pub cursors: CursorKey,
    pub quotas: Quotas,
    /// `iss` of the access tokens: the address that clients use for this server.
    pub issuer: TokenIssuer,
    /// How long a submission may take, counted from when the request was received.
    /// Shorter than the edge's deadline, so that the handler can still respond.
    pub submission_deadline: Duration,
}

/// The parameter by which a handler gets the services.
pub type ServiceState = rocket::State<Arc<Services>>;

/// Verifies access tokens. Separate from the services, since guards only need this.
#[derive(Debug, Clone)]
pub struct Tokens(pub Arc<AccessTokens>);

/// How large bodies may be. How long they may take is the door's business.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    pub body_bytes: usize,
    /// The bound of a body with many entries of a list.
    pub lines_bytes: usize,
    /// The bound of a body with the rows of a table.
    pub rows_bytes: usize,
    pub upload_bytes: usize,
    pub form_bytes: usize,
}

/// Renders `/metrics`, after updating the metrics that are measured on demand.
pub struct Metrics(pub Box<dyn Fn() -> String + Send + Sync>);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}
