//! The columns of the statement that looks up facts.

use uuid::Uuid;

use super::FactRequest;
use super::aggregates::{AggregateColumns, in_flight};
use super::versions::VersionColumns;
use crate::domain::comparison::ValueKind;
use crate::domain::party::Bic;
use crate::domain::selector::{Fact, FactQuery, Matching, Selector};
use crate::domain::series::Series;
use crate::storage::columns::bigint;
use crate::storage::series::aggregate_key;
use crate::storage::values::day_of;

/// List entries are not longer, so longer prefixes cannot match.
const PREFIX_LENGTH_MAX: usize = 200;

/// How many recent names are searched for a repeated one. A ruleset queries a few lists, and most
/// payments have the same currency.
const RECENT_NAMES: usize = 16;

/// A query of a request.
#[derive(Clone, Copy)]
pub(super) struct RequestQuery<'a> {
    pub request: &'a FactRequest,
    pub place: i32,
    pub ordinal: i32,
}

/// The queries of any number of requests.
#[derive(Debug, Default)]
pub(super) struct FactColumns {
    pub listed: ListedColumns,
    /// The names of lists and currencies. They repeat, so the columns hold their numbers.
    pub names: Vec<String>,
    /// The texts that list queries compare with. Each query has a slice.
    pub texts: Vec<String>,
    pub aggregates: AggregateColumns,
    pub versions: VersionColumns,
    /// The payments in flight. Each query for velocities or aggregates has a slice.
    pub excluded: Vec<Uuid>,
    pub keys: KeyColumns,
}

/// The days of all windows in order, and the slice of each window.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Days {
    pub all: Vec<i32>,
    pub first: Vec<i32>,
    pub last: Vec<i32>,
}

/// `place` is the index of the request, and `ordinal` the index of the query in it.
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
pub(super) struct KeyColumns {
    pub place: Vec<i32>,
    pub tenant: Vec<Uuid>,
    pub client: Vec<Uuid>,
    pub key: Vec<String>,
}

impl FactColumns {
    pub fn is_empty(&self) -> bool {
        self.listed.place.is_empty()
            && self.aggregates.is_empty()
            && self.versions.place.is_empty()
            && self.keys.place.is_empty()
    }

    /// Adds the queries of a request that are not known. Returns a fact for each query. A fact that needs
    /// a lookup is a placeholder until then.
    pub fn add(&mut self, place: usize, request: &FactRequest) -> Vec<Fact> {
        // Queries of one value share their slice only within a request.
        let own_from = self.aggregates.place.len();
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
                if let Some(known) = request.known.get(ordinal) {
                    return known.clone();
                }
                let own = RequestQuery { request, place: number(place), ordinal: number(ordinal) };
                self.add_query(own, query, own_from, &mut own_texts)
            })
            .collect()
    }

    fn add_query<'q>(
        &mut self,
        own: RequestQuery<'_>,
        query: &'q FactQuery,
        own_aggregates: usize,
        own_texts: &mut Vec<SharedTexts<'q>>,
    ) -> Fact {
        let value = |selector: &Selector| selector.value_of(&own.request.payment.order);
        match query {
            FactQuery::Listed { list, selector, matching } => {
                let Some(value) = value(selector) else { return Fact::Absent };
                let shared =
                    own_texts.iter().find(|own| own.selector == selector && own.matching == *matching);
                let (slice, by_name) = shared.map(|own| (own.slice, own.by_name)).unwrap_or_else(|| {
                    let SearchTexts { texts, by_name } = search_texts(selector, *matching, &value);
                    let slice = append(&mut self.texts, texts);
                    own_texts.push(SharedTexts { selector, matching: *matching, slice, by_name });
                    (slice, by_name)
                });
                self.add_listed(own, list, slice, by_name);
                Fact::Listed(false)
            }
            FactQuery::Velocity { .. } => {
                if self.add_counted(own, query, own_aggregates) {
                    Fact::Velocity { count: 0, total_minor: 0 }
                } else {
                    Fact::Absent
                }
            }
            FactQuery::Aggregate(_) => {
                if self.add_counted(own, query, own_aggregates) {
                    Fact::Aggregate(Box::default())
                } else {
                    Fact::Absent
                }
            }
            FactQuery::Table { selector, .. } => {
                if value(selector).is_some() {
                    Fact::Table(None)
                } else {
                    Fact::Absent
                }
            }
            FactQuery::Similar { list, selector, .. } => {
                if value(selector).is_none() {
                    return Fact::Absent;
                }
                let list = self.number_of(list);
                self.versions.add(own, list);
                Fact::Similar(None)
            }
        }
    }

    /// Adds a velocity or an aggregate. Returns `false` if the payment lacks one of the values.
    fn add_counted(&mut self, own: RequestQuery<'_>, query: &FactQuery, own_from: usize) -> bool {
        let Some(counted) = query.counted() else { return false };
        let (tenant, order) = (own.request.tenant, &own.request.payment.order);
        let Some(key) = aggregate_key(tenant, &Series::of(&counted), order) else { return false };
        // The payments in flight may be many, so the queries of one key share their slice.
        let shared = self.aggregates.shared_slice(own_from, key);
        let slice = shared.unwrap_or_else(|| append(&mut self.excluded, in_flight(own.request, key)));
        let event = counted.filter.event.map_or(0, |event| self.number_of(event.name()));
        let is_velocity = matches!(query, FactQuery::Velocity { .. });
        self.aggregates.add(own, &counted, key, slice, event, is_velocity);
        true
    }

    fn add_listed(&mut self, own: RequestQuery<'_>, list: &str, (first, last): (i32, i32), by_name: bool) {
        if last < first {
            return;
        }
        let list = self.number_of(list);
        self.listed.place.push(own.place);
        self.listed.ordinal.push(own.ordinal);
        self.listed.tenant.push(own.request.tenant.0);
        self.listed.at_ms.push(bigint(own.request.payment.received_at_ms));
        self.listed.list.push(list);
        self.listed.by_name.push(by_name);
        self.listed.first.push(first);
        self.listed.last.push(last);
    }

    /// The number of a name, from 1. Only recent names are reused.
    fn number_of(&mut self, name: &str) -> i32 {
        let recent = self.names.len().saturating_sub(RECENT_NAMES);
        let known = self.names[recent..].iter().position(|known| known == name);
        let place = known.map_or(self.names.len(), |place| recent + place);
        if known.is_none() {
            self.names.push(name.to_owned());
        }
        number(place + 1)
    }
}

