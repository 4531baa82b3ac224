//! What has to be asked of the database, as the columns of its statement.
//!
//! Owns which queries are answered without asking, and the slices. Must never
//! read a row.

use uuid::Uuid;

use super::FactRequest;
use crate::domain::comparison::normalized_name;
use crate::domain::selector::{Counting, Fact, FactQuery, Matching, Selector};
use crate::storage::columns::bigint;
use crate::storage::values::{ValueKeys, day_of};

/// No list entry is longer, so no longer prefix can match.
const PREFIX_LENGTH_MAX: usize = 200;

/// A ruleset asks about a few lists, and most payments are of one currency.
const NAMES_LOOKED_AT: usize = 16;

/// A query of a request.
#[derive(Clone, Copy)]
struct Asked<'a> {
    request: &'a FactRequest,
    place: i32,
    ordinal: i32,
}

/// The questions of any number of requests, side by side.
#[derive(Debug, Default)]
pub(super) struct Questions {
    pub listed: ListedColumns,
    /// Of lists and currencies, which repeat: the columns hold their numbers.
    pub names: Vec<String>,
    /// What the list queries compare with; each has a slice.
    pub texts: Vec<String>,
    pub velocity: VelocityColumns,
    /// The payments in flight; each velocity query has a slice.
    pub excluded: Vec<Uuid>,
    pub keys: KeyColumns,
}

/// The days of all windows, one after the other, and the slice of each window.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Days {
    pub all: Vec<i32>,
    pub first: Vec<i32>,
    pub last: Vec<i32>,
}

/// `place` is that of the request, `ordinal` that of the query in it.
#[derive(Debug, Default)]
pub(super) struct ListedColumns {
    pub place: Vec<i32>,
    pub ordinal: Vec<i32>,
    pub tenant: Vec<Uuid>,
    pub at_ms: Vec<i64>,
    pub list: Vec<i32>,
    pub by_name: Vec<bool>,
    pub first: Vec<i32>,
    pub last: Vec<i32>,
}

#[derive(Debug, Default)]
pub(super) struct VelocityColumns {
    pub place: Vec<i32>,
    pub ordinal: Vec<i32>,
    pub tenant: Vec<Uuid>,
    pub at_ms: Vec<i64>,
    pub payment: Vec<Uuid>,
    pub currency: Vec<i32>,
    pub value_key: Vec<Uuid>,
    pub after_ms: Vec<i64>,
    pub approved_only: Vec<bool>,
    pub first: Vec<i32>,
    pub last: Vec<i32>,
}

#[derive(Debug, Default)]
pub(super) struct KeyColumns {
    pub place: Vec<i32>,
    pub tenant: Vec<Uuid>,
    pub client: Vec<Uuid>,
    pub key: Vec<String>,
}

impl Questions {
    pub fn is_empty(&self) -> bool {
        self.listed.place.is_empty() && self.velocity.place.is_empty() && self.keys.place.is_empty()
    }

    /// Adds what a request asks; answers its facts, with those in place that need no asking.
    pub fn add(&mut self, place: usize, request: &FactRequest) -> Vec<Fact> {
        // Only within one request queries of one value share their slice.
        let own_velocity = self.velocity.place.len();
        if let Some((client, key)) = &request.key {
            self.keys.place.push(number(place));
            self.keys.tenant.push(request.tenant.0);
            self.keys.client.push(client.0);
            self.keys.key.push(key.as_str().to_owned());
        }
        let queries = request.queries.iter().enumerate();
        queries
            .map(|(ordinal, query)| {
                let asked = Asked { request, place: number(place), ordinal: number(ordinal) };
                self.add_query(asked, query, own_velocity)
            })
            .collect()
    }

