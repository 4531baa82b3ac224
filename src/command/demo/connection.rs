//! The demonstration as a client of the API.
//!
//! Owns the token, the retries and what an answer means. Must never show the
//! secret or a token, and never send a payment again under another key.

use std::time::{Duration, Instant};

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::command::Failure;

/// For one answer. Longer than any deadline of the server should be.
const ANSWER_MAX: Duration = Duration::from_secs(15);
const ATTEMPTS_MAX: u32 = 8;
const RETRY_AFTER_MAX_S: u64 = 30;
/// A token is renewed when less than this is left of it, or a fifth of its life.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);

pub struct Connection {
    http: reqwest::Client,
    url: String,
    id: String,
    secret: String,
    token: Mutex<Option<Token>>,
}

/// By hand, since it holds a secret.
impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("url", &self.url).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Token {
    text: String,
    renew_at: Instant,
}

/// A payment that was decided.
#[derive(Debug)]
pub struct Decided {
    pub id: String,
    pub outcome: String,
    /// Of the last attempt, the one that was answered.
    pub took: Duration,
    pub retries: u32,
}

/// What became of telling an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Taken,
    Refused,
    /// The server has no place for events.
    NoPlace,
}

impl Connection {
    pub fn new(url: &str, id: String, secret: String) -> Result<Self, Failure> {
        let http = http()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), id, secret, token: Mutex::default() })
    }

    /// A token that is good for the next request, and one for all who ask at once.
    pub async fn token(&self) -> Result<String, Failure> {
        let mut token = self.token.lock().await;
        if let Some(token) = token.as_ref().filter(|token| token.renew_at > Instant::now()) {
            return Ok(token.text.clone());
        }
        let renewed = self.new_token().await?;
        let text = renewed.text.clone();
        *token = Some(renewed);
        Ok(text)
    }

    async fn new_token(&self) -> Result<Token, Failure> {
        let asked_at = Instant::now();
        let response = self
            .http
            .post(format!("{}/oauth/token", self.url))
            .basic_auth(&self.id, Some(&self.secret))
            .form(&[("grant_type", "client_credentials")])
            .send()
            .await
            .map_err(|error| format!("no token from {}: {}", self.url, cause(&error)))?;
        if !response.status().is_success() {
            return Err(format!("no token from {}: status {}", self.url, response.status().as_u16()).into());
        }
        let answer: Value = response.json().await?;
        let text = answer["access_token"].as_str().ok_or("an answer without a token")?.to_owned();
        let life = Duration::from_secs(answer["expires_in"].as_u64().unwrap_or(60));
        let renew_at = asked_at + life.saturating_sub(TOKEN_MARGIN.min(life / 5));
        Ok(Token { text, renew_at })
    }

    /// Until the outcome is known, or nobody can tell after many attempts.
    pub async fn submit(&self, key: &str, body: &Value) -> Result<Decided, Failure> {
        let mut retries = 0;
        loop {
            let begun = Instant::now();
            let pause = match self.attempt(key, body).await {
                Ok(response) if response.status().is_success() => {
                    let answer: Result<Value, reqwest::Error> = response.json().await;
                    // Cut off in the middle of the answer: the key will tell.
                    match answer.ok().and_then(|answer| decided(&answer)) {
                        Some((id, outcome)) => {
                            return Ok(Decided { id, outcome, took: begun.elapsed(), retries });
                        }
                        None => backoff(retries),
                    }
                }
                Ok(response) => match response.status() {
                    StatusCode::UNAUTHORIZED => {
                        *self.token.lock().await = None;
                        backoff(retries)
                    }
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT => retry_after(&response, retries),
                    status if status.is_server_error() => retry_after(&response, retries),
                    status => return Err(format!("status {}", status.as_u16()).into()),
                },
                Err(_) => backoff(retries),
            };
            retries += 1;
            if retries >= ATTEMPTS_MAX {
                return Err("no answer".into());
            }
            sleep(pause).await;
        }
    }

    async fn attempt(&self, key: &str, body: &Value) -> Result<Response, Failure> {
        let request = self.http.post(format!("{}/api/v1/payments", self.url)).header("Idempotency-Key", key);
        Ok(request.bearer_auth(self.token().await?).json(body).send().await?)
    }

    pub async fn tell(&self, payment: &str, kind: &str, at_ms: u64, note: &str) -> Result<Told, Failure> {
        let mut body = json!({"kind": kind, "at_ms": at_ms});
        if !note.is_empty() {
            body["note"] = json!(note);
        }
        let request = self.http.post(format!("{}/api/v1/payments/{payment}/events", self.url));
        let response = request.bearer_auth(self.token().await?).json(&body).send().await?;
        Ok(match response.status() {
            status if status.is_success() => Told::Taken,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Told::NoPlace,
            _ => Told::Refused,
        })
    }
}

/// Whether a Tollgate answers there.
pub async fn knock(url: &str) -> Result<(), Failure> {
    if !url.starts_with("http://") {
        return Err("--url: expected an address that begins with http://".into());
    }
    let health = format!("{}/health", url.trim_end_matches('/'));
    match http()?.get(health).send().await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("no Tollgate at {url}: status {}", response.status().as_u16()).into()),
        Err(error) => {
            Err(format!("no Tollgate at {url}: {}; start one with: tollgate serve", cause(&error)).into())
        }
    }
}

fn http() -> Result<reqwest::Client, Failure> {
    Ok(reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX).build()?)
}

/// The innermost error says what happened.
fn cause(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

fn decided(answer: &Value) -> Option<(String, String)> {
    Some((answer["id"].as_str()?.to_owned(), answer["outcome"].as_str()?.to_owned()))
}

fn retry_after(response: &Response, retries: u32) -> Duration {
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    match header.and_then(|text| text.parse::<u64>().ok()) {
        Some(seconds) => Duration::from_secs(seconds.min(RETRY_AFTER_MAX_S)),
        None => backoff(retries),
    }
}

fn backoff(retries: u32) -> Duration {
    Duration::from_millis(100 << retries.min(6))
}
