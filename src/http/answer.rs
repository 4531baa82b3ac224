//! Answers that are no problems.
//!
//! Owns how a body and its headers are put on the wire. Must never decide
//! what is in them.

use std::io::Cursor;

use rocket::Request;
use rocket::http::{ContentType, Header, Method, Status};
use rocket::response::{self, Responder, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::entity_tags::Tags;
use super::problem::{Kind, Problem};

#[derive(Debug)]
pub struct Answer {
    status: Status,
    content_type: Option<ContentType>,
    headers: Vec<Header<'static>>,
    body: Vec<u8>,
}

impl Answer {
    pub fn json(status: Status, value: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(value).map_err(|error| {
            tracing::error!(%error, "an answer cannot be written as JSON");
            Problem::new(Kind::Internal, "The failure is logged under the request id.")
        })?;
        Ok(Self { status, content_type: Some(ContentType::JSON), headers: Vec::new(), body })
    }

    pub fn bytes(content_type: ContentType, body: Vec<u8>) -> Self {
        Self { status: Status::Ok, content_type: Some(content_type), headers: Vec::new(), body }
    }

    pub fn empty(status: Status) -> Self {
        Self { status, content_type: None, headers: Vec::new(), body: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push(Header::new(name, value.into()));
        self
    }
}

impl Answer {
    /// Whether the client has it already: whether `If-None-Match` names its tag.
    /// A header that cannot be read is no condition.
    fn is_known_to(&self, request: &Request<'_>) -> bool {
        let tag = self.headers.iter().find(|header| header.name() == "ETag").map(Header::value);
        let reads = matches!(request.method(), Method::Get | Method::Head) && self.status == Status::Ok;
        tag.filter(|_| reads)
            .zip(Tags::of(request, "If-None-Match").ok().flatten())
            .is_some_and(|(tag, tags)| tags.name(tag))
    }
}

impl<'r> Responder<'r, 'static> for Answer {
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
            response.header(header);
        }
        response.ok()
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// For the parameter `cursor` of the next request; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A whole list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Items<T> {
    pub items: Vec<T>,
}
