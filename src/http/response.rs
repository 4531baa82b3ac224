//! Successful responses: status, headers, body and entity tag.

pub(super) mod decimal;
pub(super) mod entity_tags;
pub(super) mod failure;
pub(super) mod moment;
pub(super) mod problem;

use std::io::Cursor;

use rocket::Request;
use rocket::http::{ContentType, Header, Method, Status};
use rocket::response::{self, Responder, Response};
use serde::Serialize;
use tokio_util::bytes::Bytes;
use utoipa::ToSchema;

use crate::domain::plugin::Digest;
use crate::http::response::entity_tags::EntityTags;
use crate::http::response::moment::to_json;
use crate::http::response::problem::{Problem, ProblemKind};

#[derive(Debug)]
pub struct ApiResponse {
    status: Status,
    content_type: Option<ContentType>,
    headers: Vec<Header<'static>>,
    /// The entity tag, if it covers every byte of the body.
    body_tag: Option<String>,
    /// Shared, if it is the same for all.
    body: Bytes,
}

impl ApiResponse {
    pub fn json(status: Status, value: &impl Serialize) -> Result<Self, Problem> {
        let body = to_json(value).map_err(|error| {
            tracing::error!(%error, "a response could not be serialised as JSON");
            Problem::new(ProblemKind::Internal, "The cause is logged under this request id.")
        })?;
        Ok(Self { status, content_type: Some(ContentType::JSON), ..Self::of(body) })
    }

    pub fn bytes(content_type: ContentType, body: impl Into<Bytes>) -> Self {
        Self { content_type: Some(content_type), ..Self::of(body) }
    }

    pub fn empty(status: Status) -> Self {
        Self { status, ..Self::of(Vec::new()) }
    }

    fn of(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { status: Status::Ok, content_type: None, headers: Vec::new(), body_tag: None, body }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push(Header::new(name, value.into()));
        self
    }

    /// Adds an `ETag` over every byte of the body, and responds 304 if the client has that tag.
    /// An `ETag` that covers less must be set with `with`: it must never lead to a 304.
    pub fn with_tag_of_body(mut self) -> Self {
        let tag = format!("\"{}\"", Digest::of(&self.body));
        self.body_tag = Some(tag.clone());
        self.with("ETag", tag)
    }
}

impl ApiResponse {
    /// Whether `If-None-Match` contains the tag of this body. A malformed header is ignored.
    fn is_known_to(&self, request: &Request<'_>) -> bool {
        let reads = matches!(request.method(), Method::Get | Method::Head) && self.status == Status::Ok;
        self.body_tag
            .as_deref()
            .filter(|_| reads)
            .zip(EntityTags::of(request, "If-None-Match").ok().flatten())
            .is_some_and(|(tag, tags)| tags.contain(tag))
    }
}

impl<'r> Responder<'r, 'static> for ApiResponse {
    fn respond_to(mut self, request: &'r Request<'_>) -> response::Result<'static> {
        if self.is_known_to(request) {
            (self.status, self.content_type) = (Status::NotModified, None);
        }
        let mut response = Response::build();
        response.status(self.status);
        if let Some(content_type) = self.content_type {
            response.header(content_type).sized_body(self.body.len(), Cursor::new(self.body));
        }
        for header in self.headers {
            // Several cookies are several headers.
            response.header_adjoin(header);
        }
        response.ok()
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass this as `cursor` to get the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A complete list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Items<T> {
    pub items: Vec<T>,
}
