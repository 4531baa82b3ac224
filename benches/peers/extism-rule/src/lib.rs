//! The small rule as an Extism plugin: JSON in, JSON out. Its settings are the plugin's
//! configuration, read once for each instance.

use std::sync::OnceLock;

use extism_pdk::{Error, FnResult, config, plugin_fn};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Settings {
    limits: Vec<Limit>,
    without_limit: String,
}

#[derive(Deserialize)]
struct Limit {
    currency: Option<String>,
    method: Option<String>,
    review_above_minor: Option<i64>,
    maximum_minor: Option<i64>,
}

#[derive(Deserialize)]
struct Payment<'a> {
    currency: &'a str,
    amount_minor: i64,
    method: &'a str,
}

#[derive(Serialize)]
struct RuleDecision<'a> {
    verdict: &'a str,
    code: Option<&'a str>,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

#[plugin_fn]
pub fn evaluate(payment: Vec<u8>) -> FnResult<Vec<u8>> {
    let payment: Payment<'_> = serde_json::from_slice(&payment)?;
    Ok(serde_json::to_vec(&decide(settings()?, &payment))?)
}

fn settings() -> Result<&'static Settings, Error> {
    if let Some(settings) = SETTINGS.get() {
        return Ok(settings);
    }
    let text = config::get("settings")?.unwrap_or_default();
    let settings = serde_json::from_str(&text)?;
    Ok(SETTINGS.get_or_init(|| settings))
}

fn decide<'a>(settings: &'a Settings, payment: &Payment<'_>) -> RuleDecision<'a> {
    let holding = settings.limits.iter().filter(|limit| {
        limit.currency.as_deref().is_none_or(|code| code == payment.currency)
            && limit.method.as_deref().is_none_or(|name| name == payment.method)
    });
    let Some(limit) = holding.max_by_key(|limit| (limit.currency.is_some(), limit.method.is_some())) else {
        return RuleDecision { verdict: &settings.without_limit, code: Some("amount-without-limit") };
    };
    let above = |bound: Option<i64>| bound.is_some_and(|bound| payment.amount_minor > bound);
    if above(limit.maximum_minor) {
        RuleDecision { verdict: "reject", code: Some("amount-above-maximum") }
    } else if above(limit.review_above_minor) {
        RuleDecision { verdict: "review", code: Some("amount-above-review-threshold") }
    } else {
        RuleDecision { verdict: "pass", code: None }
    }
}
