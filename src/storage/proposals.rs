//! Proposals of changes that need a second person.
//!
//! A proposal becomes approved only in the transaction that makes its change (`close_approved`).

use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use thiserror::Error;
use uuid::Uuid;

use super::advisory_locks::TenantLock;
use super::columns::{bigint, ms, named};
use super::pool::{AppPool, SystemPool};
use super::query_error::OfStatement;
use super::{StorageError, audit};
use crate::domain::actor::Actor;
use crate::domain::audit::{Act, Action, Approval, Authority};
use crate::domain::proposal::{Change, OPEN_PROPOSALS_MAX, Proposal, ProposalEnd, ProposalId, ProposalState};
use crate::domain::tenant::{ClientId, TenantId};

const WHAT: &str = "proposal";

#[derive(Debug, Error)]
pub enum ProposeError {
    #[error("a tenant can have at most {OPEN_PROPOSALS_MAX} open proposals")]
    TooMany,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Whether changes of this tenant need a second person.
pub async fn is_second_person_needed(app: &AppPool, tenant: TenantId) -> Result<bool, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let statement = "select second_person from tenants where id = $1";
            Ok(sqlx::query_scalar(statement).bind(tenant.0).fetch_one(connection).await?)
        })
    })
    .await
}

/// Returns whether that changed anything.
pub async fn set_second_person(
    system: &SystemPool,
    tenant: TenantId,
    is_needed: bool,
    actor: Authority,
    now_ms: u64,
) -> Result<bool, StorageError> {
    system
        .transaction(move |connection| {
            Box::pin(async move {
                let statement = "update tenants set second_person = $2 where id = $1 and second_person <> $2";
                let changed =
                    sqlx::query(statement).bind(tenant.0).bind(is_needed).execute(&mut *connection).await?;
                if changed.rows_affected() == 0 {
                    return Ok(false);
                }
                let told = |is_needed: bool| Some(serde_json::json!({ "needed": is_needed }).to_string());
                let act = Act {
                    at_ms: now_ms,
                    actor,
                    action: Action::SecondPersonChanged,
                    subject: tenant.to_string(),
                    before: told(!is_needed),
                    after: told(is_needed),
                };
                audit::record(connection, tenant, &act).await?;
                Ok(true)
            })
        })
        .await
}

/// Stores a proposal that waits.
pub async fn propose(
    app: &AppPool,
    tenant: TenantId,
    id: ProposalId,
    change: Change,
    proposed_by: String,
    now_ms: u64,
) -> Result<Proposal, ProposeError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            // The number of open proposals must not change in between.
            TenantLock::Proposals(tenant).take_in_transaction(connection).await.of_statement()?;
            let open: i64 =
                sqlx::query_scalar("select count(*) from proposals where tenant_id = $1 and state = 'open'")
                    .bind(tenant.0)
                    .fetch_one(&mut *connection)
                    .await
                    .of_statement()?;
            if open >= OPEN_PROPOSALS_MAX {
                return Err(ProposeError::TooMany);
            }
            let proposal = Proposal { id, change, proposed_by, proposed_at_ms: now_ms, end: None };
            insert(connection, tenant, &proposal).await?;
            let act = act_of(Action::ProposalMade, &proposal, proposal.proposed_by.clone(), now_ms, "");
            audit::record(connection, tenant, &act).await?;
            Ok(proposal)
        })
    })
    .await
}

