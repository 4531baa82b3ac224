//! Random payments and filters, and the plain scan that a search is compared with.

use tollgate::domain::decision::{Decision, Origin};
use tollgate::domain::party::{Account, Iban, Party};
use tollgate::domain::payment::{Method, PaymentOrder};
use tollgate::domain::selector::Selector;
use tollgate::domain::tenant::{ClientId, TenantId};
use tollgate::domain::verdict::{Outcome, OutcomeReason, Reason};
use tollgate::storage::decisions::DecisionFilter;
use tollgate::storage::search::SearchOrder;
use uuid::Uuid;

use crate::support::decisions::{decision_on, order};

pub const DAY_MS: u64 = 86_400_000;

/// Each value in several spellings.
const CUSTOMERS: [[&str; 3]; 4] =
    [["c-1", "c-1 ", " c-1"], ["c-2", "c-2", "c-2"], ["Straße", "Straße ", "Straße"], ["c-3", "c-3", "c-3"]];
const ACCOUNTS: [&str; 3] = ["DE89370400440532013000", "NL91ABNA0417164300", "DE02120300000000202051"];
const NAMES: [[&str; 2]; 2] = [["José García", "jose garcia"], ["ACME Inc.", "Acme, INC"]];
const CURRENCIES: [&str; 3] = ["EUR", "USD", "JPY"];
const REASONS: [&str; 3] = ["amount-above-limit", "unknown-payee", "too-many"];
const AMOUNTS: [i64; 6] = [1, 7, 8, 100, 1_023, 5_000_000];

/// A linear congruential generator, so that a failure can be repeated.
pub struct Random {
    state: u64,
    keys: u64,
    pub tenants: [TenantId; 3],
}

impl Random {
    pub fn new(seed: u64) -> Self {
        let tenants = [1, 2, 3].map(|number| TenantId(Uuid::from_u128(number)));
        Self { state: seed, keys: 0, tenants }
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % end
    }

    fn of<'v, T>(&mut self, values: &'v [T]) -> &'v T {
        &values[self.below(values.len() as u64) as usize]
    }

    fn is_one_of(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }

    /// In one of three months, often at the same moment as others.
    fn moment_ms(&mut self) -> u64 {
        (20_000 + self.below(3) * 40) * DAY_MS + self.below(25)
    }

    pub fn decision(&mut self) -> Decision {
        let (tenant, at_ms) = (*self.of(&self.tenants.clone()), self.moment_ms());
        let customer = *self.of(&CUSTOMERS);
        let customer = *self.of(&customer);
        self.decision_of(tenant, at_ms, customer)
    }

    pub fn decision_of(&mut self, tenant: TenantId, at_ms: u64, customer: &str) -> Decision {
        self.keys += 1;
        let (amount, currency) = (*self.of(&AMOUNTS), *self.of(&CURRENCIES));
        let name = *self.of(&NAMES);
        let name = *self.of(&name);
        let creditor = self.party(name);
        let debtor = self.party("Ann");
        let order = PaymentOrder {
            debtor,
            creditor,
            method: *self.of(&Method::ALL),
            ..order(customer, amount, currency)
        };
        let outcome = *self.of(&Outcome::ALL);
        let mut decision = decision_on(tenant, &format!("key-{}", self.keys), outcome, at_ms, order);
        decision.client = ClientId(Uuid::from_u128(u128::from(self.below(2))));
        decision.origin = *self.of(&Origin::ALL);
        for code in REASONS {
            if self.is_one_of(3) {
                let reason = Reason { code: code.to_owned(), message: String::new(), field: None };
                let (rule, verdict) = ("rule".to_owned(), "review".to_owned());
                decision.evidence.reasons.push(OutcomeReason { rule, verdict, reason, overridden: false });
            }
        }
        decision
    }

    fn party(&mut self, name: &str) -> Party {
        let account = Account::Iban(Iban::parse(self.of::<&str>(&ACCOUNTS)).unwrap());
        Party { account: Some(account), ..Party::named(name) }
    }

    /// A filter with some conditions, most of which a stored decision fulfils.
    pub fn filter(&mut self, stored: &[Decision]) -> (TenantId, DecisionFilter) {
        let like = self.of(stored).clone();
        let order = &like.evidence.payment.order;
        let mut filter = DecisionFilter {
            order: if self.is_one_of(2) { SearchOrder::Newest } else { SearchOrder::Oldest },
            limit: *self.of(&[1, 3, 10, 200]),
            ..DecisionFilter::default()
        };
        if self.is_one_of(2) {
            let spellings =
                CUSTOMERS.iter().find(|all| all.contains(&order.customer.as_deref().unwrap_or("")));
            let customer = spellings.map_or("nobody", |all| *self.of(all));
            filter.values.push((Selector::Customer, customer.to_owned()));
        }
        if self.is_one_of(4) {
            let name = *self.of(&NAMES);
            filter.values.push((Selector::CreditorName, (*self.of(&name)).to_owned()));
        }
        filter.account = self.is_one_of(4).then(|| (*self.of(&ACCOUNTS)).to_lowercase());
        for _ in 0..self.below(3) {
            filter.outcomes.push(*self.of(&Outcome::ALL));
        }
        filter.currency = self.is_one_of(4).then(|| order.amount.currency().code().to_owned());
        filter.method = self.is_one_of(6).then_some(order.method);
        filter.amount_at_least_minor = self.is_one_of(4).then(|| *self.of(&AMOUNTS));
        filter.amount_below_minor = self.is_one_of(4).then(|| *self.of(&AMOUNTS) + 1);
        filter.client = self.is_one_of(5).then_some(like.client);
        filter.origin = self.is_one_of(5).then_some(like.origin);
        filter.revision = self.is_one_of(30).then_some(1);
        filter.reason = self.is_one_of(3).then(|| (*self.of(&REASONS)).to_owned());
        filter.from_ms = self.is_one_of(4).then(|| self.moment_ms());
        filter.to_ms = self.is_one_of(4).then(|| self.moment_ms());
        (like.tenant, filter)
    }

    pub fn filter_by_terms(&mut self, stored: &[Decision]) -> (TenantId, DecisionFilter) {
        loop {
            let (tenant, filter) = self.filter(stored);
            if filter.uses_index() {
                return (tenant, filter);
            }
        }
    }
}

