//! Lists and tables in memory: for facts that SQL cannot compute, and so that payments need not wait
//! for the database.
//!
//! A table is used only in the version that is valid for the payment. A list is used in the version
//! that is known to be complete for the payment, or in a newer one: entries are never deleted and say
//! when they are valid. So a fact is the same on every node, however old its memory is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};
use tokio::time::Instant;

use super::databases::Databases;
use super::facts::FactAnswer;
use super::pool::{AppPool, SystemPool};
use super::{StorageError, tables};
use crate::domain::aggregate::Conversion;
use crate::domain::payment::Payment;
use crate::domain::rates::{RateTable, Rates};
use crate::domain::reference::VALID_AFTER_MS;
use crate::domain::selector::{Cell, Fact, FactQuery, Selector};
use crate::domain::table::{TableContents, TableName};
use crate::domain::tenant::TenantId;
use known_facts::ListAnswers;
use list_memory::{ASKED_FOR, ListMemory};
use similar_list::SimilarList;
use version_log::VersionLog;

mod following;
mod known_facts;
mod list_contents;
mod list_memory;
mod list_reader;
mod similar_list;
mod version_log;

/// How far the clocks of two nodes may differ, and more.
const CLOCKS_DIFFER_MS: u64 = 500;
/// How long after it was read a list or a log of versions is complete.
const KNOWN_AHEAD_MS: u64 = VALID_AFTER_MS - CLOCKS_DIFFER_MS;

/// The most lists and tables in memory, whatever their size.
const KEPT_MAX: usize = 10_000;

/// A list that was read is current, unless another server took over meanwhile that has less.
const LIST_ATTEMPTS: usize = 3;

/// What is kept in memory. A version of a table never changes, and a list has only its newest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    List(TenantId, String),
    Table(TenantId, TableName, i32),
}

#[derive(Debug)]
enum Loaded {
    List(Box<SimilarList>),
    /// `None` if there is no such version.
    Table(Option<Arc<TableContents>>),
}

impl Loaded {
    fn bytes(&self) -> usize {
        match self {
            Self::List(list) => list.bytes(),
            Self::Table(contents) => contents.as_ref().map_or(0, |contents| contents.bytes()),
        }
    }
}

/// Loads of one list or table share one cell.
type Kept = Arc<OnceCell<Arc<Loaded>>>;

/// The log of a table. Locked while it is read again, so that payments that need it at once share one
/// look-up.
#[derive(Debug)]
struct KeptLog {
    log: AsyncMutex<Option<Arc<VersionLog>>>,
    asked: Mutex<Instant>,
}

/// How many lists have their entries in memory, and how many bytes these take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListUsage {
    pub lists: usize,
    pub bytes: usize,
}

#[derive(Debug)]
pub struct ReferenceMemory {
    app: AppPool,
    system: SystemPool,
    /// By last use.
    kept: Mutex<LruCache<Key, Kept>>,
    bytes_max: usize,
    logs: Mutex<LruCache<(TenantId, TableName), Arc<KeptLog>>>,
    lists: ListMemory,
    list_answers: ListAnswers,
}

impl ReferenceMemory {
    /// Keeps at most `bytes_max`, and always the tables and names that are being used. The entries of
    /// lists get at most half.
    pub fn new(databases: &Databases, bytes_max: usize) -> Self {
        Self {
            app: databases.app.clone(),
            system: databases.system.clone(),
            kept: Mutex::new(LruCache::new(KEPT_MAX)),
            bytes_max,
            logs: Mutex::new(LruCache::new(KEPT_MAX)),
            lists: ListMemory::new(bytes_max / 2),
            list_answers: ListAnswers::default(),
        }
    }

    /// What the entries of lists take.
    pub fn list_usage(&self) -> ListUsage {
        self.lists.usage()
    }

    /// Completes the facts about similar names and tables. `answer` is the one to `queries`.
    pub async fn complete(
        &self,
        tenant: TenantId,
        payment: &Payment,
        queries: &[FactQuery],
        answer: &mut FactAnswer,
    ) -> Result<(), StorageError> {
        for (place, query) in queries.iter().enumerate() {
            let fact = match query {
                FactQuery::Similar { list, selector, score_at_least } => {
                    let Some(name) = selector.value_of(&payment.order) else { continue };
                    let Some(version) = answer.version(place) else { continue };
                    let list = self.list(tenant, list, version).await?;
                    let (score_at_least, at_ms) = (*score_at_least, payment.received_at_ms);
                    // A list of names that are all alike may take a tenth of a second.
                    let searched = tokio::task::spawn_blocking(move || match &*list {
                        Loaded::List(list) => list.best(&name, score_at_least, at_ms),
                        Loaded::Table(_) => None,
                    });
                    Fact::Similar(searched.await.map_err(|_| StorageError::Abandoned)?)
                }
                FactQuery::Table { table, selector, .. } => {
                    let Some(value) = selector.value_of(&payment.order) else { continue };
                    let table = table_name(table)?;
                    let log = self.version_log(tenant, &table, payment.received_at_ms).await?;
                    let Some(version) = log.version_at(payment.received_at_ms) else { continue };
                    let contents = self.table(tenant, &table, version).await?;
                    Fact::Table(contents.and_then(|contents| row_of(&contents, selector, &value)))
                }
                _ => continue,
            };
            answer.set(place, fact);
        }
        Ok(())
    }

    async fn list(&self, tenant: TenantId, name: &str, version: i64) -> Result<Arc<Loaded>, StorageError> {
        let key = Key::List(tenant, name.to_owned());
        for _ in 0..LIST_ATTEMPTS {
            let kept = self.cell(&key);
            let load = || async {
                let list = SimilarList::load(&self.system, tenant, name.to_owned()).await?;
                Ok::<_, StorageError>(Arc::new(Loaded::List(Box::new(list))))
            };
            let loaded = kept.get_or_try_init(load).await?.clone();
            let is_current = matches!(&*loaded, Loaded::List(list) if list.version >= version);
            if is_current {
                self.shrink();
                return Ok(loaded);
            }
            self.forget(&key, &kept);
        }
        Err(StorageError::Abandoned)
    }

