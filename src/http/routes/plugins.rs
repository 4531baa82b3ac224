//! Plugins: uploading, reading, retiring and downloading them. Compilation happens later.

mod shapes;
mod wasm;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rocket::http::Status;
use rocket::request::{FromRequest, Outcome};
use rocket::{Request, Route, get, post, routes};

use crate::domain::plugin::{Digest, TenantPlugin};
use crate::domain::ruleset::DecisionPoint;
use crate::domain::tenant::TenantId;
use crate::http::edge::guard::{Caller, PluginsRead, PluginsWrite};
use crate::http::edge::upload_slots::UploadSlot;
use crate::http::openapi::problems::{ListProblems, ReadProblems, RetireProblems, UploadProblems};
use crate::http::request::body::WasmBody;
use crate::http::request::query::Query;
use crate::http::response::problem::{Problem, ProblemKind};
use crate::http::response::{ApiResponse, Items};
use crate::http::routes::plugins::shapes::PluginShape;
use crate::http::routes::plugins::wasm::PluginDownload;
use crate::http::services::ServiceState;
use crate::storage::{plugins, rulesets};

pub fn routes() -> Vec<Route> {
    routes![list, one, download, retire]
}

/// Separate from `routes`, since a body of megabytes needs a longer deadline.
pub fn upload_routes() -> Vec<Route> {
    routes![upload]
}

/// The SHA-256 in Content-Digest or Repr-Digest (RFC 9530). Both have the same meaning here, since
/// the body has no content coding.
#[derive(Debug)]
pub struct PromisedDigest(Option<Digest>);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for PromisedDigest {
    type Error = ProblemKind;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, ProblemKind> {
        let headers = request.headers();
        let mut promised = None;
        for text in headers.get("Content-Digest").chain(headers.get("Repr-Digest")) {
            match sha256_of(text) {
                Ok(None) => {}
                Ok(Some(digest)) if promised.is_none_or(|earlier| earlier == digest) => {
                    promised = Some(digest);
                }
                _ => {
                    let detail = "Content-Digest and Repr-Digest must agree and have the form \
                                  sha-256=:<base64>:.";
                    return Problem::new(ProblemKind::MalformedRequest, detail).refuse(request);
                }
            }
        }
        Outcome::Success(Self(promised))
    }
}

/// Reads a dictionary of algorithms (RFC 9530). Other algorithms are ignored.
fn sha256_of(header: &str) -> Result<Option<Digest>, ()> {
    for member in header.split(',') {
        let (algorithm, value) = member.trim().split_once('=').ok_or(())?;
        if algorithm == "sha-256" {
            let encoded = value.strip_prefix(':').and_then(|value| value.strip_suffix(':')).ok_or(())?;
            let bytes = STANDARD.decode(encoded).map_err(|_| ())?;
            return Ok(Some(Digest(bytes.try_into().map_err(|_| ())?)));
        }
    }
    Ok(None)
}

/// Uploads a plugin.
///
/// Errors that can be found without compiling are returned immediately. Compilation happens later: read
/// the plugin to see its progress. Uploading the same bytes again gives the same plugin.
#[utoipa::path(
    tag = "plugins",
    params((
        "Content-Digest" = Option<String>,
        Header,
        description = "RFC 9530, `sha-256=:<base64>:`. Repr-Digest is accepted as well"
    )),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 202, body = PluginShape, headers(("Location"))), UploadProblems),
    security(("oauth" = ["plugins:write"]))
)]
#[post("/plugins", data = "<body>")]
pub async fn upload(
    caller: Caller<PluginsWrite>,
    promised: PromisedDigest,
    _turn: UploadSlot,
    services: &ServiceState,
    body: WasmBody,
) -> Result<ApiResponse, Problem> {
    let seen = services.uploads.upload(caller.tenant, &caller.actor(), body.0, promised.0).await?;
    let location = format!("/api/v1/plugins/{}", seen.digest);
    Ok(ApiResponse::json(Status::Accepted, &PluginShape::at(seen, services.world.now_ms()))?
        .with("Location", location))
}

