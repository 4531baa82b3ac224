//! A bounded queue in which tenants take turns.

use std::collections::{HashMap, VecDeque};

use super::tenant::TenantId;

/// A number of items, and their estimated total size.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    pub items: usize,
    pub bytes: usize,
}

impl Load {
    pub const UNBOUNDED: Self = Self { items: usize::MAX, bytes: usize::MAX };

    pub fn quarter(self) -> Self {
        Self { items: (self.items / 4).max(1), bytes: self.bytes / 4 }
    }

    /// Whether one more item of this size stays within `most`.
    fn has_room(self, bytes: usize, most: Self) -> bool {
        self.items < most.items && self.bytes.saturating_add(bytes) <= most.bytes
    }

    fn add(&mut self, bytes: usize) {
        self.items += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

#[derive(Debug)]
pub struct FairQueue<T> {
    room: Load,
    of_one_tenant_max: Load,
    waiting: Load,
    by_tenant: HashMap<TenantId, TenantItems<T>>,
    /// Each tenant with waiting items, once.
    turns: VecDeque<TenantId>,
}

/// The waiting items of one tenant, with their sizes.
#[derive(Debug)]
struct TenantItems<T> {
    items: VecDeque<(T, usize)>,
    load: Load,
}

impl<T> FairQueue<T> {
    pub fn new(room: Load, of_one_tenant_max: Load) -> Self {
        let (by_tenant, turns) = (HashMap::new(), VecDeque::new());
        Self { room, of_one_tenant_max, waiting: Load::default(), by_tenant, turns }
    }

    /// Returns false if there is no room for the item, in the queue or in this tenant's share of
    /// it.
    pub fn put(&mut self, tenant: TenantId, item: T, bytes: usize) -> bool {
        let load = self.by_tenant.get(&tenant).map(|own| own.load).unwrap_or_default();
        if !self.waiting.has_room(bytes, self.room) || !load.has_room(bytes, self.of_one_tenant_max) {
            return false;
        }
        if load.items == 0 {
            self.turns.push_back(tenant);
        }
        let new = || TenantItems { items: VecDeque::new(), load: Load::default() };
        let own = self.by_tenant.entry(tenant).or_insert_with(new);
        own.items.push_back((item, bytes));
        own.load.add(bytes);
        self.waiting.add(bytes);
        true
    }

    /// Removes the oldest items of the next tenant, at most `most` of them.
    pub fn take(&mut self, most: usize) -> Vec<T> {
        let Some(tenant) = self.turns.pop_front() else { return Vec::new() };
        let Some(own) = self.by_tenant.get_mut(&tenant) else { return Vec::new() };
        let mut taken = Vec::new();
        for (item, bytes) in own.items.drain(..own.items.len().min(most)) {
            for load in [&mut own.load, &mut self.waiting] {
                load.items -= 1;
                load.bytes = load.bytes.saturating_sub(bytes);
            }
            taken.push(item);
        }
        if own.items.is_empty() {
            self.by_tenant.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    #[test]
    fn one_tenant_has_a_quarter_of_the_room_and_all_together_have_all_of_it() {
        let room = Load { items: 8, bytes: 1_000 };
        let mut queue = FairQueue::new(room, room.quarter());
        for number in 1..=5 {
            let taken_in = (0..4).filter(|place| queue.put(tenant(number), *place, 1)).count();
            assert_eq!(taken_in, if number < 5 { 2 } else { 0 }, "tenant {number}");
        }
        assert_eq!(queue.take(9), [0, 1], "what was taken makes room");
        assert!(queue.put(tenant(5), 7, 1));
    }

    #[test]
    fn large_payments_fill_the_room_before_they_are_many() {
        let room = Load { items: 100, bytes: 400 };
        let mut queue = FairQueue::new(room, room.quarter());
        assert!(!queue.put(tenant(1), 0, 101), "more than a quarter");
        let taken_in = (0..9).filter(|place| queue.put(tenant(1), *place, 30)).count();
        assert_eq!(taken_in, 3, "the quarter of one tenant");
        for number in 2..=5 {
            assert_eq!(queue.put(tenant(number), 0, 80), number < 5, "tenant {number}");
        }
        assert_eq!(queue.take(2), [0, 1]);
        assert!(queue.put(tenant(5), 0, 80), "what was taken makes room");
    }

    #[test]
    fn tenants_take_turns_whatever_one_of_them_has_waiting() {
        let room = Load { items: 100, bytes: 1_000 };
        let mut queue = FairQueue::new(room, room.quarter());
        for place in 0..5 {
            queue.put(tenant(1), (1, place), 1);
        }
        queue.put(tenant(2), (2, 0), 1);
        let taken: Vec<Vec<(u8, i32)>> = (0..4).map(|_| queue.take(2)).collect();
        assert_eq!(taken, [vec![(1, 0), (1, 1)], vec![(2, 0)], vec![(1, 2), (1, 3)], vec![(1, 4)]]);
        assert!(queue.take(2).is_empty());
    }
}
