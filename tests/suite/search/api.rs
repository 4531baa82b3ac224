//! The parameters of the search, by HTTP.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::service::{Caller, Node, payment_with};

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("items").iter().filter_map(|item| item["id"].as_str()).collect()
}

async fn pay(caller: &Caller, key: &str, changes: &Value) -> String {
    let (status, decided) = caller.pay(key, &payment_with(changes)).await;
    assert_eq!(status, StatusCode::CREATED, "{decided}");
    decided["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_are_found_by_every_parameter_as_soon_as_they_are_stored() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let before = pay(&caller, "k0", &json!({})).await;
    let limits = json!({"limits": [{"currency": "EUR", "maximum_minor": 5_000}]});
    let revision = caller.activate(&[("amount-limits", limits)]).await;
    let small = pay(&caller, "k1", &json!({"amount_minor": 4_096})).await;
    let large = pay(&caller, "k2", &json!({"amount_minor": 9_000, "method": "instant"})).await;
    let dollars = pay(&caller, "k3", &json!({"amount_minor": 10, "currency": "USD"})).await;
    let event = json!({"kind": "refunded"});
    let (status, answer) = caller.post(&format!("/payments/{small}/events"), &event).await;
    assert!(status.is_success(), "{answer}");

    let (_, decided) = caller.get(&format!("/payments/{large}")).await;
    let code = decided["reasons"][0]["code"].as_str().expect("a reason");
    let client = caller.client_id.clone();
    for (query, expected) in [
        ("".to_owned(), vec![&dollars, &large, &small, &before]),
        ("order=oldest".to_owned(), vec![&before, &small, &large, &dollars]),
        ("currency=USD".to_owned(), vec![&dollars]),
        ("method=instant".to_owned(), vec![&large]),
        ("amount_at_least=4096".to_owned(), vec![&large, &small]),
        ("amount_at_least=4097".to_owned(), vec![&large]),
        ("amount_below=4096&order=oldest".to_owned(), vec![&before, &dollars]),
        ("amount_at_least=11&amount_below=9000".to_owned(), vec![&small, &before]),
        (format!("client_id={client}&currency=EUR"), vec![&large, &small, &before]),
        ("client_id=00000000-0000-0000-0000-000000000000".to_owned(), vec![]),
        (format!("revision={revision}&currency=EUR"), vec![&large, &small]),
        ("origin=import".to_owned(), vec![]),
        ("origin=api&outcome=reject".to_owned(), vec![&large]),
        (format!("reason={code}"), vec![&large]),
        ("reason=no-active-ruleset".to_owned(), vec![&before]),
        ("outcome=reject,review&currency=EUR".to_owned(), vec![&large, &before]),
        ("event=refunded".to_owned(), vec![&small]),
        ("event=refunded&currency=USD".to_owned(), vec![]),
        ("event=refunded&customer=customer-1&order=oldest".to_owned(), vec![&small]),
        ("event=fraud".to_owned(), vec![]),
    ] {
        let (status, page) = caller.get(&format!("/payments?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}: {page}");
        assert_eq!(ids(&page), expected, "{query}");
        assert!(page.get("next_cursor").is_none(), "{query}");
    }
    let (_, page) = caller.get("/payments?currency=EUR&method=instant").await;
    assert_eq!(page["items"][0]["reasons"], decided["reasons"], "{page}");

    let (_, first) = caller.get("/payments?order=oldest&currency=EUR&limit=2").await;
    assert_eq!(ids(&first), [&before, &small]);
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let (_, second) =
        caller.get(&format!("/payments?order=oldest&currency=EUR&limit=2&cursor={cursor}")).await;
    assert_eq!((ids(&second), second.get("next_cursor")), (vec![large.as_str()], None));
    let (status, _) = caller.get(&format!("/payments?currency=EUR&limit=2&cursor={cursor}")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "a cursor of the other order");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_condition_is_named_with_what_was_expected() {
    let database = TestDatabase::create().await;
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    for (parameter, value) in [
        ("currency", "EURO"),
        ("method", "cash"),
        ("amount_at_least", "1.5"),
        ("amount_below", "-1"),
        ("client_id", "me"),
        ("revision", "0"),
        ("origin", "elsewhere"),
        ("outcome", "approve,perhaps"),
        ("outcome", "approve,"),
        ("order", "random"),
        ("event", "lost"),
        ("reason", ""),
    ] {
        let (status, problem) = caller.get(&format!("/payments?{parameter}={value}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{parameter}={value}: {problem}");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{problem}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_during_the_first_indexing_says_how_far_it_is() {
    let database = TestDatabase::create().await;
    // A writer whose history cannot be indexed, since it is not there.
    let history = "insert into search_progress (writer_id, sequence, history_until)
                   values ('018f0000-0000-7000-8000-000000000000', 1, 4)";
    sqlx::query(history).execute(&mut database.superuser().await).await.unwrap();
    let node = Node::start(&database).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let request = caller.request(reqwest::Method::GET, "/payments?currency=EUR");
    let response = crate::support::service::FullResponse::of(request).await;
    assert_eq!((response.status, response.header("Retry-After")), (503, "10"));
    assert_eq!(response.json()["type"], "/problems/search-index-building");
    assert!(response.json()["detail"].as_str().expect("a detail").starts_with("25 %"), "{}", response.text);
    assert_eq!(caller.get("/payments").await.0, StatusCode::OK);
    node.stop().await;
}
