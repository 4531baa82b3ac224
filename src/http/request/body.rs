//! Receives request bodies: checks media type, limit, completeness and syntax.
//!
//! No part of a body may be logged or repeated. So Rocket's JSON guard must not be used: it logs
//! bodies that it cannot read.

use std::pin::pin;
use std::sync::Arc;

use rocket::Request;
use rocket::data::{Data, FromData, Outcome};
use rocket::http::ContentType;
use rocket::request::{self, FromRequest};
use tokio_util::bytes::Bytes;

use crate::decisions::spool::Spool;
use crate::domain::card_check::UncheckedFields;
use crate::domain::line_format::LineFormat;
use crate::domain::plugin::Digest;
use crate::door::BodyError;
use crate::http::edge::upload_slots::UploadSlot;
use crate::http::request::card_numbers::unchecked_of;
use crate::http::request::declaration::Body;
use crate::http::request::fields::{self, Context, Screened};
use crate::http::request::json::{self, Value};
use crate::http::request::received;
use crate::http::response::problem::{Problem, ProblemKind};
use crate::http::services::{BodyLimits, Services};

/// A parsed JSON body.
pub struct JsonBody {
    value: Value,
    /// The fields in which the tenant allows card numbers.
    unchecked: UncheckedFields,
}

/// Does not print the body, which contains payment data.
impl std::fmt::Debug for JsonBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JsonBody")
    }
}

impl JsonBody {
    #[cfg(test)]
    pub fn of(value: Value) -> Self {
        Self { value, unchecked: UncheckedFields::NONE }
    }

    /// Reads the body. Checks that depend on the time use `now_ms`.
    pub fn read<B: Body>(&self, now_ms: u64) -> Result<B, Problem> {
        fields::read(&self.value, Context::of(self.unchecked, now_ms), B::read)
    }

    /// Like `read`, with a context chosen by the caller.
    pub fn read_in<B: Body>(&self, context: Context<'_>) -> Result<B, Problem> {
        fields::read(&self.value, context, B::read)
    }

    /// Reads a body even if it would be refused as a new one, since it may already be stored.
    pub fn screen<B: Body>(&self, now_ms: u64) -> Result<Screened<B>, Problem> {
        fields::screen(&self.value, Context::of(self.unchecked, now_ms), B::read)
    }

    pub fn unchecked(&self) -> UncheckedFields {
        self.unchecked
    }

    /// The guards must have run before: they set the tenant.
    fn of_request(request: &Request<'_>, bytes: &[u8]) -> Result<Self, Problem> {
        Ok(Self { value: parse(bytes)?, unchecked: unchecked_of(request) })
    }

    /// The hash of the canonical form. Earlier releases stored it with idempotency keys.
    pub fn hash(&self) -> Digest {
        Digest::of(self.value.canonical().as_bytes())
    }
}

/// Entries of a list: one as JSON, or many as lines. Lines occupy a slot for large bodies.
pub enum EntriesBody {
    One(JsonBody),
    Lines { format: LineFormat, bytes: Bytes, turn: UploadSlot },
}

impl std::fmt::Debug for EntriesBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EntriesBody")
    }
}

/// The rows of a new version of a table, not checked yet. They may be many megabytes, so they are
/// on disk, and occupy a slot for large bodies.
#[derive(Debug)]
pub struct RowsBody {
    pub format: LineFormat,
    pub spool: Spool,
    pub turn: UploadSlot,
}

/// A WebAssembly component, not checked yet. It may be megabytes, so it is on disk.
#[derive(Debug)]
pub struct WasmBody(pub Spool);

/// A form (RFC 6749 requires one). It contains a secret, so it has no Debug output.
pub struct FormBody(pub Bytes);

impl std::fmt::Debug for FormBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FormBody")
    }
}

#[rocket::async_trait]
impl<'r> FromData<'r> for JsonBody {
    type Error = ProblemKind;

    async fn from_data(request: &'r Request<'_>, _: Data<'r>) -> Outcome<'r, Self> {
        let limit = limits(request).map(|limits| limits.body_bytes);
        let read = read(request, limit, "application/json", is_json).await;
        outcome(request, read.and_then(|bytes| Self::of_request(request, &bytes)))
    }
}

fn is_json(found: &ContentType) -> bool {
    found.top() == "application" && (found.sub() == "json" || found.sub().as_str().ends_with("+json"))
}

#[rocket::async_trait]
impl<'r> FromData<'r> for EntriesBody {
    type Error = ProblemKind;

