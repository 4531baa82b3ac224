//! The series of all tenants in memory, for the writers of the journal.
//!
//! They may be out of date: `admit_batch` then refuses the batch, and the writer reads them again.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::domain::series::Series;
use crate::domain::tenant::TenantId;

/// The series of one tenant.
#[derive(Debug, Clone, Default)]
pub struct TenantSeries {
    all: Vec<Series>,
    by_day: Vec<bool>,
}

impl TenantSeries {
    pub fn all(&self) -> &[Series] {
        &self.all
    }

    /// Each series, and whether it is rolled up by days.
    pub fn iter(&self) -> impl Iterator<Item = (&Series, bool)> {
        self.all.iter().zip(self.by_day.iter().copied())
    }
}

/// All series up to a place in their log.
#[derive(Debug, Clone, Default)]
pub struct KnownSeries {
    pub sequence: i64,
    /// Whether batches also write the values for nodes of the release before.
    pub writes_values: bool,
    /// Payments that are received for the days up to this one are stored under the day 0.
    pub sealed_day: i32,
    by_tenant: HashMap<TenantId, Arc<TenantSeries>>,
}

impl KnownSeries {
    pub fn of(&self, tenant: TenantId) -> Option<&Arc<TenantSeries>> {
        self.by_tenant.get(&tenant)
    }
}

#[derive(Debug, Default)]
pub struct SeriesRegistry(RwLock<Arc<KnownSeries>>);

impl SeriesRegistry {
    pub fn current(&self) -> Arc<KnownSeries> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the series that were declared since the last time.
    pub async fn refresh(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let known = self.current();
        if self.read_since(connection, &known).await? {
            return Ok(());
        }
        // The database has fewer than are known, or others: some were removed or became by day, it was
        // restored, or another server took over.
        self.read_since(connection, &KnownSeries::default()).await.map(drop)
    }

    /// Returns `false` if the database is behind `known`, or has lost series since.
    async fn read_since(&self, connection: &mut PgConnection, known: &KnownSeries) -> sqlx::Result<bool> {
        // One statement, so that the place and the series are from one snapshot.
        let rows = sqlx::query(
            "select l.sequence, l.removed_at_sequence, l.writes_values, l.sealed_day,
                    s.tenant_id, s.definition, s.by_day
             from value_series_log l left join value_series s on s.sequence > $1",
        )
        .bind(known.sequence)
        .fetch_all(connection)
        .await?;
        let mut next = KnownSeries::clone(known);
        let mut added: HashMap<TenantId, Vec<(Series, bool)>> = HashMap::new();
        for row in rows {
            next.sequence = row.try_get("sequence")?;
            next.writes_values = row.try_get("writes_values")?;
            next.sealed_day = row.try_get("sealed_day")?;
            let removed_at: i64 = row.try_get("removed_at_sequence")?;
            if next.sequence < known.sequence || (known.sequence > 0 && removed_at > known.sequence) {
                return Ok(false);
            }
            if let Some(tenant) = row.try_get::<Option<Uuid>, _>("tenant_id")? {
                let Json(series) = row.try_get("definition")?;
                added.entry(TenantId(tenant)).or_default().push((series, row.try_get("by_day")?));
            }
        }
        for (tenant, series) in added {
            let own = Arc::make_mut(next.by_tenant.entry(tenant).or_default());
            for (series, by_day) in series {
                own.all.push(series);
                own.by_day.push(by_day);
            }
        }
        // If another writer has read more meanwhile, the next batch is refused and this is repeated.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(true)
    }
}
