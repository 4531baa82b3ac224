//! Terms: hashes of what a payment can be found by.
//!
//! How a term is computed must never change, or payments that are indexed are no longer found.
//! Different properties may have the same term; so a hit must be checked against the decision.

use crate::domain::decision::{Decision, Evidence, Origin};
use crate::domain::selector::Selector;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::verdict::Outcome;
use crate::storage::canonical::CanonicalHash;

/// The first 40 bits of a hash. With ten million terms of a tenant, a search by a value that no
/// payment has meets the term of another value once in a hundred thousand times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub(super) u64);

const TERM_BYTES: usize = 5;

/// Something that a payment can be found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property<'a> {
    /// A value in any spelling.
    Value(&'a Selector, &'a str),
    Currency(&'a str),
    Method(&'a str),
    Outcome(Outcome),
    Client(ClientId),
    Revision(i32),
    Origin(Origin),
    /// The code of a reason.
    Reason(&'a str),
    /// The number of significant bits of the amount in minor units.
    AmountBits(u32),
    /// One of eight parts of the amounts with the same number of bits.
    AmountPart(u32),
}

impl Property<'_> {
    pub fn term(&self, tenant: TenantId) -> Term {
        match self {
            Self::Value(selector, value) => {
                term(tenant, &selector.name(), selector.counted_form(value).as_bytes())
            }
            Self::Currency(code) => term(tenant, "currency", code.as_bytes()),
            Self::Method(name) => term(tenant, "method", name.as_bytes()),
            Self::Outcome(outcome) => term(tenant, "outcome", outcome.name().as_bytes()),
            Self::Client(client) => term(tenant, "client", client.0.as_bytes()),
            Self::Revision(number) => term(tenant, "revision", &number.to_be_bytes()),
            Self::Origin(origin) => term(tenant, "origin", origin.name().as_bytes()),
            Self::Reason(code) => term(tenant, "reason", code.as_bytes()),
            Self::AmountBits(bits) => term(tenant, "amount bits", &bits.to_be_bytes()),
            Self::AmountPart(part) => term(tenant, "amount part", &part.to_be_bytes()),
        }
    }
}

fn term(tenant: TenantId, kind: &str, value: &[u8]) -> Term {
    let hash = CanonicalHash::new("tollgate search term 1")
        .field(tenant.0.as_bytes())
        .field(kind.as_bytes())
        .field(value)
        .finish();
    Term(hash.0[..TERM_BYTES].iter().fold(0, |term, byte| term << 8 | u64::from(*byte)))
}

const PARTS: u32 = 8;

/// Rises with the amount. Divided by [`PARTS`] it is the number of significant bits.
fn amount_part(amount_minor: i64) -> u32 {
    let amount = amount_minor.max(0).cast_unsigned();
    let bits = u64::BITS - amount.leading_zeros();
    // The three bits behind the highest.
    let behind = (u128::from(amount) << 3 >> bits.saturating_sub(1)) as u32 % PARTS;
    bits * PARTS + behind
}

/// The terms of amounts from `first` to `last`, and of a few beside them. All amounts with the same
/// number of bits share a term, so a wide range is a few terms; and an eighth of them share another,
/// so a narrow range finds few others.
pub fn amounts_between(first_minor: i64, last_minor: i64) -> Vec<Property<'static>> {
    let (mut part, last) = (amount_part(first_minor), amount_part(last_minor));
    let mut properties = Vec::new();
    while first_minor <= last_minor && part <= last {
        if part.is_multiple_of(PARTS) && part + PARTS - 1 <= last {
            properties.push(Property::AmountBits(part / PARTS));
            part += PARTS;
        } else {
            properties.push(Property::AmountPart(part));
            part += 1;
        }
    }
    properties
}

/// What is left of a decision after an erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionColumns {
    pub tenant: TenantId,
    pub client: ClientId,
    pub origin: Origin,
    pub outcome: Outcome,
    pub revision: Option<i32>,
    pub amount_minor: i64,
    pub currency: String,
    pub method: String,
}

