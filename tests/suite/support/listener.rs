//! A client of the live feed that reads what comes, event by event.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use super::service::Caller;

/// One event with data.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub id: String,
    pub name: String,
    pub data: Value,
}

pub struct Listener {
    response: Response,
    text: String,
    /// As a browser keeps it: also from an event without data.
    pub last_id: String,
}

impl Listener {
    pub async fn open(caller: &Caller) -> Self {
        Self::from(caller, None).await
    }

    /// Returns once the feed has begun.
    pub async fn from(caller: &Caller, last_id: Option<&str>) -> Self {
        let response = ask(caller, last_id).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["Content-Type"], "text/event-stream");
        let mut listener = Self { response, text: String::new(), last_id: String::new() };
        while listener.last_id.is_empty() {
            assert!(listener.step().await, "the feed ended at once");
            assert_eq!(listener.take_event(), None, "the first event has no data");
        }
        listener
    }

    /// The next event with data; nothing at the end of the stream.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.take_event() {
                return Some(heard);
            }
            if !self.text.contains("\n\n") && !self.step().await {
                return None;
            }
        }
    }

    pub async fn next_within(&mut self, wait: Duration) -> Option<Heard> {
        tokio::time::timeout(wait, self.next()).await.ok().flatten()
    }

    /// Everything that comes until nothing has come for a while.
    pub async fn rest(&mut self, quiet: Duration) -> Vec<Heard> {
        let mut all = Vec::new();
        while let Some(heard) = self.next_within(quiet).await {
            all.push(heard);
        }
        all
    }

    async fn step(&mut self) -> bool {
        let chunk = self.response.chunk().await.expect("the stream is cut instead of ended");
        if let Some(chunk) = &chunk {
            self.text.push_str(std::str::from_utf8(chunk).expect("UTF-8"));
        }
        chunk.is_some()
    }

    /// Takes one block from what was read.
    fn take_event(&mut self) -> Option<Heard> {
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
        Some(Heard { id, name, data })
    }
}

pub async fn ask(caller: &Caller, last_id: Option<&str>) -> Response {
    let mut request = caller.request(Method::GET, "/events");
    if let Some(id) = last_id {
        request = request.header("Last-Event-ID", id);
    }
    request.send().await.expect("an answer")
}
