//! Tests of the columns and slices of the statement.

use std::sync::Arc;

use super::*;
use crate::domain::fixtures;
use crate::domain::payment::{Payment, PaymentId};
use crate::domain::selector::Counting;
use crate::domain::tenant::TenantId;
use crate::storage::facts::{InFlightValue, KnownFacts};

#[test]
fn prefixes_end_between_characters_and_are_bounded() {
    assert_eq!(prefixes("aé😀"), ["a", "aé", "aé😀"]);
    assert!(prefixes("").is_empty());
    assert_eq!(prefixes(&"ä".repeat(500)).len(), PREFIX_LENGTH_MAX);
}

#[test]
fn a_value_meets_entries_of_its_form_and_what_was_left_as_it_was_written() {
    let met = |selector, matching, value| search_texts(&selector, matching, value).texts;
    assert_eq!(met(Selector::Customer, Matching::Exact, "c-1"), ["c-1"]);
    assert_eq!(met(Selector::Customer, Matching::Exact, "c-1 "), ["c-1", "c-1 "]);
    assert_eq!(met(Selector::DebtorBank, Matching::Prefix, "X1"), ["X", "X1"]);
    assert_eq!(met(Selector::DebtorAccount, Matching::Prefix, "a-1"), ["A", "A1", "a", "a-", "a-1"]);
    assert_eq!(met(Selector::DebtorName, Matching::NormalizedName, "A. \u{c4}"), ["a a"]);
    for matching in [Matching::Exact, Matching::Prefix] {
        let met = met(Selector::Ip, matching, "203.0.113.7");
        for entry in ["203.0.113.7", "203.0.113.0/24", "0.0.0.0/0"] {
            assert!(met.contains(&entry.to_owned()), "{entry}");
        }
    }
}

/// Entries of an earlier version may have the BIC of eight characters as their only form.
#[test]
fn a_head_office_meets_entries_of_both_its_forms_and_a_branch_those_of_its_head_office_by_prefix() {
    let met = |matching, value: &str| search_texts(&Selector::DebtorBank, matching, value).texts;
    assert_eq!(met(Matching::Exact, "deutdeff"), ["DEUTDEFF", "DEUTDEFFXXX", "deutdeff"]);
    assert_eq!(met(Matching::Exact, "DEUTDEFFXXX"), ["DEUTDEFF", "DEUTDEFFXXX"]);
    assert_eq!(met(Matching::Exact, "DEUTDEFF500"), ["DEUTDEFF500"]);
    for (value, expected) in
        [("DEUTDEFF500", true), ("DEUTDEFF", true), ("DEUTDEFF5", true), ("DEUTDE", false)]
    {
        let met = met(Matching::Prefix, value);
        assert_eq!(met.contains(&"DEUTDEFFXXX".to_owned()), expected, "{value}: {met:?}");
    }
}

/// Stored revisions may have such a matching. New revisions with it are refused.
#[test]
fn a_matching_that_means_nothing_for_the_kind_is_exact() {
    let asked = |selector: &Selector, matching, value: &str| {
        let SearchTexts { texts, by_name } = search_texts(selector, matching, value);
        (texts, by_name)
    };
    for (selector, matching, value) in [
        (Selector::DebtorAccount, Matching::NormalizedName, "GB33BUKB20201555555555"),
        (Selector::CreditorBank, Matching::NormalizedName, "deutdeff"),
        (Selector::CreditorCountry, Matching::NormalizedName, "IR"),
        (Selector::Ip, Matching::NormalizedName, "203.0.113.7"),
    ] {
        let exact = asked(&selector, Matching::Exact, value);
        assert_eq!(asked(&selector, matching, value), exact, "{selector:?} {matching:?}");
    }
    let (by_prefix, _) = asked(&Selector::Ip, Matching::Prefix, "203.0.113.45");
    assert!(!by_prefix.contains(&"203.0.113.4".to_owned()), "{by_prefix:?}");
    // An old entry that is not a valid address is still stored as written, and matches as before.
    assert!(by_prefix.contains(&"203.0.113.".to_owned()), "{by_prefix:?}");
    let (by_prefix, _) = asked(&Selector::CreditorCountry, Matching::Prefix, "IR");
    assert_eq!(by_prefix, ["I", "IR"]);
}

