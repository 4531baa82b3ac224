//! The plugins in memory: those that were used last.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};

use hashlink::LruCache;

use crate::domain::plugin::{Digest, Profile};

type Key = (Digest, Profile);

/// Holds at most `max` plugins.
pub(super) struct PluginMemory<P> {
    max: usize,
    plugins: RwLock<HashMap<Key, P>>,
    order: Mutex<UseOrder>,
}

/// The plugins by their last use, so that no step depends on their number.
struct UseOrder {
    /// These are also in the cache on disk, so they are dropped first.
    on_disk: LruCache<Key, ()>,
    memory_only: LruCache<Key, ()>,
}

impl<P: Clone> PluginMemory<P> {
    pub fn new(max: usize) -> Self {
        let order = UseOrder { on_disk: LruCache::new_unbounded(), memory_only: LruCache::new_unbounded() };
        Self { max, plugins: RwLock::default(), order: Mutex::new(order) }
    }

    /// Counts as a use, unless another thread is using the order at this moment: a payment must
    /// not wait for a thread of lower priority.
    pub fn get(&self, digest: Digest, profile: Profile) -> Option<P> {
        let key = (digest, profile);
        let found = self.plugins.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()?;
        if let Ok(mut order) = self.order.try_lock() {
            order.count_use(&key);
        }
        Some(found)
    }

    pub fn insert(&self, digest: Digest, profile: Profile, plugin: P, is_on_disk: bool) {
        let key = (digest, profile);
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.insert(key, is_on_disk);
        let mut plugins = self.plugins.write().unwrap_or_else(PoisonError::into_inner);
        let replaced = plugins.insert(key, plugin);
        let mut dropped = Vec::new();
        while plugins.len() > self.max
            && let Some(oldest) = order.remove_oldest()
        {
            dropped.extend(plugins.remove(&oldest));
        }
        // Unmapping the code of a plugin takes time, so it happens without the locks.
        drop((plugins, order));
        drop((replaced, dropped));
    }
}

impl UseOrder {
    fn count_use(&mut self, key: &Key) {
        if self.on_disk.get(key).is_none() {
            self.memory_only.get(key);
        }
    }

    fn insert(&mut self, key: Key, is_on_disk: bool) {
        let (own, other) = match is_on_disk {
            true => (&mut self.on_disk, &mut self.memory_only),
            false => (&mut self.memory_only, &mut self.on_disk),
        };
        other.remove(&key);
        own.insert(key, ());
    }

    fn remove_oldest(&mut self) -> Option<Key> {
        let oldest = self.on_disk.remove_lru().or_else(|| self.memory_only.remove_lru());
        oldest.map(|(key, ())| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> Digest {
        Digest([number; 32])
    }

    fn held(memory: &PluginMemory<u8>) -> Vec<u8> {
        (0..10).filter_map(|number| memory.get(digest(number), Profile::Small)).collect()
    }

    fn insert(memory: &PluginMemory<u8>, number: u8, is_on_disk: bool) {
        memory.insert(digest(number), Profile::Small, number, is_on_disk);
    }

    #[test]
    fn the_plugin_that_was_not_used_for_longest_leaves() {
        let memory = PluginMemory::new(3);
        (0..3).for_each(|number| insert(&memory, number, true));
        assert_eq!(memory.get(digest(0), Profile::Small), Some(0));
        insert(&memory, 3, true);
        assert_eq!(held(&memory), [0, 2, 3]);
    }

    #[test]
    fn a_plugin_that_is_only_in_memory_leaves_last() {
        let memory = PluginMemory::new(2);
        insert(&memory, 0, false);
        insert(&memory, 1, true);
        insert(&memory, 2, true);
        assert_eq!(held(&memory), [0, 2]);
        insert(&memory, 3, false);
        insert(&memory, 4, false);
        assert_eq!(held(&memory), [3, 4]);
    }

    #[test]
    fn a_plugin_that_comes_again_is_held_once_and_each_profile_by_itself() {
        let memory = PluginMemory::new(2);
        insert(&memory, 0, false);
        insert(&memory, 0, true);
        insert(&memory, 1, true);
        memory.insert(digest(1), Profile::Large, 7, true);
        assert_eq!(held(&memory), [1]);
        assert_eq!(memory.get(digest(1), Profile::Large), Some(7));
    }
}