    fn add_query(&mut self, asked: Asked<'_>, query: &FactQuery, own_velocity: usize) -> Fact {
        let (FactQuery::Listed { selector, .. } | FactQuery::Velocity { selector, .. }) = query;
        let Some(value) = selector.value_of(&asked.request.payment.order) else { return Fact::Absent };
        match query {
            FactQuery::Listed { list, matching, .. } => {
                self.add_listed(asked, list, texts(selector, *matching, &value));
                Fact::Listed(false)
            }
            FactQuery::Velocity { window_ms, counting, .. } => {
                let keys = ValueKeys::of(asked.request.tenant, selector, &value);
                let slice = self.slice(asked.request, keys.own, own_velocity);
                let currency = self.number_of(asked.request.payment.order.amount.currency().code());
                for key in keys.all() {
                    self.velocity.push(asked, key, currency, slice);
                    self.velocity.window(asked, *window_ms, *counting);
                }
                Fact::Velocity { count: 0, total_minor: 0 }
            }
        }
    }

    fn add_listed(&mut self, asked: Asked<'_>, list: &str, compared: Compared) {
        if compared.texts.is_empty() {
            return;
        }
        let list = self.number_of(list);
        let (first, last) = append(&mut self.texts, compared.texts);
        self.listed.place.push(asked.place);
        self.listed.ordinal.push(asked.ordinal);
        self.listed.tenant.push(asked.request.tenant.0);
        self.listed.at_ms.push(bigint(asked.request.payment.received_at_ms));
        self.listed.list.push(list);
        self.listed.by_name.push(compared.by_name);
        self.listed.first.push(first);
        self.listed.last.push(last);
    }

    /// From 1. The same name may stand there again, but not right after itself.
    fn number_of(&mut self, name: &str) -> i32 {
        let recent = self.names.len().saturating_sub(NAMES_LOOKED_AT);
        let known = self.names[recent..].iter().position(|known| known == name);
        let place = known.map_or(self.names.len(), |place| recent + place);
        if known.is_none() {
            self.names.push(name.to_owned());
        }
        number(place + 1)
    }

    /// The payments in flight of a value: with many of them the slice is long,
    /// so queries of one value share it.
    fn slice(&mut self, request: &FactRequest, key: Uuid, own_velocity: usize) -> (i32, i32) {
        let shared = self.velocity.value_key[own_velocity..].iter().position(|known| *known == key);
        if let Some(place) = shared.map(|place| own_velocity + place) {
            return (self.velocity.first[place], self.velocity.last[place]);
        }
        let in_flight = request.in_flight.iter().filter(|value| value.value_key == key);
        let excluded = in_flight.flat_map(|value| value.payments.iter().map(|payment| payment.0));
        append(&mut self.excluded, excluded.collect())
    }
}

impl VelocityColumns {
    fn push(&mut self, asked: Asked<'_>, key: Uuid, currency: i32, (first, last): (i32, i32)) {
        self.place.push(asked.place);
        self.ordinal.push(asked.ordinal);
        self.tenant.push(asked.request.tenant.0);
        self.payment.push(asked.request.payment.id.0);
        self.currency.push(currency);
        self.value_key.push(key);
        self.first.push(first);
        self.last.push(last);
    }

    fn window(&mut self, asked: Asked<'_>, window_ms: u64, counting: Counting) {
        let received_at_ms = bigint(asked.request.payment.received_at_ms);
        self.at_ms.push(received_at_ms);
        // Below zero for a window that reaches behind the first payment there can be.
        self.after_ms.push(received_at_ms.saturating_sub(bigint(window_ms)));
        self.approved_only.push(counting == Counting::Approved);
    }

    pub fn days(&self) -> Days {
        // Nothing was received before 1970, wherever a window begins.
        let day_of = |at_ms: &i64| day_of((*at_ms).max(0));
        let (earliest, latest) =
            (self.after_ms.iter().map(day_of).min(), self.at_ms.iter().map(day_of).max());
        let earliest = earliest.unwrap_or_default();
        let place = |at_ms: &i64| day_of(at_ms) - earliest + 1;
        Days {
            all: latest.map_or(vec![], |latest| (earliest..=latest).collect()),
            first: self.after_ms.iter().map(place).collect(),
            last: self.at_ms.iter().map(place).collect(),
        }
    }
}

