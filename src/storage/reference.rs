//! Lists and tables in memory, for facts that SQL cannot compute: similar names and rows of tables.
//!
//! A table is used only in the version that the look-up of facts has named; a list in that version or
//! a newer one, since entries are never deleted and say when they are valid. So a fact is the same on
//! every node, however old its memory is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;
use tokio::sync::OnceCell;

use super::facts::FactAnswer;
use super::pool::SystemPool;
use super::{StorageError, tables};
use crate::domain::payment::Payment;
use crate::domain::selector::{Cell, Fact, FactQuery, Selector};
use crate::domain::table::{TableContents, TableName};
use crate::domain::tenant::TenantId;
use similar_list::SimilarList;

mod similar_list;

/// The most lists and tables in memory, whatever their size.
const KEPT_MAX: usize = 10_000;

/// A list that was read is current, unless another server took over meanwhile that has less.
const LIST_ATTEMPTS: usize = 3;

/// What is kept in memory. A version of a table never changes, and a list has only its newest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    List(TenantId, String),
    Table(TenantId, String, i64),
}

#[derive(Debug)]
enum Loaded {
    List(Box<SimilarList>),
    /// `None` if there is no such version.
    Table(Option<TableContents>),
}

impl Loaded {
    fn bytes(&self) -> usize {
        match self {
            Self::List(list) => list.bytes(),
            Self::Table(contents) => contents.as_ref().map_or(0, TableContents::bytes),
        }
    }
}

/// Loads of one list or table share one cell.
type Kept = Arc<OnceCell<Arc<Loaded>>>;

#[derive(Debug)]
pub struct ReferenceMemory {
    system: SystemPool,
    /// By last use.
    kept: Mutex<LruCache<Key, Kept>>,
    bytes_max: usize,
}

impl ReferenceMemory {
    /// Keeps at most `bytes_max`, and always what is being used.
    pub fn new(system: SystemPool, bytes_max: usize) -> Self {
        Self { system, kept: Mutex::new(LruCache::new(KEPT_MAX)), bytes_max }
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
            let version = answer.version(place);
            let fact = match query {
                FactQuery::Similar { list, selector, score_at_least } => {
                    let Some(name) = selector.value_of(&payment.order) else { continue };
                    let Some(version) = version else { continue };
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
                    let Some(version) = version else { continue };
                    let contents = self.table(tenant, table, version).await?;
                    let Loaded::Table(contents) = &*contents else { continue };
                    Fact::Table(contents.as_ref().and_then(|contents| row_of(contents, selector, &value)))
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

    async fn table(&self, tenant: TenantId, name: &str, version: i64) -> Result<Arc<Loaded>, StorageError> {
        const UNREADABLE: StorageError = StorageError::Unreadable { what: "table" };
        let number = i32::try_from(version).map_err(|_| UNREADABLE)?;
        let table = TableName::parse(name).ok_or(UNREADABLE)?;
        let kept = self.cell(&Key::Table(tenant, name.to_owned(), version));
        let load = || async {
            let contents = tables::load(&self.system, tenant, &table, number).await?;
            Ok::<_, StorageError>(Arc::new(Loaded::Table(contents)))
        };
        let loaded = kept.get_or_try_init(load).await?.clone();
        self.shrink();
        Ok(loaded)
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
        while bytes > self.bytes_max && kept.len() > 1 {
            let Some((_, dropped)) = kept.remove_lru() else { return };
            bytes -= bytes_of(&dropped);
        }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Key, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cells of the row for this value, without empty ones.
fn row_of(contents: &TableContents, selector: &Selector, value: &str) -> Option<Vec<(String, Cell)>> {
    let row = contents.find(&selector.kind().form_of_value(value))?;
    let columns = contents.schema().columns().iter().zip(row.cells);
    let cells = columns.filter_map(|(column, cell)| Some((column.name.as_str().to_owned(), cell?)));
    Some(cells.collect())
}
