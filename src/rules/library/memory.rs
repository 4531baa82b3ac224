//! The plugins in memory: those that were used last.

use hashlink::LruCache;

use crate::domain::plugin::{Digest, Profile};

type Key = (Digest, Profile);

/// Holds `max` plugins. Both lists are ordered by last use, so that no step depends on their
/// length.
pub(super) struct PluginMemory<P> {
    max: usize,
    /// These are also in the cache on disk, so they are dropped first.
    on_disk: LruCache<Key, P>,
    memory_only: LruCache<Key, P>,
}

impl<P> PluginMemory<P> {
    pub fn new(max: usize) -> Self {
        Self { max, on_disk: LruCache::new_unbounded(), memory_only: LruCache::new_unbounded() }
    }

    /// Counts as a use.
    pub fn get(&mut self, digest: Digest, profile: Profile) -> Option<&P> {
        let key = (digest, profile);
        self.on_disk.get(&key).or_else(|| self.memory_only.get(&key))
    }

    pub fn insert(&mut self, digest: Digest, profile: Profile, plugin: P, is_on_disk: bool) {
        let key = (digest, profile);
        let (own, other) = match is_on_disk {
            true => (&mut self.on_disk, &mut self.memory_only),
            false => (&mut self.memory_only, &mut self.on_disk),
        };
        other.remove(&key);
        own.insert(key, plugin);
        while self.on_disk.len() + self.memory_only.len() > self.max {
            if self.on_disk.remove_lru().is_none() {
                self.memory_only.remove_lru();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> Digest {
        Digest([number; 32])
    }

    fn held(memory: &mut PluginMemory<u8>) -> Vec<u8> {
        (0..10).filter_map(|number| memory.get(digest(number), Profile::Small).copied()).collect()
    }

    fn insert(memory: &mut PluginMemory<u8>, number: u8, is_on_disk: bool) {
        memory.insert(digest(number), Profile::Small, number, is_on_disk);
    }

    #[test]
    fn the_plugin_that_was_not_used_for_longest_leaves() {
        let mut memory = PluginMemory::new(3);
        (0..3).for_each(|number| insert(&mut memory, number, true));
        assert_eq!(memory.get(digest(0), Profile::Small), Some(&0));
        insert(&mut memory, 3, true);
        assert_eq!(held(&mut memory), [0, 2, 3]);
    }

    #[test]
    fn a_plugin_that_is_only_in_memory_leaves_last() {
        let mut memory = PluginMemory::new(2);
        insert(&mut memory, 0, false);
        insert(&mut memory, 1, true);
        insert(&mut memory, 2, true);
        assert_eq!(held(&mut memory), [0, 2]);
        insert(&mut memory, 3, false);
        insert(&mut memory, 4, false);
        assert_eq!(held(&mut memory), [3, 4]);
    }

    #[test]
    fn a_plugin_that_comes_again_is_held_once_and_each_profile_by_itself() {
        let mut memory = PluginMemory::new(2);
        insert(&mut memory, 0, false);
        insert(&mut memory, 0, true);
        insert(&mut memory, 1, true);
        memory.insert(digest(1), Profile::Large, 7, true);
        assert_eq!(held(&mut memory), [1]);
        assert_eq!(memory.get(digest(1), Profile::Large), Some(&7));
    }
}