fn number(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// Appends a slice and gives its bounds as Postgres counts them: from 1, both
/// inclusive, so that an empty slice ends before it begins.
fn append<T>(all: &mut Vec<T>, slice: Vec<T>) -> (i32, i32) {
    let first = number(all.len() + 1);
    all.extend(slice);
    (first, number(all.len()))
}

/// What entries are looked for on a list.
struct Compared {
    texts: Vec<String>,
    /// Whether the texts are compared with the normalized names of entries.
    by_name: bool,
}

/// The forms of the entries that match a value. The value as it was written is one of them,
/// since an old entry without a form of its list's kind is kept as it was written.
fn texts(selector: &Selector, matching: Matching, value: &str) -> Compared {
    let kind = selector.kind();
    let form = kind.form_of_value(value);
    let mut texts = match matching {
        Matching::Exact => [kind.forms_that_cover(form), vec![value.to_owned()]].concat(),
        Matching::Prefix => [prefixes(&form), prefixes(value), kind.forms_that_cover(form)].concat(),
        Matching::NormalizedName => vec![normalized_name(value)],
    };
    // A name of punctuation alone is like every other such name; it is on no list.
    texts.retain(|text| !text.is_empty());
    texts.sort_unstable();
    texts.dedup();
    Compared { texts, by_name: matching == Matching::NormalizedName }
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
    use crate::domain::fixtures;
    use crate::domain::payment::{Payment, PaymentId};
    use crate::domain::tenant::TenantId;
    use crate::storage::facts::InFlightValue;
    use crate::storage::values::value_key;

    #[test]
    fn prefixes_end_between_characters_and_are_bounded() {
        assert_eq!(prefixes("aé😀"), ["a", "aé", "aé😀"]);
        assert!(prefixes("").is_empty());
        assert_eq!(prefixes(&"ä".repeat(500)).len(), PREFIX_LENGTH_MAX);
    }

    #[test]
    fn a_value_meets_entries_of_its_form_and_what_was_left_as_it_was_written() {
        let met = |selector, matching, value| texts(&selector, matching, value).texts;
        assert_eq!(met(Selector::Customer, Matching::Exact, "c-1"), ["c-1"]);
        assert_eq!(met(Selector::Customer, Matching::Exact, "c-1 "), ["c-1", "c-1 "]);
        assert_eq!(met(Selector::DebtorBank, Matching::Exact, "deutdeff"), ["DEUTDEFFXXX", "deutdeff"]);
        assert_eq!(met(Selector::DebtorBank, Matching::Prefix, "X1"), ["X", "X1"]);
        assert_eq!(met(Selector::DebtorAccount, Matching::Prefix, "a-1"), ["A", "A1", "a", "a-", "a-1"]);
        assert_eq!(met(Selector::DebtorName, Matching::NormalizedName, "A. \u{c4}"), ["a a"]);
        assert!(met(Selector::DebtorName, Matching::NormalizedName, "...").is_empty());
        for matching in [Matching::Exact, Matching::Prefix] {
            let met = met(Selector::Ip, matching, "203.0.113.7");
            for entry in ["203.0.113.7", "203.0.113.0/24", "0.0.0.0/0"] {
                assert!(met.contains(&entry.to_owned()), "{entry}");
            }
        }
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
        let in_flight = vec![InFlightValue { value_key: value_key(tenant, "customer", "c"), payments }];
        let payment = Arc::new(Payment { id: PaymentId(Uuid::from_u128(3)), received_at_ms: 9, order });
        let mut request = FactRequest { tenant, payment, queries, in_flight, key: None };
        let mut questions = Questions::default();
        questions.add(0, &request);
        assert_eq!(questions.excluded.len(), 2);
        // The name is asked for under both of its keys.
        let slices = (&questions.velocity.first, &questions.velocity.last);
        assert_eq!(slices, (&vec![1, 3, 3, 1], &vec![2, 2, 2, 2]));

        // Another payment of the same value has others ahead of it.
        request.in_flight[0].payments.truncate(1);
        questions.add(1, &request);
        assert_eq!(
            (&questions.velocity.first[4..], &questions.velocity.last[4..]),
            (&[3, 4, 4, 3][..], &[3, 3, 3, 3][..])
        );
        assert_eq!(questions.velocity.place, [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(questions.velocity.ordinal, [0, 1, 1, 2, 0, 1, 1, 2]);
    }
}
