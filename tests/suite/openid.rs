//! Sign-in by OpenID Connect, with a real provider and with one that lies.

mod discovery;
mod settings;
mod tokens;

use serde_json::{Value, json};
use sqlx::Row;
use tokio::time::timeout;

use crate::support::database::TestDatabase;
use crate::support::openid::{
    Browser, Provider, REDIRECT, free_port, is_installed, parameter, set, settings,
};
use crate::support::people::create_user;
use crate::support::program::TEST_TIMEOUT;
use crate::support::service::{Caller, Node};

/// A node that allows these issuers.
async fn node_with(database: &TestDatabase, issuers: &[&str]) -> Node {
    Node::start_with(database, &[("openid_issuers", json!(issuers))]).await
}

const REFUSED: &str = "/admin/#/sign-in?refused=";

/// A node with a tenant whose people come from the real provider.
struct World {
    node: Node,
    provider: Provider,
    admin: Caller,
    database: TestDatabase,
}

impl World {
    async fn start() -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let provider = tokio::task::spawn_blocking(|| Provider::start(free_port(), REDIRECT)).await.unwrap();
        let database = TestDatabase::create().await;
        let node = node_with(&database, &[&provider.issuer]).await;
        let admin = Caller::of_new_tenant(&node, "acme").await;
        set(&admin, &settings(&provider.issuer)).await;
        Some(Self { node, provider, admin, database })
    }

    /// Gives one person these claims at the provider, and signs the person in with a new browser.
    async fn sign_in(&self, login: &str, claims: &Value) -> (Browser, String) {
        self.provider.set_accounts(&json!({ login: claims }));
        let mut browser = Browser::new(&self.node);
        let place = browser.sign_in("acme", login).await;
        (browser, place)
    }

    async fn users(&self) -> Vec<Value> {
        self.admin.get("/users").await.1["items"].as_array().unwrap().clone()
    }

    async fn acts(&self) -> Vec<(String, String)> {
        let (_, page) = self.admin.get("/audit").await;
        let text = |act: &Value, name: &str| act[name].as_str().unwrap_or_default().to_owned();
        let items = page["items"].as_array().unwrap().iter();
        items.map(|act| (text(act, "action"), text(act, "actor"))).collect()
    }
}

