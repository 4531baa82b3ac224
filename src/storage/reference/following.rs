//! Background work that keeps the memory up to date: reading changes, and loading lists.
//!
//! Payments must not wait for it. What is not known in time is asked in the database.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::list_memory::{NamedList, ReadAt};
use super::list_reader::{self, SinceVersion, Unchanging};
use super::similar_list::SimilarList;
use super::version_log::{self, LogSince};
use super::{Key, Loaded, ReferenceMemory};
use crate::storage::StorageError;

/// The most lists of one statement. Each takes a lock while the statement runs, and Postgres has
/// room for a few thousand.
const PAGE: usize = 200;
/// How often it is tried to find a moment in which no list is being changed. Changes are short.
const PROBES: u32 = 4;
const BETWEEN_PROBES: Duration = Duration::from_millis(5);

impl ReferenceMemory {
    /// Reads what has changed in the lists and tables that payments ask about. What fails does not keep
    /// back the rest.
    pub async fn follow(&self) -> Result<(), StorageError> {
        self.lists.forget_unasked();
        let lists = self.follow_lists().await;
        self.lists.shrink();
        lists.and(self.follow_tables().await)
    }

    /// As a rule no list is being changed and few have changed, so nothing is asked about the others.
    async fn follow_lists(&self) -> Result<(), StorageError> {
        let lists = self.lists.to_follow();
        if lists.is_empty() {
            return Ok(());
        }
        let Some(read_at) = self.until_none_is_changing().await? else {
            return self.follow_one_by_one(&lists).await;
        };
        let since = self.lists.newest_change();
        let changed = list_reader::changed_since(&self.system, since).await?;
        let has_changed = |named: &&NamedList| {
            changed.contains(&(named.tenant, named.list.clone())) || !named.followed.stays(since, read_at)
        };
        let changed: Vec<&NamedList> = lists.iter().filter(has_changed).collect();
        let mut all = Ok(());
        for page in changed.chunks(PAGE) {
            all = all.and(self.read_changes(page, read_at).await);
        }
        self.lists.set_newest_change(read_at.newest_change);
        all
    }

    async fn until_none_is_changing(&self) -> Result<Option<ReadAt>, StorageError> {
        for _ in 0..PROBES {
            if let Some(read_at) = list_reader::none_is_changing(&self.system).await? {
                return Ok(Some(read_at));
            }
            sleep(BETWEEN_PROBES).await;
        }
        Ok(None)
    }

    /// While some list is being changed, each is looked at by itself.
    async fn follow_one_by_one(&self, lists: &[NamedList]) -> Result<(), StorageError> {
        let mut all = Ok(());
        for page in lists.chunks(PAGE) {
            all = all.and(self.follow_unchanging(page).await);
        }
        all
    }

    async fn follow_unchanging(&self, page: &[NamedList]) -> Result<(), StorageError> {
        let newest_change = self.lists.newest_change();
        let names: Vec<_> = page.iter().map(|named| (named.tenant, named.list.clone())).collect();
        let Unchanging { now_ms, are_unchanging } = list_reader::unchanging(&self.system, &names).await?;
        // A list that is being changed stays as it is: its time passes until the change is stored.
        let all = page.iter().zip(are_unchanging);
        let readable: Vec<&NamedList> =
            all.filter(|(_, is_unchanging)| *is_unchanging).map(|(named, _)| named).collect();
        self.read_changes(&readable, ReadAt { now_ms, newest_change }).await
    }

    async fn read_changes(&self, lists: &[&NamedList], read_at: ReadAt) -> Result<(), StorageError> {
        if lists.is_empty() {
            return Ok(());
        }
        let since: Arc<[SinceVersion]> = lists.iter().map(|named| named.followed.since(named)).collect();
        let changes = list_reader::changes(&self.system, since.clone()).await?;
        for ((named, since), changes) in lists.iter().zip(since.iter()).zip(changes) {
            named.followed.take_over(since, read_at, changes, self.lists.tenant_bytes_max());
        }
        Ok(())
    }

    /// Loads the lists that payments ask about and that are not in memory, one after another: there are
    /// few connections for background work, and a list may be large.
    pub async fn load_lists(&self) -> Result<(), StorageError> {
        let mut all = Ok(());
        for named in self.lists.to_load() {
            let loaded = self.load_list(&named).await;
            if loaded.is_err() {
                // It must not be tried again and again while others wait.
                named.followed.put_off();
            }
            all = all.and(loaded);
        }
        all.and(self.index_changed_names().await)
    }

    /// Reads lists again whose names are searched, once they have changed. Until then payments use the
    /// earlier version, as long as it is complete for them; they would wait for a new one.
    async fn index_changed_names(&self) -> Result<(), StorageError> {
        for (NamedList { tenant, list, .. }, newest) in self.lists.searched() {
            let key = Key::List(tenant, list.clone());
            if self.indexed_version(&key).is_some_and(|version| version < newest) {
                let fresh = SimilarList::load(&self.system, tenant, list).await?;
                self.replace(key, Loaded::List(Box::new(fresh)));
            }
        }
        Ok(())
    }

    async fn load_list(&self, named: &NamedList) -> Result<(), StorageError> {
        let newest_change = self.lists.newest_change();
        let name = [(named.tenant, named.list.clone())];
        let Unchanging { now_ms, are_unchanging } = list_reader::unchanging(&self.system, &name).await?;
        if are_unchanging != [true] {
            return Ok(());
        }
        let (list, bytes_max) = (named.list.clone(), self.lists.tenant_bytes_max());
        let whole = list_reader::whole(&self.system, named.tenant, list, now_ms, bytes_max).await?;
        self.lists.keep(named, ReadAt { now_ms, newest_change }, whole);
        Ok(())
    }

    /// Reads the logs of the tables that payments ask about. They are not locked meanwhile, since
    /// payments would wait. A log that a payment has read again stays as it is.
    async fn follow_tables(&self) -> Result<(), StorageError> {
        let (mut since, mut known) = (Vec::new(), Vec::new());
        for (tenant, table, kept) in self.asked_logs() {
            let Some(log) = kept.log.try_lock().ok().and_then(|log| log.clone()) else { continue };
            since.push(LogSince { tenant, table, sequence: log.last_sequence });
            known.push((kept, log));
        }
        if since.is_empty() {
            return Ok(());
        }
        let newer = version_log::newer(&self.system, since).await?;
        let newer = newer.added_to(known.iter().map(|(_, log)| &**log));
        for ((kept, log), newer) in known.iter().zip(newer) {
            let Ok(mut own) = kept.log.try_lock() else { continue };
            if own.as_ref().is_some_and(|own| Arc::ptr_eq(own, log)) {
                *own = Some(Arc::new(newer));
            }
        }
        Ok(())
    }
}
