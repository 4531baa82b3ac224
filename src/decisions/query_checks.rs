//! Checks the queries of rules against the tenant's lists and tables, and against what payments can
//! contain.
//!
//! A rule cannot see lists and tables, so a flaw points to the setting that causes the query.

use serde_json::Value;

use crate::domain::aggregate::{AggregateQuery, Conversion, EACH_PAYMENT_WINDOW_MAX_MS};
use crate::domain::comparison::ValueKind;
use crate::domain::decision::EvidenceVersion;
use crate::domain::list::ListKinds;
use crate::domain::payment::metadata_key;
use crate::domain::rates::RATE_COLUMN;
use crate::domain::retention::RetentionMonths;
use crate::domain::ruleset::PreparedRule;
use crate::domain::selector::{FactQuery, Matching, Selector, TableLookup};
use crate::domain::table::CellKind;
use crate::storage::lists::ListHead;
use crate::storage::tables::Table;

/// A flaw of a ruleset, with a JSON pointer into the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesetFlaw {
    pub pointer: String,
    pub detail: String,
}

/// What the queries are checked against.
pub(super) struct QueryContext {
    pub lists: Vec<ListHead>,
    pub tables: Vec<Table>,
    /// `None` if decisions are kept forever.
    pub retention: Option<RetentionMonths>,
    /// The version in which decisions are stored.
    pub evidence: EvidenceVersion,
}

/// The flaws of the queries of one rule. `place` is its position in the request.
pub(super) fn query_flaws(place: usize, rule: &PreparedRule, context: &QueryContext) -> Vec<RulesetFlaw> {
    let settings = serde_json::from_str(&rule.entry.settings).unwrap_or(Value::Null);
    let mut flaws: Vec<RulesetFlaw> = Vec::new();
    for query in &rule.queries {
        let name = query.list().map(|(list, _)| list).or(query.table());
        for selector in query.selectors() {
            let flaw = key_flaw(selector).or_else(|| context.flaw(query, selector));
            let Some(QueryFlaw { detail, cause }) = flaw else { continue };
            let setting = setting(&settings, name, cause.text(name, selector));
            let flaw = RulesetFlaw { pointer: format!("/rules/{place}/settings{setting}"), detail };
            if !flaws.contains(&flaw) {
                flaws.push(flaw);
            }
        }
    }
    flaws
}

impl QueryContext {
    fn flaw(&self, query: &FactQuery, selector: &Selector) -> Option<QueryFlaw> {
        if query.is_new() && self.evidence == EvidenceVersion::V2 {
            let detail =
                "this fact can be asked once all nodes are upgraded and evidence_version is 3".to_owned();
            return Some(QueryFlaw { detail, cause: FlawCause::Selector });
        }
        if let Some(flaw) = self.window_flaw(query) {
            return Some(flaw);
        }
        match query {
            FactQuery::Listed { list, matching, .. } => {
                list_flaw(list, selector, &self.lists).or_else(|| matching_flaw(list, selector, *matching))
            }
            FactQuery::Similar { list, .. } => list_flaw(list, selector, &self.lists),
            FactQuery::Table { table, lookup, .. } => table_flaw(table, selector, *lookup, &self.tables),
            FactQuery::Aggregate(query) => {
                let rates = |conversion: &Conversion| rates_flaw(&conversion.table, &self.tables);
                query.conversion.as_ref().and_then(rates).or_else(|| each_payment_flaw(query))
            }
            FactQuery::Velocity { .. } => None,
        }
    }

    /// The payments of a window must be kept for as long as the window is.
    fn window_flaw(&self, query: &FactQuery) -> Option<QueryFlaw> {
        let retention = self.retention?;
        let kept_ms = retention.kept_at_least_ms();
        if query.window_ms()? <= kept_ms {
            return None;
        }
        let detail = format!(
            "the window is longer than payments are kept: this tenant keeps decisions for {retention}, which \
             are {} days or more",
            kept_ms / 86_400_000
        );
        Some(QueryFlaw { detail, cause: FlawCause::Selector })
    }
}

fn rates_flaw(name: &str, tables: &[Table]) -> Option<QueryFlaw> {
    let flaw = |detail| Some(QueryFlaw { detail, cause: FlawCause::Name });
    let Some(table) = tables.iter().find(|table| table.name.as_str() == name) else {
        return flaw(format!("there is no table {name}; create it first"));
    };
    if table.closed.is_some() {
        return flaw(format!("the table {name} is closed; use another one"));
    }
    let rate = table.schema.columns().iter().find(|column| column.name.as_str() == RATE_COLUMN);
    let is_number = rate.is_some_and(|rate| matches!(rate.kind, CellKind::Number | CellKind::Integer));
    let is_by_currency =
        table.schema.lookup() == TableLookup::Exact && table.schema.kind() == ValueKind::Text;
    if is_number && is_by_currency {
        return None;
    }
    flaw(format!(
        "the table {name} has no rates: amounts are converted by a table that is looked up exactly by keys of \
         the kind text, the currencies, with a column {RATE_COLUMN} of the kind number"
    ))
}