/// Lists this tenant's plugins and the shared plugins.
///
/// Only the newest hundred refused plugins are kept.
#[utoipa::path(
    tag = "plugins",
    responses((status = 200, body = Items<PluginShape>), ListProblems),
    security(("oauth" = ["plugins:read"]))
)]
#[get("/plugins")]
pub async fn list(
    caller: Caller<PluginsRead>,
    query: Query,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    query.finish()?;
    let found = plugins::list(&services.app, caller.tenant).await?;
    let uses = rulesets::plugin_uses(&services.app, caller.tenant, DecisionPoint::Payment, None).await?;
    let now_ms = services.world.now_ms();
    let shape = |seen: TenantPlugin| PluginShape::at(seen, now_ms).with_uses(&uses);
    let items: Vec<PluginShape> = found.into_iter().map(shape).collect();
    ApiResponse::json(Status::Ok, &Items { items })
}

/// Returns a plugin: its state, its contents, the nodes that can run it and the newest revisions that
/// use it.
#[utoipa::path(
    tag = "plugins",
    responses((status = 200, body = PluginShape), ReadProblems),
    security(("oauth" = ["plugins:read"]))
)]
#[get("/plugins/<digest>")]
pub async fn one(
    caller: Caller<PluginsRead>,
    digest: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let digest = Digest::parse(digest).map_err(|_| Problem::not_found("plugin"))?;
    let seen = plugins::get(&services.app, caller.tenant, digest).await?;
    let seen = seen.ok_or(Problem::not_found("plugin"))?;
    ApiResponse::json(Status::Ok, &whole(services, caller.tenant, seen).await?)
}

async fn whole(
    services: &ServiceState,
    tenant: TenantId,
    seen: TenantPlugin,
) -> Result<PluginShape, Problem> {
    let now_ms = services.world.now_ms();
    if seen.plugin.is_none() {
        return Ok(PluginShape::at(seen, now_ms));
    }
    let (point, digest) = (DecisionPoint::Payment, seen.digest);
    let uses = rulesets::plugin_uses(&services.app, tenant, point, Some(digest)).await?;
    let nodes = services.nodes.readiness(digest).await?;
    Ok(PluginShape::at(seen, now_ms).with_uses(&uses).with_nodes(nodes))
}

/// Retires a plugin: new revisions cannot use it.
///
/// The component is kept because decisions refer to it. Uploading it again makes it available again.
#[utoipa::path(
    tag = "plugins",
    responses((status = 200, body = PluginShape), RetireProblems),
    security(("oauth" = ["plugins:write"]))
)]
#[post("/plugins/<digest>/retire")]
pub async fn retire(
    caller: Caller<PluginsWrite>,
    digest: &str,
    services: &ServiceState,
) -> Result<ApiResponse, Problem> {
    let digest = Digest::parse(digest).map_err(|_| Problem::not_found("plugin"))?;
    let now_ms = services.world.now_ms();
    let retired = plugins::retire(&services.app, caller.tenant, digest, &caller.actor(), now_ms).await?;
    ApiResponse::json(Status::Ok, &whole(services, caller.tenant, retired).await?)
}

/// Downloads the component.
#[utoipa::path(
    tag = "plugins",
    responses((status = 200, body = Vec<u8>, content_type = "application/wasm", headers(("Repr-Digest"))), ReadProblems),
    security(("oauth" = ["plugins:read"]))
)]
#[get("/plugins/<digest>/wasm")]
pub async fn download(
    caller: Caller<PluginsRead>,
    digest: &str,
    services: &ServiceState,
) -> Result<PluginDownload, Problem> {
    let digest = Digest::parse(digest).map_err(|_| Problem::not_found("plugin"))?;
    let seen = plugins::get(&services.app, caller.tenant, digest).await?;
    let plugin = seen.and_then(|seen| seen.plugin).ok_or(Problem::not_found("plugin"))?;
    Ok(PluginDownload::new(services.app.clone(), caller.tenant, &plugin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_digest_is_read_among_other_algorithms() {
        let encoded = STANDARD.encode([7; 32]);
        for (header, expected) in [
            (format!("sha-256=:{encoded}:"), Ok(Some(Digest([7; 32])))),
            (format!("sha-512=:AAAA:, sha-256=:{encoded}:"), Ok(Some(Digest([7; 32])))),
            ("sha-512=:AAAA:".to_owned(), Ok(None)),
            ("sha-256=:AAAA:".to_owned(), Err(())),
            (format!("sha-256={encoded}"), Err(())),
            ("".to_owned(), Err(())),
        ] {
            assert_eq!(sha256_of(&header), expected, "{header}");
        }
    }
}