/// The ids that a search must find, in its order.
pub fn scan(stored: &[Decision], tenant: TenantId, filter: &DecisionFilter) -> Vec<Uuid> {
    let own = stored.iter().filter(|decision| decision.tenant == tenant);
    let mut ids: Vec<Uuid> =
        own.filter(|decision| fulfils(decision, filter)).map(|decision| decision.id().0).collect();
    ids.sort_unstable();
    if filter.order == SearchOrder::Newest {
        ids.reverse();
    }
    ids
}

fn fulfils(decision: &Decision, filter: &DecisionFilter) -> bool {
    let payment = &decision.evidence.payment;
    let order = &payment.order;
    let same = |selector: &Selector, wanted: &str| {
        let own = selector.value_of(order).map(|value| selector.counted_form(&value));
        own == Some(selector.counted_form(wanted))
    };
    let amount = order.amount.minor();
    let codes: Vec<&str> =
        decision.evidence.reasons.iter().map(|reason| reason.reason.code.as_str()).collect();
    let accounts = [Selector::DebtorAccount, Selector::CreditorAccount];
    [
        filter.values.iter().all(|(selector, value)| same(selector, value)),
        filter.account.as_ref().is_none_or(|account| accounts.iter().any(|side| same(side, account))),
        filter.outcomes.is_empty() || filter.outcomes.contains(&decision.outcome),
        filter.currency.as_deref().is_none_or(|code| code == order.amount.currency().code()),
        filter.method.is_none_or(|method| method == order.method),
        filter.amount_at_least_minor.is_none_or(|least| amount >= least),
        filter.amount_below_minor.is_none_or(|below| amount < below),
        filter.client.is_none_or(|client| client == decision.client),
        filter.origin.is_none_or(|origin| origin == decision.origin),
        filter.revision.is_none_or(|_| decision.evidence.revision.is_some()),
        filter.reason.as_deref().is_none_or(|code| codes.contains(&code)),
        filter.from_ms.is_none_or(|from_ms| payment.received_at_ms >= from_ms),
        filter.to_ms.is_none_or(|to_ms| payment.received_at_ms < to_ms),
    ]
    .into_iter()
    .all(|holds| holds)
}