/// Such a window is not answered from roll-ups, so its payments are read one by one.
fn each_payment_flaw(query: &AggregateQuery) -> Option<QueryFlaw> {
    if query.window_ms <= EACH_PAYMENT_WINDOW_MAX_MS || !query.filter.needs_each_payment() {
        return None;
    }
    let days = EACH_PAYMENT_WINDOW_MAX_MS / 86_400_000;
    let detail = format!(
        "an aggregate that filters by amount or by event has a window of at most {days} days; expected a \
         shorter window, or filters by method and outcome only"
    );
    Some(QueryFlaw { detail, cause: FlawCause::Selector })
}

fn table_flaw(name: &str, selector: &Selector, lookup: TableLookup, tables: &[Table]) -> Option<QueryFlaw> {
    let flaw = |cause, detail| Some(QueryFlaw { detail, cause });
    let Some(table) = tables.iter().find(|table| table.name.as_str() == name) else {
        return flaw(FlawCause::Name, format!("there is no table {name}; create it first"));
    };
    if table.closed.is_some() {
        return flaw(FlawCause::Name, format!("the table {name} is closed; use another one"));
    }
    let (has, held) = (table.schema.lookup(), table.schema.kind());
    if has != lookup {
        let (has, asked) = (has.name(), lookup.name());
        return flaw(FlawCause::Name, format!("the table {name} is looked up by {has}, not by {asked}"));
    }
    // All kinds of plain text are compared in the same form.
    let is_one_kind = |kinds: ListKinds| kinds.iter().count() == 1;
    if ListKinds::of([held, selector.kind()]).is_some_and(is_one_kind) {
        return None;
    }
    let (held, asked) = (held.name(), selector.kind().name());
    let detail = format!(
        "the table {name} has keys of the kind {held}, but the selector {} has values of the kind {asked}: no \
         payment could match",
        selector.name()
    );
    flaw(FlawCause::Selector, detail)
}

struct QueryFlaw {
    detail: String,
    cause: FlawCause,
}

#[derive(Clone, Copy)]
enum FlawCause {
    /// Of the list or table.
    Name,
    Selector,
    Matching(Matching),
}

impl FlawCause {
    /// The text in the settings that causes the flaw.
    fn text<'a>(self, name: Option<&'a str>, selector: &'a Selector) -> std::borrow::Cow<'a, str> {
        match (self, selector) {
            (Self::Name, _) => name.unwrap_or_default().into(),
            (Self::Matching(matching), _) => matching.name().into(),
            (Self::Selector, Selector::Metadata(key) | Selector::Signal(key)) => key.as_str().into(),
            (Self::Selector, fixed) => fixed.name().into(),
        }
    }
}

fn key_flaw(selector: &Selector) -> Option<QueryFlaw> {
    let (what, key) = match selector {
        Selector::Metadata(key) => ("metadata with this key", key),
        Selector::Signal(name) => ("a signal with this name", name),
        _ => return None,
    };
    let expected = metadata_key(key).err()?;
    let detail = format!("no payment can have {what}: {expected}");
    Some(QueryFlaw { detail, cause: FlawCause::Selector })
}

fn list_flaw(name: &str, selector: &Selector, lists: &[ListHead]) -> Option<QueryFlaw> {
    let Some(list) = lists.iter().find(|list| list.name == name) else {
        let detail = format!("there is no list {name}; create it first");
        return Some(QueryFlaw { detail, cause: FlawCause::Name });
    };
    if list.is_closed {
        let detail = format!("the list {name} is closed; use another one");
        return Some(QueryFlaw { detail, cause: FlawCause::Name });
    }
    if list.kinds.serve(selector) {
        return None;
    }
    let (asked, held) = (selector.kind().name(), &list.kinds);
    let detail = format!(
        "the list {name} has values of the kind {held}, but the selector {} has values of the kind {asked}: \
         no payment could match",
        selector.name()
    );
    Some(QueryFlaw { detail, cause: FlawCause::Selector })
}