async fn insert(
    connection: &mut PgConnection,
    tenant: TenantId,
    proposal: &Proposal,
) -> Result<(), StorageError> {
    sqlx::query(
        "insert into proposals (tenant_id, id, kind, change, proposed_by, proposed_at_ms)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(tenant.0)
    .bind(proposal.id.0)
    .bind(proposal.change.kind())
    .bind(Json(&proposal.change))
    .bind(&proposal.proposed_by)
    .bind(bigint(proposal.proposed_at_ms))
    .execute(connection)
    .await?;
    Ok(())
}

/// The details of the change stay out: they may contain personal data.
fn act_of(action: Action, proposal: &Proposal, actor: String, at_ms: u64, note: &str) -> Act {
    let after = serde_json::json!({"kind": proposal.change.kind(), "note": note});
    Act {
        at_ms,
        actor: actor.into(),
        action,
        subject: proposal.id.to_string(),
        before: None,
        after: Some(after.to_string()),
    }
}

/// Marks a proposal as approved, in the transaction that makes its change. An error rolls that back.
pub(super) async fn close_approved(
    connection: &mut PgConnection,
    tenant: TenantId,
    approval: &Approval,
    now_ms: u64,
) -> Result<(), StorageError> {
    let end = ProposalEnd {
        state: ProposalState::Approved,
        decided_by: approval.approved_by.clone(),
        decided_at_ms: now_ms,
        note: String::new(),
    };
    let has_closed = close(connection, tenant, approval.proposal, &end).await?;
    if has_closed { Ok(()) } else { Err(StorageError::ProposalDecided) }
}

async fn close(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: ProposalId,
    end: &ProposalEnd,
) -> Result<bool, StorageError> {
    let closed = sqlx::query(
        "update proposals set state = $3, decided_by = $4, decided_at_ms = $5, note = $6
         where tenant_id = $1 and id = $2 and state = 'open'",
    )
    .bind(tenant.0)
    .bind(id.0)
    .bind(end.state.name())
    .bind(&end.decided_by)
    .bind(bigint(end.decided_at_ms))
    .bind(&end.note)
    .execute(connection)
    .await?;
    Ok(closed.rows_affected() > 0)
}

/// Declines or withdraws a proposal, whose change is then never made.
pub async fn reject(
    app: &AppPool,
    tenant: TenantId,
    mut proposal: Proposal,
    end: ProposalEnd,
) -> Result<Proposal, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            if !close(connection, tenant, proposal.id, &end).await? {
                return Err(StorageError::ProposalDecided);
            }
            let action = match end.state {
                ProposalState::Withdrawn => Action::ProposalWithdrawn,
                _ => Action::ProposalDeclined,
            };
            let act = act_of(action, &proposal, end.decided_by.clone(), end.decided_at_ms, &end.note);
            audit::record(connection, tenant, &act).await?;
            proposal.end = Some(end);
            Ok(proposal)
        })
    })
    .await
}

/// Marks a proposal as approved whose change had nothing left to do, and so recorded no act.
pub async fn approve_without_effect(
    app: &AppPool,
    tenant: TenantId,
    approval: Approval,
    now_ms: u64,
) -> Result<(), StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move { close_approved(connection, tenant, &approval, now_ms).await })
    })
    .await
}

pub async fn get(app: &AppPool, tenant: TenantId, id: ProposalId) -> Result<Option<Proposal>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let row = sqlx::query(
                "select id, change, proposed_by, proposed_at_ms, state, decided_by, decided_at_ms, note
                 from proposals where tenant_id = $1 and id = $2",
            )
            .bind(tenant.0)
            .bind(id.0)
            .fetch_optional(connection)
            .await?;
            row.as_ref().map(read).transpose()
        })
    })
    .await
}

/// Newest first. With `before`, only those that were made earlier.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    state: Option<ProposalState>,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Proposal>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select id, change, proposed_by, proposed_at_ms, state, decided_by, decided_at_ms, note
                 from proposals
                 where tenant_id = $1 and ($2::text is null or state = $2) and ($3::uuid is null or id < $3)
                 order by id desc
                 limit $4",
            )
            .bind(tenant.0)
            .bind(state.map(ProposalState::name))
            .bind(before)
            .bind(i64::from(limit))
            // Not prepared, so that the plan fits the conditions.
            .persistent(false)
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

/// Whether this person made the client, or one of its secrets, and so may act as the client. A client
/// may have made another.
pub async fn has_made_secret_of(
    app: &AppPool,
    tenant: TenantId,
    actor: String,
    client: ClientId,
) -> Result<bool, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let found = sqlx::query_scalar(
                "with recursive made as (
                     select actor, 'client:' || subject as client from audit_events
                     where tenant_id = $1 and action in ($2, $3)
                 ), makers as (
                     select actor from made where client = $4
                     union
                     select made.actor from makers join made on made.client = makers.actor
                 )
                 select exists (select from makers where actor = $5)",
            )
            .bind(tenant.0)
            .bind(Action::ClientCreated.name())
            .bind(Action::ClientSecretReplaced.name())
            .bind(Actor::Client(client).to_string())
            .bind(actor)
            .fetch_one(connection)
            .await?;
            Ok(found)
        })
    })
    .await
}

fn read(row: &PgRow) -> Result<Proposal, StorageError> {
    let Json(change) = row.try_get("change").map_err(|_| StorageError::Unreadable { what: WHAT })?;
    let state = named(ProposalState::parse(row.try_get("state")?), WHAT)?;
    let decided_by: Option<String> = row.try_get("decided_by")?;
    let decided_at_ms: Option<i64> = row.try_get("decided_at_ms")?;
    let end = match (decided_by, decided_at_ms) {
        (Some(decided_by), Some(decided_at_ms)) => {
            let note = row.try_get("note")?;
            Some(ProposalEnd { state, decided_by, decided_at_ms: ms(decided_at_ms, WHAT)?, note })
        }
        _ => None,
    };
    Ok(Proposal {
        id: ProposalId(row.try_get("id")?),
        change,
        proposed_by: row.try_get("proposed_by")?,
        proposed_at_ms: ms(row.try_get("proposed_at_ms")?, WHAT)?,
        end,
    })
}