fn claims(email: &str, is_verified: Option<bool>, groups: &[&str]) -> Value {
    let mut claims = json!({"email": email, "name": "Ann Miller", "groups": groups});
    if let Some(is_verified) = is_verified {
        claims["email_verified"] = json!(is_verified);
    }
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_with_the_companys_account_and_gets_the_roles_of_it_each_time() {
    let Some(world) = World::start().await else { return };
    let first = claims("Ann@Example.com", Some(true), &["payments-reviewers", "auditors", "football"]);
    let (mut browser, place) = world.sign_in("ann", &first).await;
    assert_eq!(place, "/admin/#/decisions");
    assert!(!browser.cookies.contains_key("tollgate-openid"), "it is spent");
    let session = browser.session().await;
    let user = &session.session["user"];
    assert_eq!(user["roles"], json!(["reviewer", "auditor"]));
    assert_eq!(user["display_name"], "Ann Miller");
    assert_eq!((&user["password"], &user["state"]), (&json!(false), &json!("active")));
    assert_eq!(user["openid_issuer"], world.provider.issuer);
    assert_eq!(session.session["tenant"]["name"], "acme");

    let second = claims("ann.miller@example.com", None, &["payments-admins"]);
    let (mut browser, _) = world.sign_in("ann", &second).await;
    let again = browser.session().await;
    assert_eq!(again.session["user"]["id"], user["id"], "the same person, whatever the address");
    assert_eq!(again.session["user"]["roles"], json!(["admin"]));
    assert_eq!(again.session["user"]["email"], "Ann@Example.com");
    timeout(TEST_TIMEOUT, session.until_refused()).await.expect("other roles end other sessions");
    let host = world.provider.issuer.strip_prefix("http://").unwrap();
    let by_provider: Vec<String> = world
        .acts()
        .await
        .into_iter()
        .filter(|(_, actor)| *actor == format!("openid:{host}"))
        .map(|(action, _)| action)
        .collect();
    assert_eq!(by_provider, ["user.changed", "user.created"]);
    world.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_provider_does_not_vouch_for_is_refused() {
    let Some(world) = World::start().await else { return };
    let mut reader = Browser::new(&world.node);
    for (login, claims, code) in [
        ("none", claims("a@example.com", Some(true), &[]), "no-role"),
        ("other", claims("a@example.com", Some(true), &["football"]), "no-role"),
        ("unverified", claims("a@example.com", Some(false), &["auditors"]), "email"),
        ("nothing", json!({"groups": ["auditors"]}), "email"),
        ("nonsense", claims("no address", Some(true), &["auditors"]), "email"),
    ] {
        let (browser, place) = world.sign_in(login, &claims).await;
        assert_eq!(place, format!("{REFUSED}{code}"), "{login}");
        assert!(browser.cookies.keys().all(|name| !name.starts_with("tollgate")), "{login}");
    }
    assert_eq!(world.users().await, Vec::<Value>::new());
    let cancelled = reader.start("acme").await;
    let denied = format!("{REDIRECT}?error=access_denied&state={}", parameter(&cancelled, "state"));
    assert_eq!(reader.come_back(&denied).await, format!("{REFUSED}denied"));
    world.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_a_password_is_linked_only_if_the_provider_has_verified_the_address() {
    let Some(world) = World::start().await else { return };
    let id = create_user(&world.admin, "ann@example.com", &["auditor"]).await;
    let arrive = async |login: &str, is_verified| {
        let claims = claims("ANN@example.com", is_verified, &["payments-reviewers"]);
        world.sign_in(login, &claims).await
    };
    assert_eq!(arrive("ann", None).await.1, format!("{REFUSED}email-taken"));
    let (mut browser, place) = arrive("ann", Some(true)).await;
    assert_eq!(place, "/admin/#/decisions");
    let session = browser.session().await;
    assert_eq!(session.session["user"]["id"], id);
    assert_eq!(session.session["user"]["roles"], json!(["reviewer"]));
    assert_eq!(session.session["user"]["password"], true);
    assert_eq!(arrive("bob", Some(true)).await.1, format!("{REFUSED}email-taken"), "another person");
    assert!(world.acts().await.iter().any(|(action, _)| action == "user.linked"));

    let disable = world.admin.request(reqwest::Method::PATCH, &format!("/users/{id}"));
    assert_eq!(disable.json(&json!({"disabled": true})).send().await.unwrap().status(), 200);
    assert_eq!(arrive("ann", Some(true)).await.1, format!("{REFUSED}disabled"));
    world.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_browser_that_began_a_sign_in_ends_it_and_only_once() {
    let Some(world) = World::start().await else { return };
    world.provider.set_accounts(&json!({"ann": claims("ann@example.com", Some(true), &["auditors"])}));
    let mut browser = Browser::new(&world.node);
    let address = browser.start("acme").await;
    let flow = browser.cookies["tollgate-openid"].clone();
    let back = browser.log_in(&address, "ann").await;
    assert_eq!(parameter(&back, "iss"), world.provider.issuer);

    let mut other = Browser::new(&world.node);
    assert_eq!(other.come_back(&back).await, format!("{REFUSED}not-begun"), "without a cookie");
    other.start("acme").await;
    assert_eq!(other.come_back(&back).await, format!("{REFUSED}not-begun"), "with its own cookie");
    for (changed, code) in [
        (back.replace("state=", "state=a"), "not-begun"),
        (format!("{REDIRECT}?code={}", parameter(&back, "code")), "not-begun"),
        (back.replace("iss=", "iss=https%3A%2F%2Fevil.example%2F"), "answer"),
        (back.replace("code=", "code=a"), "answer"),
    ] {
        browser.cookies.insert("tollgate-openid".to_owned(), flow.clone());
        assert_eq!(browser.come_back(&changed).await, format!("{REFUSED}{code}"), "{changed}");
    }
    browser.cookies.insert("tollgate-openid".to_owned(), flow.clone());
    assert_eq!(browser.come_back(&back).await, "/admin/#/decisions");
    browser.cookies.insert("tollgate-openid".to_owned(), flow);
    assert_eq!(browser.come_back(&back).await, format!("{REFUSED}answer"), "a code works once");
    world.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_needs_no_secret_and_a_wrong_secret_is_refused() {
    let Some(world) = World::start().await else { return };
    let mut wrong = settings(&world.provider.issuer);
    wrong["client_secret"] = json!("another secret");
    let mut public = settings(&world.provider.issuer);
    public["client_id"] = json!("public");
    public.as_object_mut().unwrap().remove("client_secret");
    for (settings, place) in [(wrong, format!("{REFUSED}answer")), (public, "/admin/#/decisions".to_owned())]
    {
        set(&world.admin, &settings).await;
        let ann = claims("ann@example.com", Some(true), &["auditors"]);
        assert_eq!(world.sign_in("ann", &ann).await.1, place);
    }
    let row = sqlx::query("select client_secret_sealed from openid_settings")
        .fetch_one(&mut world.database.superuser().await)
        .await
        .unwrap();
    assert_eq!(row.get::<Option<Vec<u8>>, _>(0), None, "the secret was of another client");
    world.node.stop().await;
}
