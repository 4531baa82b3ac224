//! What waits, with tenants taking turns.
//!
//! Owns the order and the bounds. Must never wait itself.

use std::collections::{HashMap, VecDeque};

use super::tenant::TenantId;

#[derive(Debug)]
pub struct FairQueue<T> {
    room: usize,
    of_one_tenant_max: usize,
    waiting: usize,
    by_tenant: HashMap<TenantId, VecDeque<T>>,
    /// Each tenant with something that waits, once.
    turns: VecDeque<TenantId>,
}

impl<T> FairQueue<T> {
    pub fn new(room: usize, of_one_tenant_max: usize) -> Self {
        let (by_tenant, turns) = (HashMap::new(), VecDeque::new());
        Self { room, of_one_tenant_max, waiting: 0, by_tenant, turns }
    }

    /// False when there is no room, or none for this tenant.
    pub fn put(&mut self, tenant: TenantId, item: T) -> bool {
        let own = self.by_tenant.get(&tenant).map_or(0, VecDeque::len);
        if self.waiting >= self.room || own >= self.of_one_tenant_max {
            return false;
        }
        if own == 0 {
            self.turns.push_back(tenant);
        }
        self.by_tenant.entry(tenant).or_default().push_back(item);
        self.waiting += 1;
        true
    }

    /// The oldest of the tenant whose turn it is.
    pub fn take(&mut self, most: usize) -> Vec<T> {
        let Some(tenant) = self.turns.pop_front() else { return Vec::new() };
        let Some(own) = self.by_tenant.get_mut(&tenant) else { return Vec::new() };
        let taken: Vec<T> = own.drain(..own.len().min(most)).collect();
        self.waiting -= taken.len();
        if own.is_empty() {
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
    fn one_tenant_has_its_part_of_the_room_and_all_together_have_all_of_it() {
        let mut queue = FairQueue::new(8, 2);
        for number in 1..=5 {
            let taken_in = (0..4).filter(|place| queue.put(tenant(number), *place)).count();
            assert_eq!(taken_in, if number < 5 { 2 } else { 0 }, "tenant {number}");
        }
        assert_eq!(queue.take(9), [0, 1], "what was taken makes room");
        assert!(queue.put(tenant(5), 7));
    }

    #[test]
    fn tenants_take_turns_whatever_one_of_them_has_waiting() {
        let mut queue = FairQueue::new(100, 25);
        for place in 0..5 {
            queue.put(tenant(1), (1, place));
        }
        queue.put(tenant(2), (2, 0));
        let taken: Vec<Vec<(u8, i32)>> = (0..4).map(|_| queue.take(2)).collect();
        assert_eq!(taken, [vec![(1, 0), (1, 1)], vec![(2, 0)], vec![(1, 2), (1, 3)], vec![(1, 4)]]);
        assert!(queue.take(2).is_empty());
    }
}
