//! The latest checkpoints of the journal, for auditors.

use rocket::http::Status;
use rocket::{Route, get, routes};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::signing_key::Jwk;
use crate::domain::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::http::edge::guard::{AuditRead, Caller};
use crate::http::openapi::problems::CommonProblems;
use crate::http::response::ApiResponse;
use crate::http::response::moment::Moment;
use crate::http::response::problem::Problem;
use crate::http::services::ServiceState;

pub fn routes() -> Vec<Route> {
    routes![latest]
}

/// The latest checkpoint of each writer known to this node, and the key to verify the signatures with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Checkpoints)]
pub struct CheckpointsShape {
    pub items: Vec<CheckpointShape>,
    /// An Ed25519 JSON Web Key (RFC 8037).
    #[schema(value_type = Object)]
    pub public_key: Jwk,
}

/// A signed checkpoint. Saved one per line, checkpoints can be passed to `tollgate verify
/// --checkpoints`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Checkpoint)]
pub struct CheckpointShape {
    pub writer: Uuid,
    /// Sequence number of the writer's last batch.
    pub sequence: i64,
    /// Hash of that batch, in hexadecimal.
    pub hash: String,
    pub at_ms: Moment,
    pub kid: String,
    /// Ed25519 signature in base64url without padding. Signs the lines `tollgate checkpoint 1`, writer,
    /// sequence, hash and time, each followed by a line feed.
    pub signature: String,
}

impl From<SignedCheckpoint> for CheckpointShape {
    fn from(signed: SignedCheckpoint) -> Self {
        let Checkpoint { writer, sequence, hash, at_ms } = signed.checkpoint;
        let (kid, signature) = (signed.kid, signed.signature);
        Self { writer, sequence, hash: hash.to_string(), at_ms: Moment(at_ms), kid, signature }
    }
}

/// Returns the latest signed checkpoints.
///
/// Store them elsewhere: they later prove that no recent entries were removed from the journal.
#[utoipa::path(
    tag = "audit",
    responses((status = 200, body = CheckpointsShape), CommonProblems),
    security(("oauth" = ["audit:read"]))
)]
#[get("/audit/checkpoints")]
pub fn latest(_caller: Caller<AuditRead>, services: &ServiceState) -> Result<ApiResponse, Problem> {
    let items = services.checkpoints.all().into_iter().map(CheckpointShape::from).collect();
    let public_key = services.checkpoints.public_key();
    ApiResponse::json(Status::Ok, &CheckpointsShape { items, public_key })
}
