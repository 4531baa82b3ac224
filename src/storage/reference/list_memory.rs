//! Lists that payments ask about, in memory, with how far each is known.
//!
//! A list is answered from here only for payments up to the time until which it is known. All others
//! are asked in the database, which must always be possible: nothing may wait for this memory.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::list_contents::ListContents;
use super::list_reader::{ENDED_BEFORE_MS, ListChanges, SinceVersion, WholeList};
use super::{KNOWN_AHEAD_MS, ListUsage};
use crate::domain::tenant::TenantId;
use crate::storage::facts::SearchTexts;

/// The most lists that are followed; all others are asked in the database.
const FOLLOWED_MAX: usize = 10_000;
/// A list is kept up to date for this long after a payment has asked about it.
pub(super) const ASKED_FOR: Duration = Duration::from_secs(10);
/// A list that nobody asks about is forgotten after this time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// How long a list that had no room, or could not be read, is asked in the database.
const NO_ROOM_FOR: Duration = Duration::from_secs(60);
/// A list that did not fit by itself has to become smaller first.
const UNFIT_FOR: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct ListMemory {
    lists: RwLock<HashMap<TenantId, HashMap<String, Arc<FollowedList>>>>,
    begun: Instant,
    /// The most bytes of all lists.
    bytes_max: usize,
    /// As they were counted last.
    bytes: AtomicUsize,
    /// The changes of all lists up to this number were stored when lists were followed last.
    newest_change: AtomicI64,
}

/// When a list was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadAt {
    pub now_ms: u64,
    /// No change up to this number is missing.
    pub newest_change: i64,
}

/// A list that payments have asked about.
#[derive(Debug)]
pub(super) struct FollowedList {
    /// When a payment last asked, in milliseconds after the memory was begun.
    asked_ms: AtomicU64,
    /// Whether a payment has asked for entries, and not only for the version.
    entries_asked: AtomicBool,
    /// Whether a payment has asked for the version, to search for similar names.
    version_asked: AtomicBool,
    state: RwLock<ListState>,
}

#[derive(Debug)]
enum ListState {
    Unknown,
    Known(KnownList),
    /// Its entries cannot be in memory now.
    InDatabase {
        until: Instant,
    },
}

#[derive(Debug)]
struct KnownList {
    version: i64,
    /// `None` if only the version was asked for.
    contents: Option<ListContents>,
    /// Known for the payments of this time; exclusive.
    from_ms: u64,
    until_ms: u64,
    /// As in [`ReadAt`].
    newest_change: i64,
    before: Option<EarlierVersion>,
}

/// The version before the newest, and until when it is complete: the changes since hold later.
#[derive(Debug, Clone, Copy)]
struct EarlierVersion {
    version: i64,
    until_ms: u64,
}

/// A list, with what names it.
pub(super) struct NamedList {
    pub tenant: TenantId,
    pub list: String,
    pub followed: Arc<FollowedList>,
}

impl ListMemory {
    pub fn new(bytes_max: usize) -> Self {
        let (lists, begun) = (RwLock::default(), Instant::now());
        let (bytes, newest_change) = (AtomicUsize::default(), AtomicI64::default());
        Self { lists, begun, bytes_max, bytes, newest_change }
    }

    pub fn newest_change(&self) -> i64 {
        self.newest_change.load(Ordering::Acquire)
    }

    pub fn set_newest_change(&self, number: i64) {
        self.newest_change.store(number, Ordering::Release);
    }

    /// The most bytes of the lists of one tenant, so that none takes the memory of all others.
    pub fn tenant_bytes_max(&self) -> usize {
        self.bytes_max / 2
    }

    /// Whether an entry that is valid then has one of the texts. `None` if the memory does not know.
    pub fn has_any(
        &self,
        tenant: TenantId,
        list: &str,
        at_ms: u64,
        sought: impl FnOnce() -> Arc<SearchTexts>,
    ) -> Option<bool> {
        let followed = self.followed(tenant, list)?;
        followed.entries_asked.store(true, Ordering::Relaxed);
        let state = followed.read();
        state.known_at(at_ms)?.contents.as_ref()?.has_any(&sought(), at_ms)
    }

