//! Payments, decisions and journals for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tollgate::domain::comparison::COMPARISON_VERSION;
use tollgate::domain::decision::{Decision, EngineId, Evidence, EvidenceVersion, IdempotencyKey, Origin};
use tollgate::domain::money::{Currency, Money};
use tollgate::domain::party::{Account, Iban, Party};
use tollgate::domain::payment::{Method, Payment, PaymentId, PaymentOrder};
use tollgate::domain::plugin::Digest;
use tollgate::domain::tenant::{ClientId, TenantId};
use tollgate::domain::verdict::Outcome;
use tollgate::storage::journal::{Journal, JournalSettings};
use tollgate::storage::pool::SystemPool;
use tollgate::storage::search::{index_writers, writers_behind};
use tollgate::storage::session::Sessions;
use uuid::Uuid;

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

pub fn order(customer: &str, amount_minor: i64, currency: &str) -> PaymentOrder {
    let amount = Money::new(amount_minor, Currency::parse(currency).unwrap()).unwrap();
    let iban = Iban::parse("DE89370400440532013000").unwrap();
    let debtor = Party { account: Some(Account::Iban(iban)), ..Party::named("José García") };
    let reference = format!("order of {customer}");
    PaymentOrder {
        customer: Some(customer.to_owned()),
        metadata: vec![("channel".to_owned(), "web".to_owned())],
        ..PaymentOrder::of(reference, amount, debtor, Party::named("Acme"), Method::CreditTransfer)
    }
}

/// An id with this time. Ids of the same time rise in the order in which they are made.
pub fn new_id(at_ms: u64) -> PaymentId {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = u128::from(MADE.fetch_add(1, Ordering::Relaxed));
    PaymentId(Uuid::from_u128(u128::from(at_ms) << 80 | 7 << 76 | 2 << 62 | number))
}

pub fn decision_on(
    tenant: TenantId,
    key: &str,
    outcome: Outcome,
    received_at_ms: u64,
    order: PaymentOrder,
) -> Decision {
    Decision {
        tenant,
        client: ClientId(Uuid::from_u128(7)),
        key: IdempotencyKey::parse(key).unwrap(),
        request_hash: Digest([1; 32]),
        origin: Origin::Api,
        outcome,
        evidence: Evidence {
            payment: Arc::new(Payment { id: new_id(received_at_ms), received_at_ms, order }),
            revision: None,
            rules: vec![],
            engine: EngineId("test".to_owned()),
            fold_version: 1,
            reasons: vec![],
            comparison_version: COMPARISON_VERSION,
        },
    }
}

/// A decision on a new payment.
pub fn decision(tenant: TenantId, key: &str) -> Decision {
    decision_on(tenant, key, Outcome::Approve, now_ms(), order("c-1", 1_000, "EUR"))
}

pub fn journal_settings(sessions: Sessions) -> JournalSettings {
    JournalSettings {
        sessions,
        queue_max: 10_000,
        batch_max: 512,
        writers: 2,
        evidence_version: EvidenceVersion::V3,
        node: "test".to_owned(),
        world: tollgate::world::system(),
    }
}

pub async fn journal(sessions: Sessions) -> Journal {
    Journal::start(journal_settings(sessions)).await.unwrap().0
}

/// Indexes what is stored for the search, as the background work of a node does.
pub async fn index_everything(system: &SystemPool) {
    let writers = writers_behind(system, 0, u64::MAX).await.unwrap();
    index_writers(system, &writers).await.unwrap();
}