    /// The rates for payments that are received in this time. They are known for the whole of it
    /// only if it ends at most a second from now.
    pub async fn rates<'c>(
        &self,
        tenant: TenantId,
        conversions: impl IntoIterator<Item = &'c Conversion>,
        from_ms: u64,
        to_ms: u64,
    ) -> Result<Rates, StorageError> {
        let mut tables: Vec<RateTable> = Vec::new();
        for Conversion { table: name, .. } in conversions {
            if tables.iter().any(|known| known.name == *name) {
                continue;
            }
            let table = table_name(name)?;
            let log = self.version_log(tenant, &table, to_ms).await?;
            let mut versions = Vec::new();
            for (valid_from_ms, version) in log.versions_between(from_ms, to_ms) {
                let contents = self.table(tenant, &table, *version).await?;
                versions.extend(contents.map(|contents| (*valid_from_ms, contents)));
            }
            tables.push(RateTable { name: name.clone(), versions });
        }
        Ok(Rates::new(tables))
    }

    /// The log of a table, complete until then, or for as long from now as possible.
    async fn version_log(
        &self,
        tenant: TenantId,
        table: &TableName,
        until_ms: u64,
    ) -> Result<Arc<VersionLog>, StorageError> {
        let kept = self.kept_log(tenant, table);
        let mut log = kept.log.lock().await;
        match &*log {
            Some(known) if until_ms < known.known_until_ms => Ok(known.clone()),
            _ => {
                let loaded = Arc::new(VersionLog::load(&self.app, tenant, table.clone()).await?);
                *log = Some(loaded.clone());
                Ok(loaded)
            }
        }
    }

    fn kept_log(&self, tenant: TenantId, table: &TableName) -> Arc<KeptLog> {
        let now = Instant::now();
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant, table.clone());
        if let Some(kept) = logs.get(&key) {
            *kept.asked.lock().unwrap_or_else(PoisonError::into_inner) = now;
            return kept.clone();
        }
        let kept = Arc::new(KeptLog { log: AsyncMutex::default(), asked: Mutex::new(now) });
        logs.insert(key, kept.clone());
        kept
    }

    /// The logs that payments have asked for recently.
    fn asked_logs(&self) -> Vec<(TenantId, TableName, Arc<KeptLog>)> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked =
            |kept: &KeptLog| kept.asked.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < ASKED_FOR;
        let asked = logs.iter().filter(|(_, kept)| is_asked(kept));
        asked.map(|((tenant, table), kept)| (*tenant, table.clone(), kept.clone())).collect()
    }

    async fn table(
        &self,
        tenant: TenantId,
        table: &TableName,
        version: i32,
    ) -> Result<Option<Arc<TableContents>>, StorageError> {
        let kept = self.cell(&Key::Table(tenant, table.clone(), version));
        let load = || async {
            let contents = tables::load(&self.system, tenant, table, version).await?;
            Ok::<_, StorageError>(Arc::new(Loaded::Table(contents.map(Arc::new))))
        };
        let loaded = kept.get_or_try_init(load).await?.clone();
        self.shrink();
        Ok(match &*loaded {
            Loaded::Table(contents) => contents.clone(),
            Loaded::List(_) => None,
        })
    }

    fn cell(&self, key: &Key) -> Kept {
        let mut kept = self.lock();
        if let Some(cell) = kept.get(key) {
            return cell.clone();
        }
        let cell = Kept::default();
        kept.insert(key.clone(), cell.clone());
        cell
    }

    /// `None` if the list is not in memory.
    fn indexed_version(&self, key: &Key) -> Option<i64> {
        match &**self.lock().peek(key)?.get()? {
            Loaded::List(list) => Some(list.version),
            Loaded::Table(_) => None,
        }
    }

    fn replace(&self, key: Key, loaded: Loaded) {
        self.lock().insert(key, Arc::new(OnceCell::new_with(Some(Arc::new(loaded)))));
        self.shrink();
    }

    /// Unless another caller has replaced it already.
    fn forget(&self, key: &Key, old: &Kept) {
        let mut kept = self.lock();
        if kept.get(key).is_some_and(|cell| Arc::ptr_eq(cell, old)) {
            kept.remove(key);
        }
    }

    /// Drops what was not used for the longest time, until the rest fits.
    fn shrink(&self) {
        let mut kept = self.lock();
        let bytes_of = |cell: &Kept| cell.get().map_or(0, |loaded| loaded.bytes());
        let mut bytes: usize = kept.iter().map(|(_, cell)| bytes_of(cell)).sum();
        let bytes_max = self.bytes_max.saturating_sub(self.lists.bytes());
        while bytes > bytes_max && kept.len() > 1 {
            let Some((_, dropped)) = kept.remove_lru() else { return };
            bytes -= bytes_of(&dropped);
        }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Key, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn table_name(name: &str) -> Result<TableName, StorageError> {
    TableName::parse(name).ok_or(StorageError::Unreadable { what: "table" })
}

/// The cells of the row for this value, without empty ones.
fn row_of(contents: &TableContents, selector: &Selector, value: &str) -> Option<Vec<(String, Cell)>> {
    let row = contents.find(&selector.kind().form_of_value(value))?;
    let columns = contents.schema().columns().iter().zip(row.cells);
    let cells = columns.filter_map(|(column, cell)| Some((column.name.as_str().to_owned(), cell?)));
    Some(cells.collect())
}