    /// A version of the list that is complete for payments of this time. After a change it is the earlier
    /// one for a while, so that there is time to index the names again.
    pub fn version(&self, tenant: TenantId, list: &str, at_ms: u64) -> Option<i64> {
        let followed = self.followed(tenant, list)?;
        followed.version_asked.store(true, Ordering::Relaxed);
        let state = followed.read();
        let known = state.known_at(at_ms)?;
        let before = known.before.filter(|before| at_ms < before.until_ms);
        Some(before.map_or(known.version, |before| before.version))
    }

    /// The lists whose names are searched, with their newest versions.
    pub fn searched(&self) -> Vec<(NamedList, i64)> {
        let searched = self.asked(|followed| followed.version_asked.load(Ordering::Relaxed));
        let newest = |named: &NamedList| match &*named.followed.read() {
            ListState::Known(known) => Some(known.version),
            ListState::Unknown | ListState::InDatabase { .. } => None,
        };
        searched.into_iter().filter_map(|named| newest(&named).map(|version| (named, version))).collect()
    }

    /// The list, which is followed from now on. `None` if there are too many.
    fn followed(&self, tenant: TenantId, list: &str) -> Option<Arc<FollowedList>> {
        let asked_ms = self.now_ms();
        let known = self.read().get(&tenant).and_then(|own| own.get(list)).cloned();
        let followed = match known {
            Some(followed) => followed,
            None => {
                let mut lists = self.write();
                let count: usize = lists.values().map(HashMap::len).sum();
                if count >= FOLLOWED_MAX {
                    return None;
                }
                let new = || Arc::new(FollowedList::new(asked_ms));
                lists.entry(tenant).or_default().entry(list.to_owned()).or_insert_with(new).clone()
            }
        };
        followed.asked_ms.store(asked_ms, Ordering::Relaxed);
        Some(followed)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Forgets lists that nobody asks about.
    pub fn forget_unasked(&self) {
        let now_ms = self.now_ms();
        let mut lists = self.write();
        for own in lists.values_mut() {
            own.retain(|_, followed| followed.was_asked_within(FORGOTTEN_AFTER, now_ms));
        }
        lists.retain(|_, own| !own.is_empty());
    }

    /// The lists whose changes have to be read.
    pub fn to_follow(&self) -> Vec<NamedList> {
        self.asked(|followed| match &*followed.read() {
            ListState::Known(_) => true,
            // Without entries there is nothing to load.
            ListState::Unknown => !followed.entries_asked.load(Ordering::Relaxed),
            ListState::InDatabase { .. } => false,
        })
    }

    /// The lists whose entries have to be loaded, those of the tenants in turn.
    pub fn to_load(&self) -> Vec<NamedList> {
        let now = Instant::now();
        let waiting = self.asked(|followed| {
            followed.entries_asked.load(Ordering::Relaxed)
                && match &*followed.read() {
                    ListState::Unknown => true,
                    ListState::Known(known) => known.contents.is_none(),
                    ListState::InDatabase { until } => *until <= now,
                }
        });
        let mut by_tenant: HashMap<TenantId, VecDeque<NamedList>> = HashMap::new();
        for named in waiting {
            by_tenant.entry(named.tenant).or_default().push_back(named);
        }
        let mut in_turn = Vec::new();
        while !by_tenant.is_empty() {
            by_tenant.retain(|_, own| {
                in_turn.extend(own.pop_front());
                !own.is_empty()
            });
        }
        in_turn
    }

    fn asked(&self, is_meant: impl Fn(&FollowedList) -> bool) -> Vec<NamedList> {
        let now_ms = self.now_ms();
        let lists = self.read();
        let all =
            lists.iter().flat_map(|(tenant, own)| own.iter().map(move |(list, one)| (tenant, list, one)));
        all.filter(|(_, _, followed)| followed.was_asked_within(ASKED_FOR, now_ms) && is_meant(followed))
            .map(|(tenant, list, followed)| NamedList {
                tenant: *tenant,
                list: list.clone(),
                followed: followed.clone(),
            })
            .collect()
    }

    /// Keeps a list that was read at this time, if there is room for it. Room is made only by lists
    /// that nobody asks about: lists in use must not push each other out again and again.
    pub fn keep(&self, named: &NamedList, read_at: ReadAt, whole: Option<WholeList>) {
        let Some((version, contents)) = whole.and_then(|whole| Some((whole.version, whole.contents?))) else {
            named.followed.leave_in_database(UNFIT_FOR);
            return;
        };
        // Two loads must not take the same room.
        let lists = self.write();
        let usage = |lists: &HashMap<String, Arc<FollowedList>>| -> usize {
            lists.values().map(|followed| followed.bytes()).sum()
        };
        let all_but_own = |bytes: usize| bytes.saturating_sub(named.followed.bytes()) + contents.bytes();
        let own = lists.get(&named.tenant).map_or(0, usage);
        if all_but_own(own) > self.tenant_bytes_max() {
            named.followed.leave_in_database(NO_ROOM_FOR);
            return;
        }
        let now_ms = self.now_ms();
        let mut unasked: Vec<&Arc<FollowedList>> = lists.values().flat_map(HashMap::values).collect();
        unasked.retain(|followed| !followed.was_asked_within(ASKED_FOR, now_ms));
        unasked.sort_by_key(|followed| std::cmp::Reverse(followed.asked_ms.load(Ordering::Relaxed)));
        let mut bytes: usize = lists.values().map(usage).sum();
        while all_but_own(bytes) > self.bytes_max {
            let Some(dropped) = unasked.pop() else {
                named.followed.leave_in_database(NO_ROOM_FOR);
                return;
            };
            bytes -= dropped.bytes();
            *dropped.write() = ListState::Unknown;
        }
        *named.followed.write() = ListState::Known(KnownList::of(read_at, version, Some(contents)));
    }

    /// Drops lists if they have grown beyond the bytes, those first that were not asked about for the
    /// longest time.
    pub fn shrink(&self) {
        let bytes = self.usage().bytes;
        self.bytes.store(bytes, Ordering::Relaxed);
        let mut excess = bytes.saturating_sub(self.bytes_max);
        if excess == 0 {
            return;
        }
        let lists = self.read();
        let mut all: Vec<&Arc<FollowedList>> = lists.values().flat_map(HashMap::values).collect();
        all.sort_by_key(|followed| followed.asked_ms.load(Ordering::Relaxed));
        for followed in all {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(followed.bytes());
            followed.leave_in_database(NO_ROOM_FOR);
        }
    }

    /// What all lists took a moment ago.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn usage(&self) -> ListUsage {
        let lists = self.read();
        let bytes = lists.values().flat_map(HashMap::values).filter_map(|followed| followed.known_bytes());
        bytes.fold(ListUsage::default(), |all, bytes| ListUsage {
            lists: all.lists + 1,
            bytes: all.bytes + bytes,
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<TenantId, HashMap<String, Arc<FollowedList>>>> {
        self.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<TenantId, HashMap<String, Arc<FollowedList>>>> {
        self.lists.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ListState {
    fn known_at(&self, at_ms: u64) -> Option<&KnownList> {
        match self {
            Self::Known(known) if (known.from_ms..known.until_ms).contains(&at_ms) => Some(known),
            _ => None,
        }
    }
}

impl KnownList {
    fn of(ReadAt { now_ms, newest_change }: ReadAt, version: i64, contents: Option<ListContents>) -> Self {
        let (from_ms, until_ms) = (now_ms.saturating_sub(ENDED_BEFORE_MS), now_ms + KNOWN_AHEAD_MS);
        Self { version, contents, from_ms, until_ms, newest_change, before: None }
    }

    fn is_as_of(&self, since: &SinceVersion) -> bool {
        self.version == since.version && self.contents.is_some() == since.needs_entries
    }
}

impl FollowedList {
    fn new(asked_ms: u64) -> Self {
        let state = RwLock::new(ListState::Unknown);
        let asked_ms = AtomicU64::new(asked_ms);
        Self { asked_ms, entries_asked: AtomicBool::default(), version_asked: AtomicBool::default(), state }
    }

    fn was_asked_within(&self, time: Duration, now_ms: u64) -> bool {
        u128::from(now_ms.saturating_sub(self.asked_ms.load(Ordering::Relaxed))) < time.as_millis()
    }

    /// What has to be read of the list.
    pub fn since(&self, named: &NamedList) -> SinceVersion {
        let (version, needs_entries) = match &*self.read() {
            ListState::Known(known) => (known.version, known.contents.is_some()),
            ListState::Unknown | ListState::InDatabase { .. } => (0, false),
        };
        SinceVersion { tenant: named.tenant, list: named.list.clone(), version, needs_entries }
    }

    /// Keeps the list as it is, since it has not changed since the change of this number. Returns `false`
    /// if changes up to there may be missing.
    pub fn stays(&self, since_change: i64, read_at: ReadAt) -> bool {
        match &mut *self.write() {
            ListState::Known(known) if known.newest_change >= since_change => {
                known.until_ms = read_at.now_ms + KNOWN_AHEAD_MS;
                known.newest_change = read_at.newest_change;
                true
            }
            _ => false,
        }
    }

    /// Takes over what has changed since, as it was read at this time. A list that grows beyond the
    /// bytes is loaded again, without the entries that have ended.
    pub fn take_over(
        &self,
        since: &SinceVersion,
        read_at: ReadAt,
        changes: Option<ListChanges>,
        bytes_max: usize,
    ) {
        let Some(ListChanges { version, rows }) = changes else {
            self.leave_in_database(UNFIT_FOR);
            return;
        };
        let mut state = self.write();
        let contents = match &mut *state {
            ListState::Unknown if !since.needs_entries => None,
            ListState::Known(known) if known.is_as_of(since) => known.contents.as_mut(),
            // It was loaded again in the meantime.
            _ => return,
        };
        if rows.iter().any(|changed| !changed.is_comparable) {
            *state = ListState::InDatabase { until: Instant::now() + UNFIT_FOR };
            return;
        }
        if let Some(contents) = contents {
            rows.iter().for_each(|changed| contents.put(&changed.row));
            if contents.bytes() > bytes_max {
                *state = ListState::Unknown;
                return;
            }
        }
        match &mut *state {
            ListState::Known(known) => {
                if known.version != version {
                    known.before = Some(EarlierVersion { version: known.version, until_ms: known.until_ms });
                }
                (known.version, known.until_ms) = (version, read_at.now_ms + KNOWN_AHEAD_MS);
                known.newest_change = read_at.newest_change;
            }
            state => *state = ListState::Known(KnownList::of(read_at, version, None)),
        }
    }

    /// Leaves it in the database for a while.
    pub fn put_off(&self) {
        self.leave_in_database(NO_ROOM_FOR);
    }

    fn leave_in_database(&self, time: Duration) {
        *self.write() = ListState::InDatabase { until: Instant::now() + time };
    }

    /// `None` if it has no entries in memory.
    fn known_bytes(&self) -> Option<usize> {
        match &*self.read() {
            ListState::Known(known) => known.contents.as_ref().map(ListContents::bytes),
            ListState::Unknown | ListState::InDatabase { .. } => None,
        }
    }

    fn bytes(&self) -> usize {
        self.known_bytes().unwrap_or(0)
    }

    fn read(&self) -> RwLockReadGuard<'_, ListState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, ListState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "list_memory_tests.rs"]
mod tests;
