//! The bounds of queries.
//!
//! A query that passes here is stored in a revision and asked for every payment. What would make
//! its look-up slow or without meaning must be refused here.

use super::{SLUG, Violation, is_invisible, is_slug};
use crate::domain::aggregate::{AggregateQuery, PaymentFilter, SELECTORS_MAX};
use crate::domain::comparison::ValueKind;
use crate::domain::selector::{FactQuery, Selector};

const METADATA_KEY_CHARS_MAX: usize = 128;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const WINDOW_MS_MAX: u64 = 400 * DAY_MS;
/// For aggregates that must read each payment: sums per day do not contain what they ask for.
const UNROLLED_WINDOW_DAYS_MAX: u64 = 31;
const SCORES: std::ops::RangeInclusive<u8> = 50..=100;

pub(super) fn query(query: &FactQuery) -> Result<(), Violation> {
    match query {
        FactQuery::Listed { list, .. } => named("list", list),
        FactQuery::Velocity { window_ms, .. } => window(*window_ms),
        FactQuery::Aggregate(query) => aggregate(query),
        FactQuery::Table { table, .. } => named("table", table),
        FactQuery::Similar { list, selector, score_at_least } => {
            named("list", list)?;
            similar(selector, *score_at_least)
        }
    }?;
    query.selectors().into_iter().try_for_each(key)
}

fn aggregate(query: &AggregateQuery) -> Result<(), Violation> {
    let count = query.selectors.len();
    if !(1..=SELECTORS_MAX).contains(&count) {
        return Err(format!("an aggregate with {count} selectors, 1 to {SELECTORS_MAX} are allowed"));
    }
    if let Some(twice) = query.selectors.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("an aggregate with the selector {} twice", twice[0].name()));
    }
    window(query.window_ms)?;
    let reads_each = match (&query.distinct, query.filter.event) {
        (Some(_), _) => Some("distinct values"),
        (None, Some(_)) => Some("events"),
        (None, None) => None,
    };
    if let Some(what) = reads_each.filter(|_| query.window_ms > UNROLLED_WINDOW_DAYS_MAX * DAY_MS) {
        return Err(format!(
            "an aggregate of {what} with a window of {} ms: it reads each payment, so at most {} ms \
             ({UNROLLED_WINDOW_DAYS_MAX} days) are allowed",
            query.window_ms,
            UNROLLED_WINDOW_DAYS_MAX * DAY_MS,
        ));
    }
    if let Some(conversion) = &query.conversion {
        named("table", &conversion.table)?;
    }
    amounts(&query.filter)
}

fn amounts(filter: &PaymentFilter) -> Result<(), Violation> {
    let bounds = [filter.amount_at_least, filter.amount_below];
    if let Some(negative) = bounds.into_iter().flatten().find(|amount| *amount < 0) {
        return Err(format!("a filter with the negative amount {negative}"));
    }
    match bounds {
        [Some(at_least), Some(below)] if at_least >= below => {
            Err(format!("a filter of amounts of at least {at_least} and below {below}, which are none"))
        }
        _ => Ok(()),
    }
}

fn similar(selector: &Selector, score_at_least: u8) -> Result<(), Violation> {
    if selector.kind() != ValueKind::Name {
        return Err(format!("a query for names similar to {}, which is not a name", selector.name()));
    }
    if !SCORES.contains(&score_at_least) {
        return Err(format!(
            "a score of at least {score_at_least}, {} to {} are allowed",
            SCORES.start(),
            SCORES.end()
        ));
    }
    Ok(())
}

fn window(window_ms: u64) -> Result<(), Violation> {
    if (1..=WINDOW_MS_MAX).contains(&window_ms) {
        return Ok(());
    }
    Err(format!("a window of {window_ms} ms, 1 to {WINDOW_MS_MAX} are allowed"))
}

fn named(what: &str, name: &str) -> Result<(), Violation> {
    if is_slug(name) { Ok(()) } else { Err(format!("a query for a {what} whose name is not {SLUG}")) }
}

