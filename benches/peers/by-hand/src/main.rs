//! The payment service that one would write by hand instead of using Tollgate: a token, one
//! question to the database, a few conditions and one insert. The decisions benchmark compares both.
//!
//! It must stay as fast as such a service can easily be. It must not become a second Tollgate:
//! its rules are code, it has one tenant, and a decision is a row without evidence.
//!
//! Environment: `BY_HAND_DATABASE` (URL), `BY_HAND_SECRET` (of its tokens), and
//! `BY_HAND_VELOCITY=off` to leave out the question.

mod payment;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{FromRequestParts, State};
use axum::http::header::{AUTHORIZATION, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use payment::{Account, Method, Payment};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::types::Json as Jsonb;
use uuid::Uuid;

/// Memory is often freed by another thread than the one that allocated it.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const REVIEW_ABOVE_MINOR: i64 = 1_000_000;
const REJECT_ABOVE_MINOR: i64 = 5_000_000;
const REFUSED_COUNTRY: &str = "KP";
const DAY_MS: i64 = 86_400_000;
const DAILY_COUNT_MAX: i64 = 20;
const DAILY_TOTAL_MAX_MINOR: i64 = 10_000_000;

const SCHEMA: &str = "
    create table if not exists payments (
        id             uuid primary key,
        client         uuid not null,
        key            text not null,
        received_at_ms bigint not null,
        debtor_account text,
        amount_minor   bigint not null,
        currency       text not null,
        outcome        text not null,
        reasons        jsonb not null,
        payment        jsonb not null,
        unique (client, key)
    );
    create index if not exists payments_by_debtor on payments (debtor_account, received_at_ms);";

#[derive(Serialize)]
struct Decision {
    id: Uuid,
    outcome: Cow<'static, str>,
    reasons: Vec<Reason>,
    received_at_ms: i64,
    payment: Payment,
}

#[derive(Serialize, Deserialize)]
struct Reason {
    code: Cow<'static, str>,
}

struct Refusal(StatusCode, &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({"title": self.1}))).into_response()
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        eprintln!("{error}");
        Self(StatusCode::SERVICE_UNAVAILABLE, "the database failed")
    }
}

#[derive(Clone)]
struct Service {
    pool: PgPool,
    tokens: Arc<(DecodingKey, Validation)>,
    asks_velocity: bool,
}

#[derive(Deserialize)]
struct Client {
    sub: Uuid,
    scope: String,
}

impl FromRequestParts<Service> for Client {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Refusal> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let (key, validation) = &*service.tokens;
        let client = jsonwebtoken::decode::<Self>(token, key, validation)
            .map_err(|_| Refusal(StatusCode::UNAUTHORIZED, "a valid bearer token is required"))?
            .claims;
        let may_pay = client.scope.split(' ').any(|scope| scope == "payments:write");
        if may_pay { Ok(client) } else { Err(Refusal(StatusCode::FORBIDDEN, "payments:write is required")) }
    }
}

async fn submit(
    State(service): State<Service>,
    client: Client,
    headers: HeaderMap,
    Json(payment): Json<Payment>,
) -> Result<Response, Refusal> {
    let key = headers.get("Idempotency-Key").and_then(|value| value.to_str().ok());
    let key = key.ok_or(Refusal(StatusCode::BAD_REQUEST, "Idempotency-Key is required"))?;
    if payment.amount_minor < 1 || payment.currency.len() != 3 || payment.reference.len() > 35 {
        return Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, "amount, currency or reference is invalid"));
    }
    let received_at_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let account = payment.debtor.account.as_ref().map(Account::number);
    let mut database = service.pool.acquire().await?;
    let day = match account {
        Some(account) if service.asks_velocity => {
            velocity(&mut database, account, &payment.currency, received_at_ms).await?
        }
        _ => (0, 0),
    };
    let (outcome, reasons) = judge(&payment, day);
    let id = Uuid::now_v7();
    let inserted = sqlx::query(
        "insert into payments (id, client, key, received_at_ms, debtor_account, amount_minor, currency,
                               outcome, reasons, payment)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (client, key) do nothing",
    )
    .bind(id)
    .bind(client.sub)
    .bind(key)
    .bind(received_at_ms)
    .bind(account)
    .bind(payment.amount_minor)
    .bind(&payment.currency)
    .bind(outcome)
    .bind(Jsonb(&reasons))
    .bind(Jsonb(&payment))
    .execute(&mut *database)
    .await?;
    if inserted.rows_affected() == 0 {
        return stored(&mut database, &client, key, payment).await;
    }
    let decision = Decision { id, outcome: outcome.into(), reasons, received_at_ms, payment };
    let location = [(LOCATION, format!("/api/v1/payments/{id}"))];
    Ok((StatusCode::CREATED, location, Json(decision)).into_response())
}

