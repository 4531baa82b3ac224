//! A client of the live feed that reads one event after the other.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use super::service::Caller;

/// An event with data.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedEvent {
    pub id: String,
    pub name: String,
    pub data: Value,
}

pub struct FeedClient {
    response: Response,
    text: String,
    /// The id of the last event, even if it had no data, as a browser keeps it.
    pub last_id: String,
}

impl FeedClient {
    pub async fn open(caller: &Caller) -> Self {
        Self::open_after(caller, None).await
    }

    /// Opens the feed after this id. Returns when the feed has begun.
    pub async fn open_after(caller: &Caller, last_id: Option<&str>) -> Self {
        let response = request_feed(caller, last_id).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["Content-Type"], "text/event-stream");
        let mut client = Self { response, text: String::new(), last_id: String::new() };
        while client.last_id.is_empty() {
            assert!(client.read_chunk().await, "the feed ended at once");
            assert_eq!(client.take_event(), None, "the first event has no data");
        }
        client
    }

    /// The next event with data. `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<FeedEvent> {
        loop {
            if let Some(event) = self.take_event() {
                return Some(event);
            }
            if !self.text.contains("\n\n") && !self.read_chunk().await {
                return None;
            }
        }
    }

    pub async fn next_within(&mut self, wait: Duration) -> Option<FeedEvent> {
        tokio::time::timeout(wait, self.next()).await.ok().flatten()
    }

    /// Reads events until none arrives for the duration `quiet`.
    pub async fn rest(&mut self, quiet: Duration) -> Vec<FeedEvent> {
        let mut all = Vec::new();
        while let Some(event) = self.next_within(quiet).await {
            all.push(event);
        }
        all
    }

    async fn read_chunk(&mut self) -> bool {
        let chunk = self.response.chunk().await.expect("the stream was cut off");
        if let Some(chunk) = &chunk {
            self.text.push_str(std::str::from_utf8(chunk).expect("UTF-8"));
        }
        chunk.is_some()
    }

    /// Removes one event from the text that was read.
    fn take_event(&mut self) -> Option<FeedEvent> {
        let (block, rest) = self.text.split_once("\n\n")?;
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().to_owned()
        };
        let (id, name, data) = (field("id"), field("event"), field("data"));
        self.text = rest.to_owned();
        if !id.is_empty() {
            self.last_id.clone_from(&id);
        }
        let data = (!data.is_empty()).then(|| serde_json::from_str(&data).expect("JSON"))?;
        Some(FeedEvent { id, name, data })
    }
}

pub async fn request_feed(caller: &Caller, last_id: Option<&str>) -> Response {
    let mut request = caller.request(Method::GET, "/events");
    if let Some(id) = last_id {
        request = request.header("Last-Event-ID", id);
    }
    request.send().await.expect("a response")
}