#[test]
fn a_name_of_which_nothing_is_left_is_compared_as_it_looks() {
    let SearchTexts { texts, by_name } =
        search_texts(&Selector::DebtorName, Matching::NormalizedName, " !\u{200b}!  ?");
    assert_eq!((texts, by_name), (vec![" !\u{200b}!  ?".to_owned(), "!! ?".to_owned()], false));
}

#[test]
fn queries_of_one_value_share_what_they_look_for() {
    let listed =
        |list: &str, matching| FactQuery::Listed { list: list.to_owned(), selector: Selector::Ip, matching };
    let queries = [listed("a", Matching::Exact), listed("b", Matching::Exact), listed("c", Matching::Exact)];
    let mut order = fixtures::order();
    order.ip = Some("2001:db8::1".parse().expect("an address"));
    let payment = Arc::new(Payment { id: PaymentId(Uuid::from_u128(3)), received_at_ms: 9, order });
    let tenant = TenantId(Uuid::from_u128(9));
    let request = FactRequest {
        tenant,
        payment,
        queries: queries.into(),
        in_flight: vec![],
        key: None,
        known: KnownFacts::default(),
    };
    let mut questions = FactColumns::default();
    questions.add(0, &request);
    assert_eq!((&questions.listed.first, &questions.listed.last), (&vec![1; 3], &vec![129; 3]));
    assert_eq!(questions.texts.len(), 129);
}

#[test]
fn an_empty_slice_ends_before_it_begins() {
    let mut all = Vec::new();
    assert_eq!(append(&mut all, vec!['a', 'b']), (1, 2));
    assert_eq!(append(&mut all, vec![]), (3, 2));
    assert_eq!(append(&mut all, vec!['c']), (3, 3));
}

#[test]
fn queries_of_one_value_share_the_payments_in_flight() {
    let tenant = TenantId(Uuid::from_u128(9));
    let order = fixtures::order();
    let velocity =
        |selector, window_ms| FactQuery::Velocity { selector, window_ms, counting: Counting::Submitted };
    let (customer, name) = (Selector::Customer, Selector::DebtorName);
    let queries = [velocity(customer.clone(), 1), velocity(name, 1), velocity(customer, 2)].into();
    let payments = vec![PaymentId(Uuid::from_u128(1)), PaymentId(Uuid::from_u128(2))];
    let series = Series { selectors: vec![Selector::Customer], conversion: None, distinct: None };
    let value_key = aggregate_key(tenant, &series, &order).expect("a customer");
    let in_flight = vec![InFlightValue { value_key, payments }];
    let payment = Arc::new(Payment { id: PaymentId(Uuid::from_u128(3)), received_at_ms: 9, order });
    let mut request =
        FactRequest { tenant, payment, queries, in_flight, key: None, known: KnownFacts::default() };
    let mut questions = FactColumns::default();
    questions.add(0, &request);
    assert_eq!(questions.excluded.len(), 2);
    let counted = &questions.aggregates;
    assert_eq!((&counted.excluded_first, &counted.excluded_last), (&vec![1, 3, 1], &vec![2, 2, 2]));

    // Another payment with the same value has other payments ahead of it.
    request.in_flight[0].payments.truncate(1);
    questions.add(1, &request);
    let counted = &questions.aggregates;
    assert_eq!((&counted.excluded_first[3..], &counted.excluded_last[3..]), (&[3, 4, 3][..], &[3, 3, 3][..]));
    assert_eq!(counted.place, [0, 0, 0, 1, 1, 1]);
    assert_eq!(counted.ordinal, [0, 1, 2, 0, 1, 2]);
}