fn key(selector: &Selector) -> Result<(), Violation> {
    let (what, key) = match selector {
        Selector::Metadata(key) => ("metadata key", key),
        Selector::Signal(name) => ("signal name", name),
        _ => return Ok(()),
    };
    if key.is_empty() || key.chars().count() > METADATA_KEY_CHARS_MAX || key.chars().any(is_invisible) {
        return Err(format!(
            "a {what} that is empty, above {METADATA_KEY_CHARS_MAX} characters or unreadable"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::aggregate::Conversion;
    use crate::domain::money::Currency;
    use crate::domain::payment_event::EventKind;
    use crate::domain::selector::{Counting, Matching, TableLookup};

    fn listed(list: &str, selector: Selector) -> FactQuery {
        FactQuery::Listed { list: list.to_owned(), selector, matching: Matching::Exact }
    }

    fn velocity(window_ms: u64) -> FactQuery {
        FactQuery::Velocity { selector: Selector::Ip, window_ms, counting: Counting::Approved }
    }

    fn aggregate(change: impl FnOnce(&mut AggregateQuery)) -> FactQuery {
        let mut query = AggregateQuery {
            selectors: vec![Selector::DebtorAccount],
            window_ms: WINDOW_MS_MAX,
            filter: PaymentFilter::default(),
            conversion: None,
            distinct: None,
            first_and_last: false,
        };
        change(&mut query);
        FactQuery::Aggregate(Box::new(query))
    }

    fn table(table: &str) -> FactQuery {
        let (table, selector) = (table.to_owned(), Selector::CardBin);
        FactQuery::Table { table, selector, lookup: TableLookup::Range }
    }

    fn similar(selector: Selector, score_at_least: u8) -> FactQuery {
        FactQuery::Similar { list: "sanctions".to_owned(), selector, score_at_least }
    }

    #[test]
    fn queries_inside_the_bounds_are_allowed() {
        for allowed in [
            listed("blocked-ibans", Selector::Ip),
            listed("a", Selector::Metadata("order type".to_owned())),
            listed("a", Selector::Signal("score".to_owned())),
            velocity(1),
            velocity(WINDOW_MS_MAX),
            aggregate(|_| {}),
            aggregate(|query| {
                query.selectors = vec![Selector::DebtorAccount, Selector::Ip, Selector::Amount]
            }),
            aggregate(|query| {
                query.filter = PaymentFilter {
                    amount_at_least: Some(0),
                    amount_below: Some(1),
                    ..PaymentFilter::default()
                };
            }),
            aggregate(|query| {
                query.window_ms = UNROLLED_WINDOW_DAYS_MAX * DAY_MS;
                query.distinct = Some(Selector::CardBin);
                query.filter.event = Some(EventKind::Fraud);
            }),
            table("bin-ranges"),
            similar(Selector::DebtorName, 50),
            similar(Selector::SuggestedPayeeName, 100),
        ] {
            assert_eq!(query(&allowed), Ok(()), "{allowed:?}");
        }
    }

    #[test]
    fn a_query_outside_the_bounds_is_refused_with_the_bound() {
        let euro = Currency::parse("EUR").expect("a currency");
        let long = UNROLLED_WINDOW_DAYS_MAX * DAY_MS + 1;
        for (refused, expected) in [
            (listed("Blocked", Selector::Ip), "a list whose name is not lower-case words"),
            (listed("", Selector::Ip), "a list whose name is not"),
            (listed("a", Selector::Metadata(String::new())), "a metadata key that is empty"),
            (listed("a", Selector::Metadata("k".repeat(129))), "a metadata key that is empty, above 128"),
            (listed("a", Selector::Signal("\n".to_owned())), "a signal name that is empty"),
            (velocity(0), "a window of 0 ms"),
            (velocity(WINDOW_MS_MAX + 1), "1 to 34560000000 are allowed"),
            (aggregate(|query| query.selectors.clear()), "0 selectors, 1 to 3 are allowed"),
            (
                aggregate(|query| {
                    let four = [Selector::Customer, Selector::Merchant, Selector::Device, Selector::Ip];
                    query.selectors = four.into();
                }),
                "4 selectors",
            ),
            (aggregate(|query| query.selectors = vec![Selector::Ip, Selector::Ip]), "the selector ip twice"),
            (
                aggregate(|query| query.selectors = vec![Selector::Metadata(String::new())]),
                "a metadata key that is empty",
            ),
            (aggregate(|query| query.window_ms = 0), "a window of 0 ms"),
            (
                aggregate(|query| {
                    query.window_ms = long;
                    query.distinct = Some(Selector::Ip);
                }),
                "an aggregate of distinct values with a window of 2678400001 ms: it reads each payment, so at \
                 most 2678400000 ms (31 days)",
            ),
            (
                aggregate(|query| {
                    query.window_ms = long;
                    query.filter.event = Some(EventKind::Refunded);
                }),
                "an aggregate of events with a window",
            ),
            (
                aggregate(|query| {
                    query.conversion = Some(Conversion { table: "Rates".into(), currency: euro })
                }),
                "a table whose name is not",
            ),
            (aggregate(|query| query.filter.amount_at_least = Some(-1)), "the negative amount -1"),
            (aggregate(|query| query.filter.amount_below = Some(i64::MIN)), "the negative amount"),
            (
                aggregate(|query| {
                    query.filter.amount_at_least = Some(5);
                    query.filter.amount_below = Some(5);
                }),
                "at least 5 and below 5",
            ),
            (table("Bins"), "a table whose name is not"),
            (similar(Selector::DebtorAccount, 80), "similar to debtor_account, which is not a name"),
            (similar(Selector::DebtorName, 49), "a score of at least 49, 50 to 100 are allowed"),
            (similar(Selector::DebtorName, 101), "a score of at least 101"),
        ] {
            let violation = query(&refused).expect_err(expected);
            assert!(violation.contains(expected), "{violation}");
        }
    }
}
