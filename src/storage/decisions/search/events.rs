//! The payments of which an event was reported, as one more list to search by.

use sqlx::PgConnection;
use uuid::Uuid;

use super::span::Span;
use crate::domain::payment::PaymentId;
use crate::domain::payment_event::EventKind;
use crate::domain::tenant::TenantId;
use crate::storage::StorageError;
use crate::storage::search::{Found, ListBudget, Rank, SearchOrder};

const READ_AT_ONCE: i64 = 256;

#[derive(Debug)]
pub(super) struct EventList {
    tenant: TenantId,
    kind: EventKind,
    order: SearchOrder,
    /// In ascending order.
    ranks: Vec<Rank>,
    /// What is not read yet. `None` if there is no more.
    unread: Option<Span>,
}

impl EventList {
    pub fn new(tenant: TenantId, kind: EventKind, order: SearchOrder, span: Span) -> Self {
        Self { tenant, kind, order, ranks: Vec::new(), unread: Some(span) }
    }

    pub async fn next_from(
        &mut self,
        connection: &mut PgConnection,
        from: Rank,
        budget: &mut ListBudget,
    ) -> Result<Found, StorageError> {
        loop {
            let known = self.ranks.get(self.ranks.partition_point(|rank| *rank < from)).copied();
            let unread = self.unread.filter(|unread| !unread.is_empty());
            match (known, unread) {
                (Some(rank), _) => return Ok(Found::At(rank)),
                (None, None) => return Ok(Found::End),
                (None, Some(_)) if !budget.spend_one(from) => return Ok(Found::OutOfBudget),
                (None, Some(unread)) => self.read(connection, unread, from).await?,
            }
        }
    }

    async fn read(
        &mut self,
        connection: &mut PgConnection,
        mut unread: Span,
        from: Rank,
    ) -> Result<(), StorageError> {
        unread.pass_until(from);
        let (lowest, end) = unread.ids();
        let ids: Vec<Uuid> = sqlx::query_scalar(match self.order {
            SearchOrder::Newest => {
                "select distinct payment_id from payment_events
                 where tenant_id = $1 and kind = $2 and payment_id >= $3 and payment_id < $4
                 order by payment_id desc limit $5"
            }
            SearchOrder::Oldest => {
                "select distinct payment_id from payment_events
                 where tenant_id = $1 and kind = $2 and payment_id >= $3 and payment_id < $4
                 order by payment_id limit $5"
            }
        })
        .bind(self.tenant.0)
        .bind(self.kind.name())
        .bind(lowest)
        .bind(end)
        .bind(READ_AT_ONCE)
        .fetch_all(connection)
        .await?;
        let ranks = ids.iter().map(|id| Rank::of(self.order, PaymentId(*id).at_ms()));
        self.ranks = ranks.collect();
        if let Some(last) = ids.last() {
            unread.pass(PaymentId(*last));
        }
        self.unread = (ids.len() as i64 == READ_AT_ONCE).then_some(unread);
        Ok(())
    }
}

/// Which of the payments have the event. Others may have been received in the same millisecond.
pub(super) async fn with_event(
    connection: &mut PgConnection,
    tenant: TenantId,
    kind: EventKind,
    payments: &[Uuid],
) -> Result<Vec<Uuid>, StorageError> {
    let statement = "select distinct payment_id from payment_events
                     where tenant_id = $1 and kind = $2 and payment_id = any ($3)";
    let found = sqlx::query_scalar(statement).bind(tenant.0).bind(kind.name()).bind(payments);
    Ok(found.fetch_all(connection).await?)
}
