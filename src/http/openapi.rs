//! The OpenAPI document, generated from the code.
//!
//! A route is described at its handler. A test compares the document with the mounted routes.

mod finish;
mod moments;
pub(super) mod problems;

use std::sync::LazyLock;

use rocket::http::{ContentType, Status};
use rocket::{Route, get, routes};
use serde_json::Value;
use tokio_util::bytes::Bytes;
use utoipa::openapi::RefOr;
use utoipa::openapi::security::{
    ClientCredentials, Flow, HttpAuthScheme, HttpBuilder, OAuth2, Scopes, SecurityScheme,
};
use utoipa::{Modify, OpenApi};

use crate::domain::tenant::Scope;
use crate::http::openapi::finish::finish;
use crate::http::response::ApiResponse;
use crate::http::response::problem::ProblemBody;
use crate::http::routes::{
    actors, audit, backtests, checkpoints, clients, decisions, feed, index, lists, me, oauth, openid,
    operations, payments, plugins, problem_pages, proposals, reviews, rulesets, session, settings, tables,
    tenants, users,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tollgate",
        description = "Payment decisions by rules that run as sandboxed plugins. Every error is a problem \
                       document (RFC 9457). After a timeout or a 5xx response, repeat a submission with the \
                       same Idempotency-Key. A time has two forms: `at_ms` in UTC milliseconds since 1970, \
                       and `at` in the notation of RFC 3339. Responses have both, in UTC. Requests may have \
                       either, with any offset, or both if they are the same time; digits after the \
                       millisecond are dropped, and leap seconds are refused.",
        contact(name = "The operator of this Tollgate server"),
    ),
    servers((url = "/", description = "This server")),
    paths(
        oauth::token,
        oauth::jwks,
        oauth::metadata,
        session::begin,
        session::renew,
        session::end,
        session::set_password,
        openid::start,
        openid::finish,
        operations::health,
        operations::ready,
        operations::metrics,
        index::index,
        problem_pages::all,
        problem_pages::one,
    ),
    nest((path = "/api/v1", api = Version1)),
    components(schemas(ProblemBody<'static>, feed::DecisionEventShape, feed::ReviewEventShape)),
    modifiers(&Security, &Descriptions, &OperationIds)
)]
struct Document;

#[derive(OpenApi)]
#[openapi(paths(
    payments::submit,
    payments::list,
    payments::one,
    payments::events::report_event,
    payments::events::events,
    decisions::counts::counts,
    decisions::one,
    decisions::replay,
    decisions::erasure::erase,
    decisions::diagnoses::one,
    checkpoints::latest,
    reviews::list,
    reviews::summary,
    reviews::one,
    reviews::claim,
    reviews::hand_back,
    reviews::decide,
    settings::reviews::read,
    settings::reviews::replace,
    rulesets::create,
    rulesets::list,
    rulesets::one,
    rulesets::deployments::active,
    rulesets::deployments::activate,
    rulesets::deployments::roll_back,
    rulesets::deployments::activations,
    rulesets::deployments::start_canary,
    rulesets::deployments::end_canary,
    rulesets::deployments::start_shadow,
    rulesets::deployments::end_shadow,
    rulesets::dry_runs::dry_run,
    backtests::create,
    backtests::list,
    backtests::one,
    backtests::examples,
    backtests::cancel,
    rulesets::canary::report,
    rulesets::rule_reports::report,
    rulesets::shadow::report,
    rulesets::shadow::examples,
    rulesets::quarantines::list,
    rulesets::quarantines::lift,
    lists::create,
    lists::all,
    lists::close,
    lists::entries::add_entries,
    lists::entries::entries,
    lists::entries::close_entry,
    plugins::upload,
    plugins::list,
    plugins::one,
    plugins::download,
    tables::create,
    tables::list,
    tables::one,
    tables::close,
    tables::versions::upload,
    tables::versions::versions,
    tables::versions::version,
    tables::rows::download,
    tables::rows::look_up,
    tables::rows::diff,
    tables::activations::activations,
    tables::activations::activate,
    tables::activations::roll_back,
    audit::list,
    actors::names,
    users::create,
    users::list,
    users::change,
    users::new_link,
    users::remove_second_factor,
    users::end_sign_ins,
    clients::create,
    clients::list,
    clients::change,
    clients::replace_secret,
    proposals::list,
    proposals::one,
    proposals::approve,
    proposals::decline,
    proposals::withdraw,
    settings::second_person::setting,
    settings::second_person::change,
    settings::retention::setting,
    settings::retention::change,
    settings::retention::preview,
    settings::retention::list,
    tenants::create,
    tenants::list,
    settings::openid::read,
    settings::openid::change,
    settings::openid::remove,
    settings::openid::test,
    me::me,
    me::sessions,
    me::end_session,
    me::end_sessions,
    me::change_password,
    me::prepare_second_factor,
    me::confirm_second_factor,
    me::remove_second_factor,
    feed::follow,
    plugins::retire,
    document
))]
struct Version1;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scopes = Scopes::from_iter(Scope::ALL.map(|scope| (scope.name(), scope.name())));
        let flow = Flow::ClientCredentials(ClientCredentials::new("/oauth/token", scopes));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("oauth", SecurityScheme::OAuth2(OAuth2::new([flow])));
        let basic = HttpBuilder::new().scheme(HttpAuthScheme::Basic).build();
        components.add_security_scheme("client", SecurityScheme::Http(basic));
        let description = "The certificate of a client that is bound to one, beside its secret and with each \
                           of its tokens (RFC 8705). Other clients need none.";
        let certificate = SecurityScheme::MutualTls {
            description: Some(description.to_owned()),
            deprecated: None,
            extensions: None,
        };
        components.add_security_scheme("certificate", certificate);
    }
}

