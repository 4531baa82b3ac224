//! The demonstration's client of the API.
//!
//! Must never print the secret or a token, and never retry a payment under another key.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::command::Failure;

/// How long to wait for one response. Longer than the usual deadlines of a server.
const ANSWER_MAX: Duration = Duration::from_secs(15);
const RETRIES_MAX: usize = 7;
const EVENT_RETRIES_MAX: usize = 8;
/// Used if the response does not say how long to wait.
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(Duration::from_millis(6_400));
const RETRY_AFTER_MAX_S: u64 = 30;
/// A token is renewed when it has less than this left, or a fifth of its lifetime.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);

pub struct ApiClient {
    http: reqwest::Client,
    url: String,
    id: String,
    secret: String,
    token: Mutex<Option<Token>>,
}

/// Does not show the secret.
impl std::fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiClient").field("url", &self.url).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Token {
    text: String,
    renew_at: Instant,
}

/// A decided payment.
#[derive(Debug)]
pub struct PaymentResponse {
    pub id: String,
    pub outcome: String,
    /// The duration of the last attempt.
    pub took: Duration,
    pub retries: u32,
}

/// The result of reporting an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventResponse {
    Taken,
    Refused,
    /// The server has no route for events.
    NoRoute,
}

impl ApiClient {
    pub fn new(url: &str, id: String, secret: String) -> Result<Self, Failure> {
        let http = http()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), id, secret, token: Mutex::default() })
    }

    /// Returns a valid token. Concurrent callers share one request for it.
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
        let text =
            answer["access_token"].as_str().ok_or("the token response does not contain a token")?.to_owned();
        let life = Duration::from_secs(answer["expires_in"].as_u64().unwrap_or(60));
        let renew_at = asked_at + life.saturating_sub(TOKEN_MARGIN.min(life / 5));
        Ok(Token { text, renew_at })
    }

    /// Submits a payment. Retries with the same key while the outcome is unknown, at most
    /// `RETRIES_MAX` times.
    pub async fn submit(&self, key: &str, body: &Value) -> Result<PaymentResponse, Failure> {
        let mut backoff = BACKOFF.with_max_times(RETRIES_MAX).build();
        let mut retries = 0;
        loop {
            let begun = Instant::now();
            let retry_after = match self.attempt(key, body).await {
                Ok(response) if response.status().is_success() => {
                    let answer: Result<Value, reqwest::Error> = response.json().await;
                    // If the response was cut off, a retry with the same key returns the outcome.
                    match answer.ok().and_then(|answer| decided(&answer)) {
                        Some((id, outcome)) => {
                            return Ok(PaymentResponse { id, outcome, took: begun.elapsed(), retries });
                        }
                        None => None,
                    }
                }
                Ok(response) => match response.status() {
                    StatusCode::UNAUTHORIZED => {
                        *self.token.lock().await = None;
                        None
                    }
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT => retry_after(&response),
                    status if status.is_server_error() => retry_after(&response),
                    status => return Err(format!("status {}", status.as_u16()).into()),
                },
                Err(_) => None,
            };
            let Some(delay) = backoff.next() else { return Err("no response".into()) };
            sleep(retry_after.unwrap_or(delay)).await;
            retries += 1;
        }
    }

    async fn attempt(&self, key: &str, body: &Value) -> Result<Response, Failure> {
        let request = self.http.post(format!("{}/api/v1/payments", self.url)).header("Idempotency-Key", key);
        Ok(request.bearer_auth(self.token().await?).json(body).send().await?)
    }

    pub async fn tell(
        &self,
        payment: &str,
        kind: &str,
        at_ms: u64,
        note: &str,
    ) -> Result<EventResponse, Failure> {
        let mut body = json!({"kind": kind, "at_ms": at_ms});
        if !note.is_empty() {
            body["note"] = json!(note);
        }
        let mut backoff = BACKOFF.with_max_times(EVENT_RETRIES_MAX).build();
        loop {
            let request = self.http.post(format!("{}/api/v1/payments/{payment}/events", self.url));
            let response = request.bearer_auth(self.token().await?).json(&body).send().await?;
            if response.status() == StatusCode::SERVICE_UNAVAILABLE
                && let Some(delay) = backoff.next()
            {
                sleep(retry_after(&response).unwrap_or(delay)).await;
                continue;
            }
            return Ok(match response.status() {
                status if status.is_success() => EventResponse::Taken,
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => EventResponse::NoRoute,
                _ => EventResponse::Refused,
            });
        }
    }
}