    async fn from_data(request: &'r Request<'_>, data: Data<'r>) -> Outcome<'r, Self> {
        let Some(format) = request.content_type().and_then(line_format) else {
            let limit = limits(request).map(|limits| limits.body_bytes);
            let expected = "application/json, application/x-ndjson or text/csv";
            let read = read(request, limit, expected, is_json).await;
            return outcome(
                request,
                read.and_then(|bytes| JsonBody::of_request(request, &bytes)).map(Self::One),
            );
        };
        let turn = match request.guard::<UploadSlot>().await {
            request::Outcome::Success(turn) => turn,
            request::Outcome::Error(error) => return Outcome::Error(error),
            request::Outcome::Forward(status) => return Outcome::Forward((data, status)),
        };
        let limit = limits(request).map(|limits| limits.lines_bytes);
        let read = read(request, limit, "that of the lines", |_| true).await;
        outcome(request, read.map(|bytes| Self::Lines { format, bytes, turn }))
    }
}

fn line_format(found: &ContentType) -> Option<LineFormat> {
    match (found.top().as_str(), found.sub().as_str()) {
        ("application", "x-ndjson") => Some(LineFormat::Jsonl),
        ("text", "csv") => Some(LineFormat::Csv),
        _ => None,
    }
}

#[rocket::async_trait]
impl<'r> FromData<'r> for RowsBody {
    type Error = ProblemKind;

    async fn from_data(request: &'r Request<'_>, data: Data<'r>) -> Outcome<'r, Self> {
        let turn = match request.guard::<UploadSlot>().await {
            request::Outcome::Success(turn) => turn,
            request::Outcome::Error(error) => return Outcome::Error(error),
            request::Outcome::Forward(status) => return Outcome::Forward((data, status)),
        };
        let limit = limits(request).map(|limits| limits.rows_bytes);
        let is_lines = |found: &ContentType| line_format(found).is_some();
        let spooled = match check(request, limit, "application/x-ndjson or text/csv", is_lines) {
            Ok(limit_bytes) => spool(request, limit_bytes).await,
            Err(problem) => Err(problem),
        };
        let format = request.content_type().and_then(line_format).unwrap_or(LineFormat::Csv);
        outcome(request, spooled.map(|spool| Self { format, spool, turn }))
    }
}

#[rocket::async_trait]
impl<'r> FromData<'r> for WasmBody {
    type Error = ProblemKind;

    async fn from_data(request: &'r Request<'_>, _: Data<'r>) -> Outcome<'r, Self> {
        let is_wasm = |found: &ContentType| found.top() == "application" && found.sub() == "wasm";
        let limit = limits(request).map(|limits| limits.upload_bytes);
        let spooled = match check(request, limit, "application/wasm", is_wasm) {
            Ok(limit_bytes) => spool(request, limit_bytes).await,
            Err(problem) => Err(problem),
        };
        outcome(request, spooled.map(Self))
    }
}

async fn spool(request: &Request<'_>, limit_bytes: usize) -> Result<Spool, Problem> {
    let services = request.rocket().state::<Arc<Services>>().ok_or_else(|| unmanaged("the services"))?;
    // Reads one byte more than the limit, to notice a body that is too large.
    let received = pin!(received::take(request).into_reader(limit_bytes as u64 + 1));
    let spool = Spool::receive(services.uploads.spool_folder(), received).await?;
    if spool.size_bytes() > limit_bytes as u64 { Err(too_large(limit_bytes)) } else { Ok(spool) }
}

#[rocket::async_trait]
impl<'r> FromData<'r> for FormBody {
    type Error = ProblemKind;

