//! What is searched for: the terms to look up, and the check of a decision that was found by them.
//!
//! Both must be kept together. A condition without a term only makes a search slower; a condition
//! that is not checked makes it wrong.

use crate::domain::decision::{Evidence, Origin};
use crate::domain::money::AMOUNT_MINOR_MAX;
use crate::domain::payment::{Method, PaymentId};
use crate::domain::payment_event::EventKind;
use crate::domain::selector::Selector;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::verdict::Outcome;
use crate::storage::search::{DecisionColumns, Property, SearchOrder, Term, amounts_between};

/// All conditions must hold. Values match in any spelling.
#[derive(Debug, Clone, Default)]
pub struct DecisionFilter {
    /// Any of these. Empty: all.
    pub outcomes: Vec<Outcome>,
    pub from_ms: Option<u64>,
    /// Exclusive.
    pub to_ms: Option<u64>,
    pub values: Vec<(Selector, String)>,
    /// The account of the debtor or the creditor.
    pub account: Option<String>,
    pub currency: Option<String>,
    pub method: Option<Method>,
    pub amount_at_least_minor: Option<i64>,
    pub amount_below_minor: Option<i64>,
    pub client: Option<ClientId>,
    pub revision: Option<i32>,
    pub origin: Option<Origin>,
    /// The code of one of the decision's reasons.
    pub reason: Option<String>,
    /// An event that was reported of the payment.
    pub event: Option<EventKind>,
    pub order: SearchOrder,
    /// Where the page before ended. Payments up to there are left out.
    pub position: Option<PaymentId>,
    pub limit: u32,
}

impl DecisionFilter {
    /// Whether the search looks up terms, which only find what is indexed.
    pub fn uses_index(&self) -> bool {
        !self.groups().is_empty()
    }

    /// The terms to look up: a payment must have one of each group.
    pub(super) fn terms(&self, tenant: TenantId) -> Vec<Vec<Term>> {
        let terms = |group: Vec<Property<'_>>| group.iter().map(|property| property.term(tenant)).collect();
        self.groups().into_iter().map(terms).collect()
    }

    fn groups(&self) -> Vec<Vec<Property<'_>>> {
        let values = self.values.iter().map(|(selector, value)| vec![Property::Value(selector, value)]);
        let account = self.account.iter().map(|account| {
            let either = [&Selector::DebtorAccount, &Selector::CreditorAccount];
            either.map(|selector| Property::Value(selector, account)).to_vec()
        });
        let is_asked = |outcome: &Outcome| self.outcomes.contains(outcome);
        let outcomes: Vec<Property<'_>> = [Outcome::Approve, Outcome::Review, Outcome::Reject]
            .into_iter()
            .filter(is_asked)
            .map(Property::Outcome)
            .collect();
        let single = [
            self.reason.as_deref().map(Property::Reason),
            self.client.map(Property::Client),
            self.revision.map(Property::Revision),
            self.origin.map(Property::Origin),
            self.method.map(|method| Property::Method(method.name())),
            self.currency.as_deref().map(Property::Currency),
        ];
        let rare_first = values.chain(account).chain(single.into_iter().flatten().map(|one| vec![one]));
        rare_first.chain(self.amounts()).chain((!outcomes.is_empty()).then_some(outcomes)).collect()
    }

    fn amounts(&self) -> Option<Vec<Property<'static>>> {
        if self.amount_at_least_minor.is_none() && self.amount_below_minor.is_none() {
            return None;
        }
        let last = self.amount_below_minor.map_or(AMOUNT_MINOR_MAX, |below| below.saturating_sub(1));
        Some(amounts_between(self.amount_at_least_minor.unwrap_or_default(), last))
    }

    /// Whether a decision fulfils all conditions, except that on its events.
    pub(super) fn matches(
        &self,
        columns: &DecisionColumns,
        received_at_ms: u64,
        evidence: Option<&Evidence>,
    ) -> bool {
        self.columns_match(columns, received_at_ms)
            && self.values.iter().all(|(selector, value)| has_value(evidence, selector, value))
            && self.account.as_ref().is_none_or(|account| {
                let either = [Selector::DebtorAccount, Selector::CreditorAccount];
                either.iter().any(|selector| has_value(evidence, selector, account))
            })
            && self.reason.as_ref().is_none_or(|code| {
                let mut reasons = evidence.iter().flat_map(|evidence| &evidence.reasons);
                reasons.any(|reason| reason.reason.code == *code)
            })
    }

    fn columns_match(&self, columns: &DecisionColumns, received_at_ms: u64) -> bool {
        let amount_minor = columns.amount_minor;
        (self.outcomes.is_empty() || self.outcomes.contains(&columns.outcome))
            && self.from_ms.is_none_or(|from_ms| received_at_ms >= from_ms)
            && self.to_ms.is_none_or(|to_ms| received_at_ms < to_ms)
            && self.currency.as_ref().is_none_or(|currency| columns.currency == *currency)
            && self.method.is_none_or(|method| columns.method == method.name())
            && self.amount_at_least_minor.is_none_or(|least| amount_minor >= least)
            && self.amount_below_minor.is_none_or(|below| amount_minor < below)
            && self.client.is_none_or(|client| columns.client == client)
            && self.revision.is_none_or(|revision| columns.revision == Some(revision))
            && self.origin.is_none_or(|origin| columns.origin == origin)
    }
}

fn has_value(evidence: Option<&Evidence>, selector: &Selector, wanted: &str) -> bool {
    let value = evidence.and_then(|evidence| selector.value_of(&evidence.payment.order));
    value.is_some_and(|value| selector.counted_form(&value) == selector.counted_form(wanted))
}
