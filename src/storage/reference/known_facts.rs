//! Facts about lists that memory answers before the look-up, for payments of now.
//!
//! Must never answer for a payment of the past: entries that have ended are not kept for long.

use std::sync::Arc;

use metrics::Counter;

use super::ReferenceMemory;
use crate::domain::payment::Payment;
use crate::domain::selector::{Fact, FactQuery, Matching, Selector};
use crate::domain::tenant::TenantId;
use crate::storage::facts::{KnownFacts, SearchTexts, search_texts};

impl ReferenceMemory {
    /// What is known about a payment of now without a look-up. Of similar names, only the version of
    /// their list.
    pub fn known(&self, tenant: TenantId, payment: &Payment, queries: &[FactQuery]) -> KnownFacts {
        let (mut known, mut texts) = (KnownFacts::default(), RequestTexts::default());
        let at_ms = payment.received_at_ms;
        for (place, query) in queries.iter().enumerate() {
            let Some((list, selector)) = query.list() else { continue };
            let Some(value) = selector.value_of(&payment.order) else {
                known.set(place, Fact::Absent);
                continue;
            };
            let is_known = match query {
                FactQuery::Listed { matching, .. } => {
                    let sought = || texts.of(selector, *matching, &value);
                    let listed = self.lists.has_any(tenant, list, at_ms, sought);
                    listed.map(|listed| known.set(place, Fact::Listed(listed)))
                }
                _ => self.lists.version(tenant, list, at_ms).map(|version| known.set_version(place, version)),
            };
            self.list_answers.count(is_known.is_some());
        }
        known
    }
}

/// What the values of a payment are compared with. Often many lists are asked about one value.
#[derive(Default)]
struct RequestTexts<'q>(Vec<(&'q Selector, Matching, Arc<SearchTexts>)>);

impl<'q> RequestTexts<'q> {
    fn of(&mut self, selector: &'q Selector, matching: Matching, value: &str) -> Arc<SearchTexts> {
        let known = self.0.iter().find(|(own, by, _)| *own == selector && *by == matching);
        if let Some((_, _, texts)) = known {
            return texts.clone();
        }
        let texts = Arc::new(search_texts(selector, matching, value));
        self.0.push((selector, matching, texts.clone()));
        texts
    }
}

/// Counts from where the facts about lists of live payments come.
#[derive(Debug)]
pub(super) struct ListAnswers {
    memory: Counter,
    database: Counter,
}

impl Default for ListAnswers {
    fn default() -> Self {
        let from = |source: &'static str| metrics::counter!("tollgate_list_facts_total", "source" => source);
        Self { memory: from("memory"), database: from("database") }
    }
}

impl ListAnswers {
    fn count(&self, is_known: bool) {
        let counter = if is_known { &self.memory } else { &self.database };
        counter.increment(1);
    }
}