impl Days {
    /// The days of windows from `after_ms` to `at_ms`.
    pub fn of(after_ms: &[i64], at_ms: &[i64]) -> Self {
        // A window may begin before 1970, but no payment was received then.
        let day_of = |at_ms: &i64| day_of((*at_ms).max(0));
        let (earliest, latest) = (after_ms.iter().map(day_of).min(), at_ms.iter().map(day_of).max());
        let earliest = earliest.unwrap_or_default();
        let place = |at_ms: &i64| day_of(at_ms) - earliest + 1;
        Self {
            all: latest.map_or(vec![], |latest| (earliest..=latest).collect()),
            first: after_ms.iter().map(place).collect(),
            last: at_ms.iter().map(place).collect(),
        }
    }
}

pub(super) fn number(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// Appends a slice, and returns its bounds as in Postgres: from 1 and inclusive, so that an empty
/// slice ends before it begins.
fn append<T>(all: &mut Vec<T>, slice: Vec<T>) -> (i32, i32) {
    let first = number(all.len() + 1);
    all.extend(slice);
    (first, number(all.len()))
}

/// A slice that the queries of a request share: often many lists are queried for one value, and an
/// address alone has many texts.
struct SharedTexts<'q> {
    selector: &'q Selector,
    matching: Matching,
    slice: (i32, i32),
    by_name: bool,
}

/// The texts with which the entries of a list are compared, by this statement and in memory.
#[derive(Debug)]
pub(in crate::storage) struct SearchTexts {
    pub texts: Vec<String>,
    /// Whether the texts are compared with the normalized names of entries.
    pub by_name: bool,
}

/// The forms of the list entries that match a value. The value as written is one of them: an old
/// entry that is invalid for its list's kind is still stored as written.
pub(in crate::storage) fn search_texts(selector: &Selector, matching: Matching, value: &str) -> SearchTexts {
    if let Some(name) = selector.list_search_name(matching, value) {
        return SearchTexts { texts: vec![name], by_name: true };
    }
    let kind = selector.kind();
    let form = kind.form_of_value(value);
    let mut texts = if matching == Matching::Prefix { beginnings(kind, &form, value) } else { Vec::new() };
    texts.extend(kind.forms_that_cover(form));
    texts.push(value.to_owned());
    texts.retain(|text| !text.is_empty());
    texts.sort_unstable();
    texts.dedup();
    SearchTexts { texts, by_name: false }
}

/// The entries that match the beginning of a value. If the kind has no prefixes, only entries that
/// are invalid for the kind: they are still stored as written, and match as before.
fn beginnings(kind: ValueKind, form: &str, value: &str) -> Vec<String> {
    let mut written = prefixes(value);
    if !Matching::Prefix.suits(kind) {
        written.retain(|text| kind.form(text).is_err());
        return written;
    }
    // An entry of eight characters has the form of the head office, and matches all branches.
    let head_office = (kind == ValueKind::Bank).then(|| Bic::head_office_of(form)).flatten();
    written.extend(head_office.map(|bic| bic.as_str().to_owned()));
    [prefixes(form), written].concat()
}

/// All prefixes of the value.
fn prefixes(value: &str) -> Vec<String> {
    let ends = value.char_indices().map(|(start, c)| start + c.len_utf8());
    ends.take(PREFIX_LENGTH_MAX).map(|end| value[..end].to_owned()).collect()
}

#[cfg(test)]
#[path = "columns_tests.rs"]
mod tests;