    async fn from_data(request: &'r Request<'_>, _: Data<'r>) -> Outcome<'r, Self> {
        let limit = limits(request).map(|limits| limits.form_bytes);
        let read = read(request, limit, "application/x-www-form-urlencoded", |found| found.is_form()).await;
        outcome(request, read.map(Self))
    }
}

fn limits<'r>(request: &'r Request<'_>) -> Option<&'r BodyLimits> {
    request.rocket().state::<BodyLimits>()
}

fn outcome<'r, T>(request: &'r Request<'_>, read: Result<T, Problem>) -> Outcome<'r, T, T::Error>
where
    T: FromData<'r, Error = ProblemKind>,
{
    match read {
        Ok(body) => Outcome::Success(body),
        Err(problem) => {
            let (status, kind) = (problem.kind.status(), problem.kind);
            request.local_cache(|| Some(problem));
            Outcome::Error((status, kind))
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    json::parse(bytes).map_err(|error| {
        Problem::new(ProblemKind::MalformedBody, format!("The body is not valid JSON: {error}."))
    })
}

fn unmanaged(what: &str) -> Problem {
    tracing::error!(what, "a request body cannot be read: the server was built without this part");
    Problem::new(ProblemKind::Internal, "The cause is logged under this request id.")
}

fn too_large(limit_bytes: usize) -> Problem {
    Problem::new(
        ProblemKind::BodyTooLarge,
        format!("The body of this request may have at most {limit_bytes} bytes."),
    )
}

/// Checks the headers before the body is read. Returns the limit in bytes.
fn check(
    request: &Request<'_>,
    limit_bytes: Option<usize>,
    expected: &str,
    accepts: impl FnOnce(&ContentType) -> bool,
) -> Result<usize, Problem> {
    let limit_bytes = limit_bytes.ok_or_else(|| unmanaged("the limits of bodies"))?;
    refuse_coding(request)?;
    if !request.content_type().is_some_and(accepts) {
        return Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            format!("The Content-Type must be {expected}."),
        ));
    }
    let announced = request.headers().get_one("Content-Length").and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit_bytes as u64) {
        return Err(too_large(limit_bytes));
    }
    Ok(limit_bytes)
}

/// Refuses a compressed body, which could become far larger than the limit.
fn refuse_coding(request: &Request<'_>) -> Result<(), Problem> {
    let mut codings = request.headers().get("Content-Encoding").flat_map(|line| line.split(','));
    let plain = |coding: &str| coding.trim().is_empty() || coding.trim().eq_ignore_ascii_case("identity");
    if codings.all(plain) {
        return Ok(());
    }
    let detail = "Send the body uncompressed, without a Content-Encoding.";
    Err(Problem { refuses_compression: true, ..Problem::new(ProblemKind::UnsupportedMediaType, detail) })
}

/// A guard that refuses compressed bodies, for routes that do not report body errors as problems.
#[derive(Debug)]
pub struct Uncompressed;

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Uncompressed {
    type Error = ProblemKind;

    async fn from_request(request: &'r Request<'_>) -> request::Outcome<Self, ProblemKind> {
        match refuse_coding(request) {
            Ok(()) => request::Outcome::Success(Self),
            Err(problem) => problem.refuse(request),
        }
    }
}

async fn read(
    request: &Request<'_>,
    limit_bytes: Option<usize>,
    expected: &str,
    accepts: impl FnOnce(&ContentType) -> bool,
) -> Result<Bytes, Problem> {
    let limit_bytes = check(request, limit_bytes, expected, accepts)?;
    received::take(request).read(limit_bytes).await.map_err(|error| match error {
        BodyError::TooLarge => too_large(limit_bytes),
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use rocket::http::{Header, Status};
    use rocket::local::blocking::Client;

    use super::*;
    use crate::door::ReceivedBody;
    use crate::http::response::problem::default_catcher;

    #[rocket::post("/json", data = "<body>")]
    fn json_route(body: JsonBody) -> String {
        body.hash().to_string()
    }

    fn client() -> Client {
        let limits =
            BodyLimits { body_bytes: 20, lines_bytes: 10, rows_bytes: 10, upload_bytes: 10, form_bytes: 10 };
        let config = rocket::Config { log_level: rocket::config::LogLevel::Off, ..Default::default() };
        let rocket = rocket::custom(config)
            .manage(limits)
            .manage(crate::world::system())
            .mount("/", rocket::routes![json_route])
            .register("/", rocket::catchers![default_catcher]);
        Client::untracked(rocket).expect("a rocket")
    }

    fn post(client: &Client, media_type: Option<&'static str>, body: &[u8]) -> (Status, String) {
        let mut request = client.post("/json");
        received::keep(request.inner(), ReceivedBody::Whole(Bytes::copy_from_slice(body)));
        if let Some(media_type) = media_type {
            request.add_header(Header::new("Content-Type", media_type));
        }
        let response = request.dispatch();
        (response.status(), response.into_string().expect("a body"))
    }

    #[test]
    fn a_body_passes_media_type_limit_and_syntax_in_this_order() {
        let client = client();
        let json = Some("application/json");
        for (media_type, body, status, slug) in [
            (None, &b"{}"[..], 415, "unsupported-media-type"),
            (Some("text/plain"), b"{}", 415, "unsupported-media-type"),
            (Some("text/plain"), b"{                        }", 415, "unsupported-media-type"),
            (json, b"{                        }", 413, "body-too-large"),
            (json, b"{\"a\":}", 400, "malformed-body"),
            (json, b"", 400, "malformed-body"),
            (json, b"\"\xff\"", 400, "malformed-body"),
        ] {
            let (found, text) = post(&client, media_type, body);
            assert_eq!(found.code, status, "{text}");
            assert!(text.contains(&format!("\"/problems/{slug}\"")), "{text}");
        }
    }

    #[test]
    fn the_same_body_written_otherwise_has_the_same_hash() {
        let client = client();
        let json = Some("application/json; charset=utf-8");
        let first = post(&client, json, b"{\"a\":1,\"b\":2}");
        assert_eq!(first.0, Status::Ok);
        assert_eq!(post(&client, json, b"{ \"b\":2, \"a\" :1 }"), first);
        assert_ne!(post(&client, json, b"{\"a\":1,\"b\":3}"), first);
    }
}
