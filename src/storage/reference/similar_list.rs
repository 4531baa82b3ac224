//! The entries of a list with an index of their names.

use sqlx::Row;

use crate::domain::selector::SimilarEntry;
use crate::domain::similar_names::{NameForm, NameIndex, Similar};
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::columns::ms;
use crate::storage::pool::SystemPool;
use crate::storage::time_limit::TimeLimit;

const WHAT: &str = "list entry";

#[derive(Debug)]
pub(super) struct SimilarList {
    pub version: i64,
    /// In the order of their ids, so that the same entry is found on every node.
    entries: Vec<ListedName>,
    names: NameIndex,
}

#[derive(Debug)]
struct ListedName {
    value: String,
    valid_from_ms: u64,
    valid_to_ms: u64,
}

impl SimilarList {
    /// All entries of the list, including those that have ended: they answer for earlier payments.
    pub async fn load(system: &SystemPool, tenant: TenantId, list: String) -> Result<Self, StorageError> {
        let (version, entries) = system
            .transaction_within(TimeLimit::PAGE, move |connection| {
                Box::pin(async move {
                    // One statement, so that the version and the entries are from one snapshot.
                    let rows = sqlx::query(
                        "select l.version, e.value, e.valid_from_ms, e.valid_to_ms
                         from lists l
                         left join (select distinct on (id) tenant_id, list, id, value, valid_from_ms, valid_to_ms
                                    from list_entries where tenant_id = $1 and list = $2) e
                             on e.tenant_id = l.tenant_id and e.list = l.name
                         where l.tenant_id = $1 and l.name = $2
                         order by e.id",
                    )
                    .bind(tenant.0)
                    .bind(list)
                    .fetch_all(connection)
                    .await?;
                    let (mut version, mut entries) = (0, Vec::new());
                    for row in rows {
                        version = row.try_get("version")?;
                        let Some(value) = row.try_get("value")? else { continue };
                        let valid_to_ms: Option<i64> = row.try_get("valid_to_ms")?;
                        entries.push(ListedName {
                            value,
                            valid_from_ms: ms(row.try_get("valid_from_ms")?, WHAT)?,
                            valid_to_ms: valid_to_ms.map_or(Ok(u64::MAX), |end_ms| ms(end_ms, WHAT))?,
                        });
                    }
                    Ok::<_, StorageError>((version, entries))
                })
            })
            .await?;
        // Thousands of names take long to index.
        let indexed = tokio::task::spawn_blocking(move || {
            let names = NameIndex::new((0..).zip(entries.iter().map(|entry| entry.value.as_str())));
            Self { version, entries, names }
        });
        indexed.await.map_err(|_| StorageError::Abandoned)
    }

    /// The most similar entry that is valid at this time.
    pub fn best(&self, name: &str, score_at_least: u8, at_ms: u64) -> Option<SimilarEntry> {
        let is_valid = |entry: u32| {
            self.entry(entry).is_some_and(|entry| entry.valid_from_ms <= at_ms && at_ms < entry.valid_to_ms)
        };
        let Similar { entry, score } = self.names.best(&NameForm::of(name)?, score_at_least, is_valid)?;
        Some(SimilarEntry { entry: self.entry(entry)?.value.clone(), score })
    }

    pub fn bytes(&self) -> usize {
        let values: usize =
            self.entries.iter().map(|entry| size_of::<ListedName>() + entry.value.len()).sum();
        values + self.names.bytes()
    }

    fn entry(&self, number: u32) -> Option<&ListedName> {
        self.entries.get(usize::try_from(number).ok()?)
    }
}