/// `selector` must be one that the list serves.
fn matching_flaw(list: &str, selector: &Selector, matching: Matching) -> Option<QueryFlaw> {
    let kind = selector.kind();
    if matching.suits(kind) {
        return None;
    }
    let suitable: Vec<&str> = [Matching::Exact, Matching::Prefix]
        .into_iter()
        .filter(|matching| matching.suits(kind))
        .map(Matching::name)
        .collect();
    let detail = format!(
        "{} cannot be used on the list {list}: values of the kind {} have a form of their own. Expected {}",
        matching.name(),
        kind.name(),
        suitable.join(" or ")
    );
    Some(QueryFlaw { detail, cause: FlawCause::Matching(matching) })
}

/// A JSON pointer to the text in the settings, near the list's name if there is a list. Empty if
/// the settings do not contain it.
fn setting(settings: &Value, list: Option<&str>, blamed: std::borrow::Cow<'_, str>) -> String {
    let both = list.and_then(|list| narrowest(settings, &[list, &blamed]));
    let (above, within) = both.unwrap_or_else(|| (String::new(), settings));
    match narrowest(within, &[&blamed]) {
        Some((below, _)) => above + &below,
        None => above,
    }
}

/// The first of the smallest parts of `value` that contain all `texts`, with its pointer.
fn narrowest<'v>(value: &'v Value, texts: &[&str]) -> Option<(String, &'v Value)> {
    if !texts.iter().all(|text| holds(value, text)) {
        return None;
    }
    let below = match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(place, item)| found_below(&place.to_string(), narrowest(item, texts))),
        Value::Object(members) => members.iter().find_map(|(key, member)| {
            let step = key.replace('~', "~0").replace('/', "~1");
            match texts {
                [text] if key == text => Some((format!("/{step}"), member)),
                _ => found_below(&step, narrowest(member, texts)),
            }
        }),
        _ => None,
    };
    Some(below.unwrap_or_else(|| (String::new(), value)))
}

fn found_below<'v>(step: &str, found: Option<(String, &'v Value)>) -> Option<(String, &'v Value)> {
    found.map(|(pointer, value)| (format!("/{step}{pointer}"), value))
}

fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found == text,
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(members) => members.iter().any(|(key, member)| key == text || holds(member, text)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::aggregate::PaymentFilter;
    use crate::domain::payment::Method;
    use crate::domain::payment_event::EventKind;

    #[test]
    fn a_window_that_reads_each_payment_is_at_most_31_days() {
        const DAY_MS: u64 = 86_400_000;
        let all = PaymentFilter::default();
        let cards = PaymentFilter { methods: vec![Method::Card], ..all.clone() };
        let large = PaymentFilter { amount_at_least: Some(1), ..all.clone() };
        let small = PaymentFilter { amount_below: Some(9), ..all.clone() };
        let frauds = PaymentFilter { event: Some(EventKind::Fraud), ..all.clone() };
        for (filter, window_ms, is_refused) in [
            (&all, 400 * DAY_MS, false),
            (&cards, 400 * DAY_MS, false),
            (&large, 31 * DAY_MS, false),
            (&large, 31 * DAY_MS + 1, true),
            (&small, 32 * DAY_MS, true),
            (&frauds, 32 * DAY_MS, true),
        ] {
            let query = AggregateQuery {
                selectors: vec![Selector::Customer],
                window_ms,
                filter: filter.clone(),
                conversion: None,
                distinct: None,
                first_and_last: false,
            };
            let flaw = each_payment_flaw(&query);
            assert_eq!(flaw.is_some(), is_refused, "{query:?}");
            if let Some(flaw) = flaw {
                assert!(flaw.detail.contains("at most 31 days"), "{}", flaw.detail);
            }
        }
    }

    #[test]
    fn the_setting_that_asks_is_found_wherever_a_rule_keeps_it() {
        for (settings, list, blamed, expected) in [
            (
                json!({"lists": [{"list": "a", "selector": "ip"}, {"list": "b", "selector": "ip"}]}),
                Some("b"),
                "ip",
                "/lists/1/selector",
            ),
            (json!({"lists": [{"list": "a"}, {"list": "b"}]}), Some("b"), "b", "/lists/1/list"),
            (
                json!({"limits": [{"selector": {"metadata": "A b"}}]}),
                None,
                "A b",
                "/limits/0/selector/metadata",
            ),
            (json!({"a/b": {"x": "ip"}, "list": "l"}), Some("l"), "ip", "/a~1b/x"),
            (json!({"by list": {"l": {"of": "ip"}}}), Some("l"), "ip", "/by list/l/of"),
            (json!({"country": "DE"}), Some("l"), "ip", ""),
            (json!(null), None, "ip", ""),
        ] {
            assert_eq!(setting(&settings, list, blamed.into()), expected, "{settings}");
        }
    }
}
