//! What has to be asked of the database, as the columns of its statement.
//!
//! Owns which queries are answered without asking, and the slices. Must never
//! read a row.

use uuid::Uuid;

use super::FactRequest;
use crate::domain::selector::{Counting, Fact, FactQuery, Matching, normalized_name};
use crate::storage::columns::bigint;
use crate::storage::values::value_key;

/// No list entry is longer, so no longer prefix can match.
const PREFIX_LENGTH_MAX: usize = 140;

#[derive(Debug, Default)]
pub(super) struct Questions {
    pub listed: ListedColumns,
    /// What the list queries compare with; each has a slice.
    pub texts: Vec<String>,
    pub velocity: VelocityColumns,
    /// The payments in flight; each velocity query has a slice.
    pub excluded: Vec<Uuid>,
}

#[derive(Debug, Default)]
pub(super) struct ListedColumns {
    pub ordinal: Vec<i32>,
    pub list: Vec<String>,
    pub by_name: Vec<bool>,
    pub first: Vec<i32>,
    pub last: Vec<i32>,
}

#[derive(Debug, Default)]
pub(super) struct VelocityColumns {
    pub ordinal: Vec<i32>,
    pub value_key: Vec<Uuid>,
    pub after_ms: Vec<i64>,
    pub approved_only: Vec<bool>,
    pub first: Vec<i32>,
    pub last: Vec<i32>,
}

impl Questions {
    /// What to ask, and the facts with those in place that need no asking.
    pub fn of(request: &FactRequest) -> (Self, Vec<Fact>) {
        let mut questions = Self::default();
        let facts =
            (0..).zip(&request.queries).map(|(ordinal, query)| questions.add(request, ordinal, query));
        let facts = facts.collect();
        (questions, facts)
    }

    pub fn is_empty(&self) -> bool {
        self.listed.ordinal.is_empty() && self.velocity.ordinal.is_empty()
    }

    fn add(&mut self, request: &FactRequest, ordinal: i32, query: &FactQuery) -> Fact {
        let (FactQuery::Listed { selector, .. } | FactQuery::Velocity { selector, .. }) = query;
        let Some(value) = selector.value_of(&request.order) else { return Fact::Absent };
        match query {
            FactQuery::Listed { list, matching, .. } => {
                self.add_listed(ordinal, list, *matching, &value);
                Fact::Listed(false)
            }
            FactQuery::Velocity { window_ms, counting, .. } => {
                let key = value_key(request.tenant, &selector.name(), &value);
                self.add_velocity(request, ordinal, key, *window_ms, *counting);
                Fact::Velocity { count: 0, total_minor: 0 }
            }
        }
    }

    fn add_listed(&mut self, ordinal: i32, list: &str, matching: Matching, value: &str) {
        let texts = match matching {
            Matching::Exact => vec![value.to_owned()],
            Matching::Prefix => prefixes(value),
            Matching::NormalizedName => vec![normalized_name(value)],
        };
        // A name of punctuation alone is like every other such name; it is on no list.
        let texts: Vec<String> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        if texts.is_empty() {
            return;
        }
        let (first, last) = append(&mut self.texts, texts);
        self.listed.ordinal.push(ordinal);
        self.listed.list.push(list.to_owned());
        self.listed.by_name.push(matching == Matching::NormalizedName);
        self.listed.first.push(first);
        self.listed.last.push(last);
    }

    fn add_velocity(
        &mut self,
        request: &FactRequest,
        ordinal: i32,
        key: Uuid,
        window_ms: u64,
        counting: Counting,
    ) {
        // Queries of one value share their slice: with many payments in flight it is long.
        let shared = self.velocity.value_key.iter().position(|known| *known == key);
        let (first, last) = match shared {
            Some(place) => (self.velocity.first[place], self.velocity.last[place]),
            None => {
                let in_flight = request.in_flight.iter().filter(|value| value.value_key == key);
                let excluded = in_flight.flat_map(|value| value.payments.iter().map(|payment| payment.0));
                append(&mut self.excluded, excluded.collect())
            }
        };
        self.velocity.ordinal.push(ordinal);
        self.velocity.value_key.push(key);
        // Below zero for a window that reaches behind the first payment there can be.
        self.velocity.after_ms.push(bigint(request.received_at_ms).saturating_sub(bigint(window_ms)));
        self.velocity.approved_only.push(counting == Counting::Approved);
        self.velocity.first.push(first);
        self.velocity.last.push(last);
    }
}

/// Appends a slice and gives its bounds as Postgres counts them: from 1, both
/// inclusive, so that an empty slice ends before it begins.
fn append<T>(all: &mut Vec<T>, slice: Vec<T>) -> (i32, i32) {
    let bound = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
    let first = bound(all.len() + 1);
    all.extend(slice);
    (first, bound(all.len()))
}

/// The value cut after each of its characters.
fn prefixes(value: &str) -> Vec<String> {
    let ends = value.char_indices().map(|(start, c)| start + c.len_utf8());
    ends.take(PREFIX_LENGTH_MAX).map(|end| value[..end].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::money::{Currency, Money};
    use crate::domain::party::Party;
    use crate::domain::payment::{Method, PaymentId, PaymentOrder};
    use crate::domain::selector::Selector;
    use crate::domain::tenant::TenantId;
    use crate::storage::facts::InFlightValue;

    #[test]
    fn prefixes_end_between_characters_and_are_bounded() {
        assert_eq!(prefixes("aé😀"), ["a", "aé", "aé😀"]);
        assert!(prefixes("").is_empty());
        assert_eq!(prefixes(&"ä".repeat(500)).len(), PREFIX_LENGTH_MAX);
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
        let order = order();
        let velocity =
            |selector, window_ms| FactQuery::Velocity { selector, window_ms, counting: Counting::Submitted };
        let (customer, name) = (Selector::Customer, Selector::DebtorName);
        let queries = vec![velocity(customer.clone(), 1), velocity(name, 1), velocity(customer, 2)];
        let payments = vec![PaymentId(Uuid::from_u128(1)), PaymentId(Uuid::from_u128(2))];
        let in_flight = vec![InFlightValue { value_key: value_key(tenant, "customer", "c"), payments }];
        let (payment_id, order) = (PaymentId(Uuid::from_u128(3)), Arc::new(order));
        let request =
            FactRequest { tenant, payment_id, received_at_ms: 9, order, queries, in_flight, key: None };
        let (questions, _) = Questions::of(&request);
        assert_eq!(questions.excluded.len(), 2);
        assert_eq!((questions.velocity.first, questions.velocity.last), (vec![1, 3, 1], vec![2, 2, 2]));
    }

    fn order() -> PaymentOrder {
        let party = Party { name: "Ann".into(), account: None, bank: None, country: None };
        PaymentOrder {
            reference: "r".into(),
            amount: Money::new(100, Currency::parse("EUR").expect("currency")).expect("amount"),
            debtor: party.clone(),
            creditor: party,
            method: Method::Wallet,
            customer: Some("c".into()),
            merchant: None,
            card: None,
            device: None,
            ip: None,
            requested_at_ms: None,
            purpose: None,
            remittance: None,
            metadata: vec![],
        }
    }
}