/// Count and total of the account's payments in the last 24 hours, without this one.
async fn velocity(
    database: &mut PgConnection,
    account: &str,
    currency: &str,
    now_ms: i64,
) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as(
        "select count(*), coalesce(sum(amount_minor) filter (where currency = $3), 0)::bigint
         from payments where debtor_account = $1 and received_at_ms > $2",
    )
    .bind(account)
    .bind(now_ms - DAY_MS)
    .bind(currency)
    .fetch_one(database)
    .await
}

fn judge(payment: &Payment, (count, total_minor): (i64, i64)) -> (&'static str, Vec<Reason>) {
    let (mut reviews, mut rejects) = (Vec::new(), Vec::new());
    if payment.amount_minor > REJECT_ABOVE_MINOR {
        rejects.push("amount-above-maximum");
    } else if payment.amount_minor > REVIEW_ABOVE_MINOR {
        reviews.push("amount-above-limit");
    }
    if payment.creditor.country.as_deref() == Some(REFUSED_COUNTRY) {
        rejects.push("country-refused");
    }
    if payment.method == Method::Other {
        reviews.push("method-unknown");
    }
    if count >= DAILY_COUNT_MAX {
        reviews.push("too-many-payments");
    }
    if total_minor + payment.amount_minor > DAILY_TOTAL_MAX_MINOR {
        rejects.push("daily-total-exceeded");
    }
    let outcome = match (rejects.is_empty(), reviews.is_empty()) {
        (false, _) => "reject",
        (true, false) => "review",
        (true, true) => "approve",
    };
    let codes = rejects.into_iter().chain(reviews);
    (outcome, codes.map(|code| Reason { code: code.into() }).collect())
}

/// Answers a retry from the stored row.
async fn stored(
    database: &mut PgConnection,
    client: &Client,
    key: &str,
    payment: Payment,
) -> Result<Response, Refusal> {
    let row: (Uuid, String, Jsonb<Vec<Reason>>, i64, bool) = sqlx::query_as(
        "select id, outcome, reasons, received_at_ms, payment = $3
         from payments where client = $1 and key = $2",
    )
    .bind(client.sub)
    .bind(key)
    .bind(Jsonb(&payment))
    .fetch_one(database)
    .await?;
    let (id, outcome, Jsonb(reasons), received_at_ms, same) = row;
    if !same {
        return Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, "the key belongs to another payment"));
    }
    let decision = Decision { id, outcome: outcome.into(), reasons, received_at_ms, payment };
    Ok(([("Idempotent-Replayed", "true")], Json(decision)).into_response())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = PgPoolOptions::new()
        .max_connections(20)
        // Otherwise each request would wait for one more round trip.
        .test_before_acquire(false)
        .connect(&std::env::var("BY_HAND_DATABASE")?)
        .await?;
    sqlx::raw_sql(SCHEMA).execute(&pool).await?;
    let secret = std::env::var("BY_HAND_SECRET")?;
    let service = Service {
        pool,
        tokens: Arc::new((DecodingKey::from_secret(secret.as_bytes()), Validation::new(Algorithm::HS256))),
        asks_velocity: std::env::var("BY_HAND_VELOCITY").as_deref() != Ok("off"),
    };
    let app = Router::new().route("/api/v1/payments", post(submit)).with_state(service);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let without_delay = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    Ok(axum::serve(without_delay, app).await?)
}
