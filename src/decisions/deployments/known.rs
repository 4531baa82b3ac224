//! The newest deployment of each tenant that this node may run. Only those of recent payments have
//! their rulesets in memory.
//!
//! Every payment looks up its deployment here, so a look-up must neither wait nor go through all
//! tenants.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::decisions::deployment::LoadedDeployment;
use crate::domain::ruleset::ActivatedDeployment;
use crate::domain::tenant::TenantId;

/// This part of the loaded deployments is dropped at once, so that few loads look at all tenants.
const PORTION: usize = 16;

/// What a payment finds.
#[derive(Debug, Clone)]
pub(super) enum KnownDeployment {
    Loaded(Arc<LoadedDeployment>),
    /// Its rulesets must be loaded first.
    NotInMemory(ActivatedDeployment),
    /// It cannot be loaded, and this node knows no earlier one.
    Delayed,
}

#[derive(Debug)]
pub(super) struct KnownDeployments {
    tenants: RwLock<Tenants>,
    uses: AtomicU64,
    loaded_max: usize,
}

#[derive(Debug, Default)]
struct Tenants {
    entries: HashMap<TenantId, Entry>,
    loaded: usize,
}

#[derive(Debug)]
enum Entry {
    Loaded { activated: ActivatedDeployment, deployment: Arc<LoadedDeployment>, last_use: AtomicU64 },
    NotInMemory(ActivatedDeployment),
    Delayed,
}

impl KnownDeployments {
    pub(super) fn new(loaded_max: usize) -> Self {
        Self { tenants: RwLock::default(), uses: AtomicU64::new(0), loaded_max }
    }

    /// `None` if the tenant never activated a revision.
    pub(super) fn of(&self, tenant: TenantId) -> Option<KnownDeployment> {
        Some(match self.read().entries.get(&tenant)? {
            Entry::Loaded { deployment, last_use, .. } => {
                last_use.store(self.next_use(), Ordering::Relaxed);
                KnownDeployment::Loaded(deployment.clone())
            }
            Entry::NotInMemory(activated) => KnownDeployment::NotInMemory(*activated),
            Entry::Delayed => KnownDeployment::Delayed,
        })
    }

    /// The number of tenants, and of those that are delayed.
    pub(super) fn counts(&self) -> (usize, usize) {
        let tenants = self.read();
        let delayed = tenants.entries.values().filter(|entry| matches!(entry, Entry::Delayed));
        (tenants.entries.len(), delayed.count())
    }

    /// Notes deployments without their rulesets. Only for tenants that are not known yet.
    pub(super) fn note(&self, found: impl IntoIterator<Item = (TenantId, ActivatedDeployment)>) {
        let mut tenants = self.write();
        for (tenant, activated) in found {
            tenants.entries.entry(tenant).or_insert(Entry::NotInMemory(activated));
        }
        tenants.entries.shrink_to_fit();
    }

    /// The only place where a loaded deployment becomes effective. An older one than the known one
    /// does not.
    pub(super) fn make_effective(
        &self,
        tenant: TenantId,
        activated: ActivatedDeployment,
        deployment: Arc<LoadedDeployment>,
    ) {
        let last_use = AtomicU64::new(self.next_use());
        let mut tenants = self.write();
        let known = tenants.entries.get(&tenant).and_then(Entry::activated);
        if known.is_some_and(|known| known.sequence > activated.sequence) {
            return;
        }
        let before = tenants.entries.insert(tenant, Entry::Loaded { activated, deployment, last_use });
        tenants.loaded += usize::from(!matches!(before, Some(Entry::Loaded { .. })));
        let dropped = tenants.drop_above(self.loaded_max);
        drop(tenants);
        // Freed outside of the lock: there may be many.
        drop((before, dropped));
    }

    /// Delays a tenant unless it has another deployment than this one. Returns whether it did.
    pub(super) fn delay(&self, tenant: TenantId, activated: ActivatedDeployment) -> bool {
        let mut tenants = self.write();
        let entry = tenants.entries.entry(tenant).or_insert(Entry::NotInMemory(activated));
        let delays = matches!(entry, Entry::NotInMemory(known) if known.sequence == activated.sequence);
        if delays {
            *entry = Entry::Delayed;
        }
        delays
    }

    fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    fn read(&self) -> RwLockReadGuard<'_, Tenants> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tenants> {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn activated(&self) -> Option<ActivatedDeployment> {
        match self {
            Self::Loaded { activated, .. } | Self::NotInMemory(activated) => Some(*activated),
            Self::Delayed => None,
        }
    }

    /// Drops the rulesets from memory.
    fn unload(&mut self) -> Option<Arc<LoadedDeployment>> {
        let Self::Loaded { activated, .. } = self else { return None };
        let activated = *activated;
        match std::mem::replace(self, Self::NotInMemory(activated)) {
            Self::Loaded { deployment, .. } => Some(deployment),
            Self::NotInMemory(_) | Self::Delayed => None,
        }
    }
}

