//! Which list entries a payment matches, and when.

use tollgate::domain::comparison::ValueKind;
use tollgate::domain::selector::{Fact, Matching, Selector};

use super::{NOW_MS, facts, list_of, list_query, list_with, payment_of, request, tenant};
use crate::support::database::TestDatabase;
use crate::support::decisions::order;

#[tokio::test]
async fn lists_match_exactly_by_prefix_and_by_normalized_name() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    let entries = ["c-1", "DE89 3704", "DE89370400440532013000", "GARCIA, jose", "  acme ", "..."];
    list_with(&database, tenant, "watched", &entries.map(|value| (value, 0, None))).await;
    list_with(&database, tenant, "short", &["DE8937", "c-"].map(|value| (value, 0, None))).await;
    let mut order = order("c-1", 100, "EUR");
    order.creditor.name = "!!!".to_owned();
    order.metadata = vec![("shop".to_owned(), "é-17".to_owned())];
    list_with(&database, tenant, "shops", &[("é", 0, None)]).await;

    let (exact, prefix, by_name) = (Matching::Exact, Matching::Prefix, Matching::NormalizedName);
    let table = [
        ("watched", Selector::Customer, exact, Fact::Listed(true)),
        ("short", Selector::Customer, exact, Fact::Listed(false)),
        ("short", Selector::Customer, prefix, Fact::Listed(true)),
        ("watched", Selector::Customer, prefix, Fact::Listed(true)),
        ("watched", Selector::DebtorAccount, exact, Fact::Listed(true)),
        ("short", Selector::DebtorAccount, prefix, Fact::Listed(true)),
        ("shops", Selector::Metadata("shop".to_owned()), prefix, Fact::Listed(true)),
        ("shops", Selector::Metadata("shop".to_owned()), exact, Fact::Listed(false)),
        // The order of the words matters; only their notation does not.
        ("watched", Selector::DebtorName, by_name, Fact::Listed(false)),
        // Punctuation alone is not a name.
        ("watched", Selector::CreditorName, by_name, Fact::Listed(false)),
        ("watched", Selector::Merchant, exact, Fact::Absent),
        ("no-such-list", Selector::Customer, exact, Fact::Listed(false)),
    ];
    let queries =
        table.iter().map(|(list, selector, matching, _)| list_query(list, selector.clone(), *matching));
    let responses = facts(&databases, request(tenant, order, queries.collect())).await;
    for ((list, selector, matching, expected), fact) in table.iter().zip(responses) {
        assert_eq!(fact, *expected, "{list} {selector:?} {matching:?}");
    }
}

#[tokio::test]
async fn names_match_without_case_accents_and_punctuation() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    list_with(&database, tenant, "watched", &[("JOSE  garcía.", 0, None)]).await;
    let query = list_query("watched", Selector::DebtorName, Matching::NormalizedName);
    let response = facts(&databases, request(tenant, order("c", 1, "EUR"), vec![query])).await;
    assert_eq!(response, [Fact::Listed(true)]);
}

#[tokio::test]
async fn an_entry_is_valid_from_its_beginning_until_just_before_its_end() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    list_with(&database, tenant, "l", &[("c-1", NOW_MS - 10, Some(NOW_MS + 10)), ("c-2", NOW_MS + 1, None)])
        .await;
    let query = list_query("l", Selector::Customer, Matching::Exact);
    let table = [
        ("c-1", NOW_MS - 11, false),
        ("c-1", NOW_MS - 10, true),
        ("c-1", NOW_MS + 9, true),
        ("c-1", NOW_MS + 10, false),
        ("c-2", NOW_MS, false),
        ("c-2", NOW_MS + 1, true),
        ("c-2", u64::MAX, true),
    ];
    for (customer, at_ms, expected) in table {
        let mut asked = request(tenant, order(customer, 1, "EUR"), vec![query.clone()]);
        payment_of(&mut asked).received_at_ms = at_ms;
        assert_eq!(facts(&databases, asked).await, [Fact::Listed(expected)], "{customer} at {at_ms}");
    }
    let other = self::tenant(&databases).await;
    let asked = request(other, order("c-1", 1, "EUR"), vec![query]);
    assert_eq!(facts(&databases, asked).await, [Fact::Listed(false)], "another tenant's list");
}

/// Such queries exist in revisions from before they were refused.
#[tokio::test]
async fn a_matching_that_does_not_apply_to_a_kind_is_treated_as_exact() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    let mut order = order("c-1", 100, "EUR");
    order.debtor.bank = Some("deutdeff".to_owned());
    order.ip = Some("203.0.113.45".parse().unwrap());
    let (prefix, by_name) = (Matching::Prefix, Matching::NormalizedName);
    let table = [
        (ValueKind::Account, Selector::DebtorAccount, by_name, "de89 3704 0044 0532 0130 00", true),
        (ValueKind::Account, Selector::DebtorAccount, by_name, "de89 3704 0044 0532 0130 01", false),
        (ValueKind::Bank, Selector::DebtorBank, by_name, "DEUT DE FF XXX", true),
        (ValueKind::Ip, Selector::Ip, by_name, "203.0.113.0/24", true),
        (ValueKind::Ip, Selector::Ip, prefix, "203.0.113.0/24", true),
        (ValueKind::Ip, Selector::Ip, prefix, "203.0.113.4", false),
    ];
    let mut queries = Vec::new();
    for (place, (kind, selector, matching, entry, _)) in table.iter().enumerate() {
        let name = format!("l-{place}");
        list_of(&database, tenant, *kind, &name, entry).await;
        queries.push(list_query(&name, selector.clone(), *matching));
    }
    let responses = facts(&databases, request(tenant, order, queries)).await;
    for ((_, selector, matching, entry, expected), fact) in table.iter().zip(responses) {
        assert_eq!(fact, Fact::Listed(*expected), "{selector:?} {matching:?} {entry}");
    }
}

#[tokio::test]
async fn a_name_without_letters_matches_only_an_equal_entry() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    list_of(&database, tenant, ValueKind::Name, "names", "\u{1f3e6}  !").await;
    for (name, expected) in [("\u{1f3e6} !\u{200b}", true), ("\u{1f3e6}", false), ("...", false)] {
        let mut order = order("c-1", 100, "EUR");
        order.creditor.name = name.to_owned();
        let query = list_query("names", Selector::CreditorName, Matching::NormalizedName);
        let response = facts(&databases, request(tenant, order, vec![query])).await;
        assert_eq!(response, [Fact::Listed(expected)], "{name}");
    }
}
