//! What has to be asked of the database, as the columns of its statement.
//!
//! Owns which queries are answered without asking, and the slices. Must never
//! read a row.

use uuid::Uuid;

use super::FactRequest;
use crate::domain::comparison::ValueKind;
use crate::domain::party::Bic;
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
        let mut own_texts = Vec::new();
        let queries = request.queries.iter().enumerate();
        queries
            .map(|(ordinal, query)| {
                let asked = Asked { request, place: number(place), ordinal: number(ordinal) };
                self.add_query(asked, query, own_velocity, &mut own_texts)
            })
            .collect()
    }

    fn add_query<'q>(
        &mut self,
        asked: Asked<'_>,
        query: &'q FactQuery,
        own_velocity: usize,
        own_texts: &mut Vec<SharedTexts<'q>>,
    ) -> Fact {
        let (FactQuery::Listed { selector, .. } | FactQuery::Velocity { selector, .. }) = query;
        let Some(value) = selector.value_of(&asked.request.payment.order) else { return Fact::Absent };
        match query {
            FactQuery::Listed { list, matching, .. } => {
                let shared =
                    own_texts.iter().find(|own| own.selector == selector && own.matching == *matching);
                let (slice, by_name) = shared.map(|own| (own.slice, own.by_name)).unwrap_or_else(|| {
                    let Compared { texts, by_name } = texts(selector, *matching, &value);
                    let slice = append(&mut self.texts, texts);
                    own_texts.push(SharedTexts { selector, matching: *matching, slice, by_name });
                    (slice, by_name)
                });
                self.add_listed(asked, list, slice, by_name);
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

    fn add_listed(&mut self, asked: Asked<'_>, list: &str, (first, last): (i32, i32), by_name: bool) {
        if last < first {
            return;
        }
        let list = self.number_of(list);
        self.listed.place.push(asked.place);
        self.listed.ordinal.push(asked.ordinal);
        self.listed.tenant.push(asked.request.tenant.0);
        self.listed.at_ms.push(bigint(asked.request.payment.received_at_ms));
        self.listed.list.push(list);
        self.listed.by_name.push(by_name);
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

/// Of one request, which often asks many lists for one value: an address alone is many texts.
struct SharedTexts<'q> {
    selector: &'q Selector,
    matching: Matching,
    slice: (i32, i32),
    by_name: bool,
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
    if let Some(name) = selector.asked_by_name(matching, value) {
        return Compared { texts: vec![name], by_name: true };
    }
    let kind = selector.kind();
    let form = kind.form_of_value(value);
    let mut texts = if matching == Matching::Prefix { beginnings(kind, &form, value) } else { Vec::new() };
    texts.extend(kind.forms_that_cover(form));
    texts.push(value.to_owned());
    texts.retain(|text| !text.is_empty());
    texts.sort_unstable();
    texts.dedup();
    Compared { texts, by_name: false }
}

/// The entries that a value begins with. Of kinds that have no beginnings only those that
/// cannot be read by the kind: they were left as they were written, and match as before.
fn beginnings(kind: ValueKind, form: &str, value: &str) -> Vec<String> {
    let mut written = prefixes(value);
    if !Matching::Prefix.suits(kind) {
        written.retain(|text| kind.form(text).is_err());
        return written;
    }
    // An entry of eight characters has the form of its head office, and begins all branches.
    let head_office = (kind == ValueKind::Bank).then(|| Bic::head_office_of(form)).flatten();
    written.extend(head_office.map(|bic| bic.as_str().to_owned()));
    [prefixes(form), written].concat()
}

/// The value cut after each of its characters.
fn prefixes(value: &str) -> Vec<String> {
    let ends = value.char_indices().map(|(start, c)| start + c.len_utf8());
    ends.take(PREFIX_LENGTH_MAX).map(|end| value[..end].to_owned()).collect()
}

#[cfg(test)]
#[path = "questions_tests.rs"]
mod tests;
