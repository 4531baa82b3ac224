//! A provider of OpenID Connect that does what its test says, however wrong.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::program::TEST_TIMEOUT;

/// What the provider answers.
#[derive(Clone)]
pub enum Answer {
    Json(u16, Value),
    Redirect(String),
    /// So many bytes of JSON.
    Long(usize),
    /// None until the test is over.
    Nothing,
}

#[derive(Clone)]
struct Answers {
    discovery: Answer,
    keys: Answer,
    token: Answer,
    /// The paths that were asked for.
    asked: Vec<String>,
}

#[derive(Clone)]
pub struct HostileProvider {
    pub issuer: String,
    answers: Arc<Mutex<Answers>>,
    key: Arc<Ed25519KeyPair>,
}

impl HostileProvider {
    /// Starts with answers of which none is wrong, except that there is no code.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let key = Arc::new(Ed25519KeyPair::generate().unwrap());
        let answers = Answers {
            discovery: Answer::Json(200, discovery(&issuer)),
            keys: Answer::Json(200, keys(&key, "first")),
            token: Answer::Json(400, json!({"error": "invalid_grant"})),
            asked: Vec::new(),
        };
        let provider = Self { issuer, answers: Arc::new(Mutex::new(answers)), key };
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        provider
    }

    fn with<T>(&self, work: impl FnOnce(&mut Answers) -> T) -> T {
        work(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set_discovery(&self, answer: Answer) {
        self.with(|answers| answers.discovery = answer);
    }

    /// From now on the provider publishes its key under another id.
    pub fn rename_key(&self, id: &str) {
        self.with(|answers| answers.keys = Answer::Json(200, keys(&self.key, id)));
    }

    pub fn set_token(&self, id_token: &str) {
        let tokens = json!({"access_token": "a", "token_type": "Bearer", "id_token": id_token});
        self.with(|answers| answers.token = Answer::Json(200, tokens));
    }

    pub fn asked(&self) -> Vec<String> {
        self.with(|answers| answers.asked.clone())
    }

    /// A token that is signed with the key that the provider publishes.
    pub fn sign(&self, key_id: &str, claims: &Value) -> String {
        signed(&self.key, key_id, claims)
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut request).await.ok()? == 0 {
                return None;
            }
        }
        let text = String::from_utf8_lossy(&request);
        let path = text.split(' ').nth(1)?.to_owned();
        let answer = self.with(|answers| {
            answers.asked.push(path.clone());
            match path.as_str() {
                "/keys" => answers.keys.clone(),
                "/token" => answers.token.clone(),
                _ => answers.discovery.clone(),
            }
        });
        let (status, headers, body) = match answer {
            Answer::Json(status, body) => (status, String::new(), body.to_string()),
            Answer::Redirect(to) => (302, format!("Location: {to}\r\n"), String::new()),
            Answer::Long(length) => (200, String::new(), format!("\"{}\"", "a".repeat(length))),
            Answer::Nothing => {
                tokio::time::sleep(TEST_TIMEOUT).await;
                return None;
            }
        };
        let head = format!(
            "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(body.as_bytes()).await.ok()?;
        stream.shutdown().await.ok()?;
        // The client may still be sending.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some(())
    }
}

pub fn discovery(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/auth"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
    })
}

fn keys(key: &Ed25519KeyPair, id: &str) -> Value {
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": id, "x": x}]})
}

pub fn signed(key: &Ed25519KeyPair, key_id: &str, claims: &Value) -> String {
    let header = Header { kid: Some(key_id.to_owned()), ..Header::new(Algorithm::EdDSA) };
    let der = key.to_pkcs8v1().unwrap();
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(der.as_ref())).unwrap()
}

/// With the secret of the client as the key.
pub fn signed_by_secret(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

/// With the algorithm `none`.
pub fn unsigned(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(claims))
}
