//! Activations with a backtest as a guard.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{BACKTESTS, candidate, pay, report, review_above, start, wait_until};
use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node};

async fn activate_with_guard(
    caller: &Caller,
    revision: &Value,
    backtest: &Value,
    percent: f64,
) -> (StatusCode, Value) {
    let guard = json!({"backtest": backtest, "max_changed_percent": percent});
    caller.post("/rulesets/payment/activations", &json!({"revision": revision, "guard": guard})).await
}

fn is_refused(response: (StatusCode, Value), detail: &str) {
    let (status, problem) = response;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::CONFLICT, &json!("/problems/guard-refused")),
        "{problem}"
    );
    assert_eq!(problem["detail"], detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_allows_an_activation_that_changes_no_more_than_its_limits() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let before = caller.activate(&[("amount-limits", review_above(10_000))]).await;
    let amounts: Vec<_> = (1..=40).map(|place| (place * 100, "EUR")).collect();
    pay(&caller, &amounts).await;
    let revision = candidate(&caller, &[("amount-limits", review_above(3_900))]).await;
    let path = start(&caller, &json!({"revision": revision})).await;
    let backtest = wait_until(&caller, &path, |backtest| backtest["state"] == "finished").await["id"].clone();
    let nothing = start(&caller, &json!({"revision": revision, "filter": {"method": "card"}})).await;
    let nothing =
        wait_until(&caller, &nothing, |backtest| backtest["state"] == "finished").await["id"].clone();

    let itself = start(&caller, &json!({"revision": revision, "baseline_revision": revision})).await;
    let itself = wait_until(&caller, &itself, |backtest| backtest["state"] == "finished").await["id"].clone();

    let reported = "In the backtest, 2.5000 percent of the outcomes changed: 1 of 40.";
    is_refused(activate_with_guard(&caller, &revision, &backtest, 2.49).await, reported);
    is_refused(
        activate_with_guard(&caller, &revision, &itself, 100.0).await,
        "The backtest compared the revision with itself.",
    );
    is_refused(
        activate_with_guard(&caller, &revision, &nothing, 100.0).await,
        "The backtest did not compare any decision.",
    );
    is_refused(
        activate_with_guard(&caller, &json!(before), &backtest, 100.0).await,
        "The backtest tested a different revision.",
    );
    let unknown = json!("0193b0a0-0000-7000-8000-000000000001");
    for (backtest, percent, pointer) in [
        (&unknown, 1.0, "/guard/backtest"),
        (&json!("x"), 1.0, "/guard/backtest"),
        (&backtest, 100.5, "/guard/max_changed_percent"),
    ] {
        let (status, problem) = activate_with_guard(&caller, &revision, backtest, percent).await;
        assert_eq!(
            (status, &problem["errors"][0]["pointer"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer))
        );
    }
    assert_eq!(caller.get("/rulesets/payment").await.1["activation"]["revision"], before);

    let (status, activation) = activate_with_guard(&caller, &revision, &backtest, 2.5).await;
    assert_eq!((status, &activation["guard_backtest"]), (StatusCode::CREATED, &backtest), "{activation}");
    assert_eq!(activation["revision"], revision);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_refuses_a_cancelled_backtest_and_three_backtests_are_allowed() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let slow = super::interrupted::slow_candidate(&caller).await;
    super::interrupted::fill(&node, &database, 2_000).await;
    let body = json!({"revision": slow});
    let mut paths = Vec::new();
    for _ in 0..3 {
        paths.push(start(&caller, &body).await);
    }
    let request = caller.request(reqwest::Method::POST, BACKTESTS).json(&body);
    let refused = crate::support::service::FullResponse::of(request).await;
    assert_eq!((refused.status, refused.header("Retry-After")), (429, "10"), "{}", refused.text);
    let running = wait_until(&caller, &paths[0], |backtest| backtest["state"] == "running").await;
    let id = running["id"].clone();
    is_refused(activate_with_guard(&caller, &slow, &id, 100.0).await, "The backtest has not finished.");
    for path in &paths {
        let cancel = caller.request(reqwest::Method::POST, &format!("{path}/cancel"));
        let (status, cancelled) = crate::support::service::send(cancel).await;
        assert_eq!((status, &cancelled["state"]), (StatusCode::OK, &json!("cancelled")), "{cancelled}");
    }
    is_refused(activate_with_guard(&caller, &slow, &id, 100.0).await, "The backtest has not finished.");
    // The node can run the next backtest, since it has stopped the cancelled ones.
    let quick = candidate(&caller, &[("amount-limits", review_above(3_900))]).await;
    assert_eq!(report(&caller, &json!({"revision": quick})).await["compared"], 2_000);
    for path in &paths {
        let (_, left) = caller.get(path).await;
        assert_eq!(left["state"], "cancelled");
        assert!(left["done"].as_u64() < Some(2_000), "{left}");
    }
    let acts: Vec<String> =
        sqlx::query_scalar("select action from audit_events where subject = $1 order by sequence")
            .bind(id.as_str().unwrap())
            .fetch_all(&mut database.superuser().await)
            .await
            .unwrap();
    assert_eq!(acts, ["backtest.started", "backtest.cancelled"]);
}
