//! An engine with its own cache.

pub use super::components;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use components::component;
use tokio::time::Instant;
use tollgate::domain::money::{Currency, Money};
use tollgate::domain::party::Party;
use tollgate::domain::payment::{Method, Payment, PaymentId, PaymentOrder};
use tollgate::domain::plugin::{Digest, Profile};
use tollgate::domain::tenant::TenantId;
use tollgate::rules::{EngineError, EngineSettings, RuleCall, RuleEngine, RuleRun, RulesetCall};
use uuid::Uuid;

use crate::engine::{self, Guard};

pub struct Harness {
    pub engine: Arc<dyn RuleEngine>,
    _guard: Guard,
    settings: EngineSettings,
    folder: tempfile::TempDir,
}

impl Harness {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut EngineSettings)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let exe = PathBuf::from(env!("CARGO_BIN_EXE_tollgate"));
        let mut settings = EngineSettings::new(exe, folder.path().join("cache"), [7; 32]);
        settings.threads = 2;
        change(&mut settings);
        let (engine, guard) = engine::start(&settings);
        Self { engine, _guard: guard, settings, folder }
    }

    /// The same cache with an empty memory.
    pub fn restart(self) -> Self {
        let Self { engine, _guard, settings, folder } = self;
        drop((engine, _guard));
        let (engine, guard) = engine::start(&settings);
        Self { engine, _guard: guard, settings, folder }
    }

    pub fn cache_dir(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// The only compiled plugin in the cache.
    pub fn only_file_in_cache(&self) -> PathBuf {
        let mut entries = std::fs::read_dir(self.cache_dir()).expect("the cache");
        let file = entries.next().expect("a file").expect("an entry").path();
        assert!(entries.next().is_none(), "one plugin was stored");
        file
    }

    pub async fn add(&self, fixture: &str) -> Digest {
        let added = self.engine.add_plugin(component(fixture).into(), Profile::Large).await;
        added.unwrap_or_else(|error| panic!("{fixture}: {error}")).digest
    }

    pub async fn evaluate(&self, rules: &[&Digest]) -> Result<Vec<RuleRun>, EngineError> {
        self.engine.evaluate(self.call(tenant(1), rules, Duration::from_secs(60))).await
    }

    pub fn call(&self, tenant: TenantId, rules: &[&Digest], within: Duration) -> RulesetCall {
        let rule = |plugin: &&Digest| RuleCall {
            plugin: **plugin,
            profile: Profile::Small,
            state: Arc::from([]),
            facts: vec![],
            fuel_spent_before: None,
        };
        RulesetCall {
            tenant,
            payment: Arc::new(payment()),
            rules: rules.iter().map(rule).collect(),
            deadline: Instant::now() + within,
        }
    }
}

pub fn tenant(number: u128) -> TenantId {
    TenantId(Uuid::from_u128(number))
}

pub fn payment() -> Payment {
    let amount = Money::new(12_345, Currency::parse("EUR").expect("a currency")).expect("an amount");
    let (debtor, creditor) = (Party::named("Ada Lovelace"), Party::named("Grace Hopper"));
    Payment {
        id: PaymentId(Uuid::from_u128(1)),
        received_at_ms: 1_793_000_000_000,
        order: PaymentOrder {
            metadata: vec![("order".to_owned(), "7".to_owned())],
            ..PaymentOrder::of("invoice-1", amount, debtor, creditor, Method::CreditTransfer)
        },
    }
}

pub fn compile_bomb() -> Vec<u8> {
    components::compile_bomb()
}
