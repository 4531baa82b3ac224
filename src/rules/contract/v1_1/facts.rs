//! The facts of contract 1.1.0.

use super::types::{
    AggregateFact, Cell, DistinctCount, Fact, Outcome, SeenPayment, SimilarEntry, VelocityFact,
};
use crate::domain;
use crate::domain::party::Country;

pub(super) fn fact_of(fact: &domain::selector::Fact) -> Fact {
    use domain::selector::Fact as From;
    match fact {
        From::Absent => Fact::Absent,
        From::Listed(listed) => Fact::Listed(*listed),
        From::Velocity { count, total_minor } => {
            Fact::Velocity(VelocityFact { count: *count, total_minor: *total_minor })
        }
        From::Aggregate(aggregate) => Fact::Aggregate(aggregate_of(aggregate)),
        From::Table(row) => Fact::Table(row.as_ref().map(|row| {
            let cells = row.iter().map(|(column, cell)| (column.clone(), cell_of(cell)));
            cells.collect()
        })),
        From::Similar(found) => Fact::Similar(
            found.as_ref().map(|found| SimilarEntry { entry: found.entry.clone(), score: found.score }),
        ),
    }
}

fn aggregate_of(fact: &domain::aggregate::AggregateFact) -> AggregateFact {
    AggregateFact {
        count: fact.count,
        total_minor: fact.total_minor,
        overflowed: fact.overflowed,
        minimum_minor: fact.minimum_minor,
        maximum_minor: fact.maximum_minor,
        mean: fact.mean.map(|mean| mean.0),
        deviation: fact.deviation.map(|deviation| deviation.0),
        unconverted: fact.unconverted,
        distinct: fact
            .distinct
            .map(|distinct| DistinctCount { count: distinct.count, is_lower_bound: distinct.is_lower_bound }),
        first: fact.first.as_ref().map(seen_payment_of),
        last: fact.last.as_ref().map(seen_payment_of),
    }
}

fn seen_payment_of(seen: &domain::aggregate::SeenPayment) -> SeenPayment {
    use domain::verdict::Outcome as From;
    let country = |country: &Option<Country>| country.as_ref().map(|country| country.as_str().to_owned());
    SeenPayment {
        received_at_ms: seen.received_at_ms,
        amount: super::money_of(seen.amount),
        outcome: match seen.outcome {
            From::Approve => Outcome::Approve,
            From::Review => Outcome::Review,
            From::Reject => Outcome::Reject,
        },
        debtor_country: country(&seen.debtor_country),
        creditor_country: country(&seen.creditor_country),
    }
}

fn cell_of(cell: &domain::selector::Cell) -> Cell {
    use domain::selector::Cell as From;
    match cell {
        From::Text(text) => Cell::Text(text.clone()),
        From::Integer(integer) => Cell::Integer(*integer),
        From::Number(number) => Cell::Number(number.0),
        From::Flag(flag) => Cell::Flag(*flag),
    }
}