impl Tenants {
    /// Drops the least recently used of the deployments that no payment uses, if there are more
    /// than `max`. Those in use would be loaded a second time beside the first.
    fn drop_above(&mut self, max: usize) -> Vec<Arc<LoadedDeployment>> {
        if self.loaded <= max {
            return Vec::new();
        }
        let mut idle: Vec<(u64, TenantId)> = Vec::new();
        for (tenant, entry) in &self.entries {
            if let Entry::Loaded { deployment, last_use, .. } = entry
                && Arc::strong_count(deployment) == 1
            {
                idle.push((last_use.load(Ordering::Relaxed), *tenant));
            }
        }
        let count = (self.loaded - max).max(max / PORTION);
        if count < idle.len() {
            idle.select_nth_unstable(count);
            idle.truncate(count);
        }
        let dropped: Vec<_> =
            idle.iter().filter_map(|(_, tenant)| self.entries.get_mut(tenant)?.unload()).collect();
        self.loaded -= dropped.len();
        dropped
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::decisions::runnable_ruleset::RunnableRuleset;
    use crate::domain::plugin::Digest;
    use crate::domain::ruleset::{DecisionPoint, Deployment, Revision};

    const POINT: DecisionPoint = DecisionPoint::Payment;

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    fn activated(sequence: i64) -> ActivatedDeployment {
        let deployment = Deployment { revision: 1, canary: None, shadow: None };
        ActivatedDeployment { sequence, point: POINT, deployment }
    }

    fn loaded() -> Arc<LoadedDeployment> {
        let revision = Revision {
            point: POINT,
            number: 1,
            digest: Digest([0; 32]),
            rules: Vec::new(),
            note: String::new(),
            created_by: String::new(),
            created_at_ms: 0,
        };
        let rulesets = [(1, Arc::new(RunnableRuleset::new(revision)))].into();
        let deployment = LoadedDeployment::new(activated(0).deployment, &rulesets);
        Arc::new(deployment.expect("the revision is there"))
    }

    fn in_memory(known: &KnownDeployments, tenants: u128) -> Vec<u128> {
        let is_loaded = |number: &u128| {
            let tenants = known.read();
            matches!(tenants.entries[&tenant(*number)], Entry::Loaded { .. })
        };
        (1..=tenants).filter(is_loaded).collect()
    }

    #[test]
    fn the_least_recently_used_are_dropped_unless_a_payment_uses_them() {
        let known = KnownDeployments::new(3);
        known.note((1..=6).map(|number| (tenant(number), activated(7))));
        assert!(in_memory(&known, 6).is_empty());
        for number in 1..=3 {
            known.make_effective(tenant(number), activated(7), loaded());
        }
        let in_use = known.of(tenant(1));
        known.of(tenant(2));
        known.make_effective(tenant(4), activated(7), loaded());
        assert_eq!(in_memory(&known, 6), [1, 2, 4]);
        known.make_effective(tenant(5), activated(7), loaded());
        assert_eq!(in_memory(&known, 6), [1, 4, 5], "the first is in use");
        drop(in_use);
        known.make_effective(tenant(6), activated(7), loaded());
        assert_eq!(in_memory(&known, 6), [4, 5, 6]);
        let dropped = known.of(tenant(1));
        let Some(KnownDeployment::NotInMemory(found)) = dropped else { panic!("{dropped:?}") };
        assert_eq!((found, known.counts()), (activated(7), (6, 0)));
    }

    #[test]
    fn an_older_deployment_does_not_replace_a_newer_one_even_if_that_was_dropped() {
        let known = KnownDeployments::new(1);
        known.make_effective(tenant(1), activated(8), loaded());
        known.make_effective(tenant(2), activated(9), loaded());
        known.make_effective(tenant(1), activated(7), loaded());
        assert_eq!(in_memory(&known, 2), [2]);
        known.make_effective(tenant(1), activated(8), loaded());
        assert_eq!(in_memory(&known, 2), [1]);
    }

    #[test]
    fn a_tenant_is_delayed_only_without_another_deployment_and_until_one_is_loaded() {
        let known = KnownDeployments::new(1);
        known.note([(tenant(1), activated(1))]);
        assert!(!known.delay(tenant(1), activated(2)), "the earlier one decides");
        assert!(known.delay(tenant(1), activated(1)));
        assert!(known.delay(tenant(2), activated(3)));
        assert_eq!(known.counts(), (2, 2));
        known.make_effective(tenant(1), activated(1), loaded());
        assert!(!known.delay(tenant(1), activated(1)), "it is loaded");
        assert_eq!(known.counts(), (2, 1));
    }
}