/// Returns an error unless a Tollgate server responds.
pub async fn check_server(url: &str) -> Result<(), Failure> {
    if !url.starts_with("http://") {
        return Err("--url: expected an address that starts with http://".into());
    }
    let health = format!("{}/health", url.trim_end_matches('/'));
    match http()?.get(health).send().await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => {
            Err(format!("no Tollgate server at {url}: status {}", response.status().as_u16()).into())
        }
        Err(error) => {
            Err(format!("no Tollgate server at {url}: {}; start one with: tollgate serve", cause(&error))
                .into())
        }
    }
}

fn http() -> Result<reqwest::Client, Failure> {
    Ok(reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(ANSWER_MAX).build()?)
}

/// The text of the innermost error, which is the most specific.
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

fn retry_after(response: &Response) -> Option<Duration> {
    let header = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = header.parse().ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_MAX_S)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Reads head and body. If bytes were left unread when the connection closes, the response
    /// would be cut off.
    async fn request(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        loop {
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if length.is_none_or(|length| length.parse() == Ok(body.len())) {
                    return text;
                }
            }
            let mut part = [0; 8_192];
            let length = stream.read(&mut part).await.expect("a request");
            text.push_str(std::str::from_utf8(&part[..length]).expect("text"));
        }
    }

    /// Sends the next of these responses on each connection, or closes it for `None`. Records the
    /// head of each request.
    async fn server(answers: Vec<Option<&'static str>>) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let request = request(&mut stream).await;
                seen.lock().await.push(request);
                if let Some(answer) = answer {
                    let (head, body) = answer.split_once('|').unwrap_or((answer, ""));
                    let length = body.len();
                    let text = format!(
                        "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                    );
                    stream.write_all(text.as_bytes()).await.expect("answered");
                }
            }
        });
        (url, heads)
    }

    const TOKEN: Option<&str> = Some(r#"200 OK|{"access_token": "t-1", "expires_in": 600}"#);

    #[tokio::test]
    async fn a_payment_is_tried_again_under_its_key_until_it_is_answered() {
        let (url, heads) = server(vec![
            TOKEN,
            Some("503 Service Unavailable\r\nRetry-After: 0"),
            None,
            Some("429 Too Many Requests\r\nRetry-After: 0"),
            Some(r#"200 OK|{"id": "p-1", "outcome": "review"}"#),
        ])
        .await;
        let connection = ApiClient::new(&url, "id".to_owned(), "secret".to_owned()).expect("made");
        let decided = connection.submit("key-7", &json!({"amount_minor": 1})).await.expect("decided");
        assert_eq!((decided.id.as_str(), decided.outcome.as_str(), decided.retries), ("p-1", "review", 3));
        let heads = heads.lock().await;
        assert_eq!(heads.len(), 5, "one token is enough: {heads:?}");
        assert!(heads[1..].iter().all(|head| head.contains("idempotency-key: key-7")), "{heads:?}");
    }

    #[tokio::test]
    async fn a_refused_payment_is_not_tried_again_and_a_refused_token_is_renewed() {
        let (url, heads) =
            server(vec![TOKEN, Some("401 Unauthorized"), TOKEN, Some("422 Unprocessable Content")]).await;
        let connection = ApiClient::new(&url, "id".to_owned(), "secret".to_owned()).expect("made");
        let error = connection.submit("key-7", &json!({})).await.expect_err("refused");
        assert_eq!(error.to_string(), "status 422");
        assert_eq!(heads.lock().await.len(), 4);
    }

    #[tokio::test]
    async fn a_server_without_a_place_for_events_is_told_from_one_that_refuses() {
        let (url, heads) = server(vec![
            TOKEN,
            Some("404 Not Found"),
            Some("405 Method Not Allowed"),
            Some("409 Conflict"),
            // 429 is not a result of the event, so it is retried.
            Some("503 Service Unavailable"),
            Some("201 Created|{}"),
        ])
        .await;
        let connection = ApiClient::new(&url, "id".to_owned(), "secret".to_owned()).expect("made");
        for expected in
            [EventResponse::NoRoute, EventResponse::NoRoute, EventResponse::Refused, EventResponse::Taken]
        {
            assert_eq!(connection.tell("p-1", "settled", 7, "").await.expect("an answer"), expected);
        }
        assert!(heads.lock().await[1].starts_with("POST /api/v1/payments/p-1/events "));
    }
}