impl DecisionColumns {
    pub fn of(decision: &Decision) -> Self {
        let order = &decision.evidence.payment.order;
        Self {
            tenant: decision.tenant,
            client: decision.client,
            origin: decision.origin,
            outcome: decision.outcome,
            revision: decision.evidence.revision.map(|revision| revision.number),
            amount_minor: order.amount.minor(),
            currency: order.amount.currency().code().to_owned(),
            method: order.method.name().to_owned(),
        }
    }
}

/// The terms of a decision, sorted. Without evidence, those of its columns.
pub fn terms_of(columns: &DecisionColumns, evidence: Option<&Evidence>) -> Vec<Term> {
    let mut properties = vec![
        Property::Currency(&columns.currency),
        Property::Method(&columns.method),
        Property::Outcome(columns.outcome),
        Property::Client(columns.client),
        Property::Origin(columns.origin),
        Property::AmountBits(amount_part(columns.amount_minor) / PARTS),
        Property::AmountPart(amount_part(columns.amount_minor)),
    ];
    properties.extend(columns.revision.map(Property::Revision));
    let values =
        evidence.map_or_else(Vec::new, |evidence| Selector::searched_values(&evidence.payment.order));
    properties.extend(values.iter().map(|(selector, value)| Property::Value(selector, value)));
    let reasons = evidence.iter().flat_map(|evidence| &evidence.reasons);
    properties.extend(reasons.map(|reason| Property::Reason(&reason.reason.code)));
    let mut terms: Vec<Term> = properties.iter().map(|property| property.term(columns.tenant)).collect();
    terms.sort_unstable();
    terms.dedup();
    terms
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_term_depends_on_tenant_kind_and_canonical_value_and_never_changes() {
        let (one, other) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        let customer = |value| Property::Value(&Selector::Customer, value);
        let term = customer("c-1").term(one);
        assert_eq!(term, customer("c-1 ").term(one));
        assert_ne!(term, customer("c-1").term(other));
        assert_ne!(term, customer("c-2").term(one));
        assert_ne!(term, Property::Value(&Selector::Merchant, "c-1").term(one));
        assert_eq!(term, Term(0xb9_0f6a_7923));
        assert_eq!(Property::Outcome(Outcome::Review).term(one), Term(0x4e_b2fb_37c6));
    }

    #[test]
    fn the_part_of_an_amount_rises_with_it_and_tells_its_bits() {
        for (amount_minor, part) in
            [(-1, 0), (0, 0), (1, 8), (2, 16), (3, 20), (4, 24), (5, 26), (7, 30), (8, 32), (9, 33), (16, 40)]
        {
            assert_eq!(amount_part(amount_minor), part, "{amount_minor}");
        }
        assert_eq!(amount_part(i64::MAX), 63 * PARTS + 7);
        let parts: Vec<u32> = (0..5_000).map(amount_part).collect();
        assert!(parts.is_sorted());
    }

    #[test]
    fn a_range_of_amounts_has_the_terms_of_every_amount_in_it_and_of_few_others() {
        let has = |range: &[Property<'_>], amount: i64| {
            let part = amount_part(amount);
            range.contains(&Property::AmountPart(part)) || range.contains(&Property::AmountBits(part / PARTS))
        };
        for (first, last, terms_max) in
            [(1, 1, 1), (5, 900, 20), (1_000, 1_100, 2), (64, 127, 1), (1, i64::MAX, 63)]
        {
            let range = amounts_between(first, last);
            assert!(range.len() <= terms_max, "{first} {last}: {range:?}");
            assert!((first..=last.min(first + 5_000)).all(|amount| has(&range, amount)), "{first} {last}");
        }
        assert!(!has(&amounts_between(1_000, 1_100), 900) && !has(&amounts_between(1_000, 1_100), 1_300));
        assert_eq!(amounts_between(5, 4), []);
    }
}
