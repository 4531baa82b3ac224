//! People who sign in, as a browser does: with a cookie and an access token.

use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tollgate::app::users::{self, UserRequest};
use tollgate::domain::user::{EmailAddress, OPERATORS_NAME, Role};
use tollgate::world::system;
use totp_rs::{Builder, Secret};

use super::service::{Caller, Node};

pub const PASSWORD: &str = "seven quiet herons at dawn";

/// A person who is signed in to a node.
#[derive(Clone)]
pub struct SignedIn {
    url: String,
    pub cookie: String,
    pub session: Value,
    http: reqwest::Client,
}

/// Creates a user through the API, who sets [`PASSWORD`]. Returns the user's id.
pub async fn create_user(by: &Caller, email: &str, roles: &[&str]) -> String {
    EmailAddress::parse(email).expect("an address");
    let body = json!({"email": email, "display_name": "Ann Miller", "roles": roles});
    let (status, created) = by.post("/users", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    let link = created["password_link"]["url"].as_str().expect("a link");
    let (_, token) = link.split_once("/admin/#/set-password/").expect("a token");
    let set = set_password(&by.url, token, PASSWORD).await;
    assert_eq!(set.status(), StatusCode::NO_CONTENT);
    created["user"]["id"].as_str().expect("an id").to_owned()
}

pub async fn set_password(url: &str, token: &str, password: &str) -> Response {
    let body = json!({"token": token, "password": password});
    reqwest::Client::new()
        .post(format!("{url}/session/password"))
        .json(&body)
        .send()
        .await
        .expect("a response")
}

pub async fn try_to_sign_in(url: &str, credentials: &Value) -> Response {
    reqwest::Client::new().post(format!("{url}/session")).json(credentials).send().await.expect("a response")
}

pub async fn sign_in(node: &Node, tenant: &str, email: &str) -> SignedIn {
    let credentials = json!({"tenant": tenant, "email": email, "password": PASSWORD});
    let response = try_to_sign_in(&node.url, &credentials).await;
    assert_eq!(response.status(), StatusCode::OK);
    SignedIn::of(&node.url, response).await
}

/// An operator, who is created as on the command line.
pub async fn operator(node: &Node) -> SignedIn {
    let order = UserRequest {
        tenant: OPERATORS_NAME.to_owned(),
        email: EmailAddress::parse("olga@example.com").expect("an address"),
        display_name: "Olga".to_owned(),
        roles: vec![Role::Operator],
        created_by: "test",
    };
    let link = users::create_user(&node.databases, &node.url, order).await.expect("a user");
    let token = link.address.rsplit('/').next().expect("a token");
    assert_eq!(set_password(&node.url, token, PASSWORD).await.status(), StatusCode::NO_CONTENT);
    sign_in(node, OPERATORS_NAME, "olga@example.com").await
}

/// What an authenticator app shows this many steps of thirty seconds from now.
pub fn code_of(secret: &str, steps: u64) -> String {
    let secret = Secret::try_from_base32(secret).expect("a secret");
    let passwords = Builder::new().with_secret(secret).build().expect("works");
    passwords.generate(system().now_ms() / 1_000 + steps * 30).to_string()
}

impl SignedIn {
    pub async fn of(url: &str, response: Response) -> Self {
        let cookie = response.headers()[SET_COOKIE].to_str().expect("a cookie");
        let cookie = cookie.split(';').next().expect("a value").to_owned();
        let session = response.json().await.expect("JSON");
        Self { url: url.to_owned(), cookie, session, http: reqwest::Client::new() }
    }

    pub fn at(&self, node: &Node) -> Self {
        Self { url: node.url.clone(), ..self.clone() }
    }

    pub fn access_token(&self) -> &str {
        self.session["access_token"].as_str().expect("a token")
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/api/v1{path}", self.url)).bearer_auth(self.access_token())
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.request(Method::GET, path).send().await.expect("a response");
        (response.status(), response.json().await.unwrap_or_default())
    }

    pub async fn send(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let response = self.request(method, path).json(body).send().await.expect("a response");
        (response.status(), response.json().await.unwrap_or_default())
    }

    pub async fn refresh(&self) -> Response {
        let request = self.http.post(format!("{}/session/refresh", self.url));
        request.header(COOKIE, &self.cookie).send().await.expect("a response")
    }

    pub async fn sign_out(&self) -> StatusCode {
        let request = self.http.delete(format!("{}/session", self.url));
        request.header(COOKIE, &self.cookie).send().await.expect("a response").status()
    }

    /// Waits until the access token is refused.
    pub async fn until_refused(&self) {
        while self.get("/me").await.0 != StatusCode::UNAUTHORIZED {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}