/// OpenAPI 3.1 requires a description of every response.
struct Descriptions;

impl Modify for Descriptions {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let items = document.paths.paths.values_mut();
        for operation in items
            .flat_map(|item| {
                [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete]
            })
            .flatten()
        {
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response
                    && response.description.is_empty()
                {
                    let status = status.parse().ok().and_then(Status::from_code);
                    response.description =
                        status.and_then(|status| status.reason()).unwrap_or("Done").to_owned();
                }
            }
        }
    }
}

/// Operation ids must be unique in the document, and several resources have a handler `list`.
struct OperationIds;

impl Modify for OperationIds {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let items = document.paths.paths.values_mut();
        for operation in items
            .flat_map(|item| {
                [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete]
            })
            .flatten()
        {
            let resource = operation.tags.iter().flatten().next();
            if let (Some(resource), Some(name)) = (resource, &operation.operation_id) {
                operation.operation_id = Some(format!("{resource}_{name}"));
            }
        }
    }
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| whole().to_string());

/// The document as JSON, for the route and for the command line.
pub fn text() -> &'static str {
    &DOCUMENT
}

fn whole() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    finish(&mut document);
    document
}

pub fn routes() -> Vec<Route> {
    routes![document]
}

/// Returns this OpenAPI document.
#[utoipa::path(
    tag = "operations",
    params((
        "If-None-Match" = Option<String>,
        Header,
        description = "ETag of the version the client already has"
    )),
    responses(
        (status = 200, body = Object, headers(("ETag"))),
        (status = 304, description = "Not modified"),
    )
)]
#[get("/openapi.json")]
pub fn document() -> ApiResponse {
    ApiResponse::bytes(ContentType::JSON, Bytes::from_static(text().as_bytes()))
        .with("Cache-Control", "no-cache")
        .with_tag_of_body()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::routes::mounts;

    fn documented() -> BTreeSet<String> {
        let document = whole();
        let paths = document["paths"].as_object().expect("paths");
        let operations = paths.iter().flat_map(|(path, item)| {
            let methods = item.as_object().expect("an item").keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        });
        operations.collect()
    }

    #[test]
    fn the_document_has_every_mounted_route_and_no_other() {
        let mounted: BTreeSet<String> = mounts()
            .into_iter()
            .flat_map(|mount| {
                let base = mount.base.trim_end_matches('/');
                mount.routes.into_iter().map(move |route| {
                    let path = route.uri.path().replace('<', "{").replace('>', "}");
                    format!("{} {base}{path}", route.method)
                })
            })
            .filter(|route| !route.contains(" /docs") && !route.contains(" /admin"))
            .collect();
        assert_eq!(documented(), mounted);
    }

    #[test]
    fn every_operation_under_the_api_needs_a_scope_that_exists() {
        let document = whole();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("an item") {
                if !path.starts_with("/api/v1/") || path == "/api/v1/openapi.json" {
                    continue;
                }
                let scopes = operation["security"][0]["oauth"].as_array().expect(path);
                // Whoever is signed in has these, whatever the roles.
                let is_own = path == "/api/v1/me" || path.starts_with("/api/v1/me/");
                assert_eq!(scopes.is_empty(), is_own, "{method} {path}");
                let is_known = |scope: &Value| Scope::parse(scope.as_str().expect("text")).is_some();
                assert!(scopes.iter().all(is_known), "{method} {path}");
                assert!(operation["responses"]["401"].is_object(), "{method} {path}");
            }
        }
    }

    /// A member that ends in `_ms` and is not a time.
    const DURATIONS: [&str; 4] = ["compile_ms", "compiling_ms", "waiting_ms", "window_ms"];

    /// The names of members that are described in one form only.
    fn one_form_only(schema: &Value) -> Vec<String> {
        let mut found = Vec::new();
        match schema {
            Value::Object(members) => {
                if let Some(properties) = members.get("properties").and_then(Value::as_object) {
                    let names = properties.keys().filter_map(|name| name.strip_suffix("_ms"));
                    let lacks =
                        |name: &&str| properties.get(*name).is_none_or(|it| it["format"] != "date-time");
                    found.extend(names.filter(lacks).map(|name| format!("{name}_ms")));
                }
                found.extend(members.values().flat_map(one_form_only));
            }
            Value::Array(items) => found.extend(items.iter().flat_map(one_form_only)),
            _ => {}
        }
        found
    }

    #[test]
    fn every_time_is_described_in_both_forms_and_no_duration_is() {
        let document = whole();
        let found: BTreeSet<String> = one_form_only(&document["components"]["schemas"]).into_iter().collect();
        assert_eq!(found, DURATIONS.map(str::to_owned).into(), "a time has the type `Moment`");
        for (path, item) in document["paths"].as_object().expect("paths") {
            for parameter in item["get"]["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().expect("a name");
                let parameters = item["get"]["parameters"].as_array().into_iter().flatten();
                let mut names = parameters.filter_map(|parameter| parameter["name"].as_str());
                let second = name.strip_suffix("_ms").unwrap_or(name);
                assert!(names.any(|name| name == second), "{path}: {name}");
            }
        }
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document = whole();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().expect("a pointer");
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
