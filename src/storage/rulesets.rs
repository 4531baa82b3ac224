//! Rulesets: immutable revisions, the stored form of their rules, and the log of activations.

mod activate;
mod activations;
mod deployed;
mod list_uses;
mod plan;
mod uses;

use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use thiserror::Error;

pub use activate::activate;
pub use activations::{activations, active};
pub use deployed::{DeployedRules, activations_since, deployed_rules, latest_activations};
pub(super) use list_uses::{deployed_revision_asking, selectors_by_list};
pub use plan::{
    ActivateError, ActivationRequest, ClosedReference, DeploymentVersion, ExpectedActivation, NewActivation,
};
pub use uses::{plugin_uses, plugins_in_deployment, plugins_to_add, series_in_use, series_to_add};

use super::advisory_locks::TenantLock;
use super::columns::{bigint, digest, ms, named};
use super::pool::{AppPool, SystemPool};
use super::query_error::OfStatement;
use super::{StorageError, audit};
use crate::domain::audit::{Act, Action};
use crate::domain::plugin::Digest;
use crate::domain::ruleset::{DecisionPoint, PreparedRule, Revision};
use crate::domain::tenant::TenantId;

const WHAT: &str = "revision";

/// The stored form of the rules: this byte, then the prepared rules in postcard.
const RULES_VERSION: u8 = 1;

#[derive(Debug, Clone)]
pub struct NewRevision {
    pub point: DecisionPoint,
    pub rules: Vec<PreparedRule>,
    pub note: String,
    pub created_by: String,
    pub created_at_ms: u64,
}

#[derive(Debug, Error)]
pub enum CreateRevisionError {
    #[error("the ruleset already has {0} revisions")]
    TooMany(u32),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Creates the next revision. A ruleset can have at most `revisions_max`. Concurrent calls wait for
/// each other, so that the numbers have no gaps.
pub async fn create(
    app: &AppPool,
    tenant: TenantId,
    new: NewRevision,
    revisions_max: u32,
) -> Result<Revision, CreateRevisionError> {
    let stored = encode(&new.rules)?;
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let lock = TenantLock::Revisions(tenant, new.point);
            lock.take_in_transaction(connection).await.of_statement()?;
            let digest = Digest::of(&stored);
            let number: i32 = sqlx::query_scalar(
                "insert into revisions (tenant_id, point, number, rules_version, rules, digest, note,
                                        created_by, created_at_ms)
                 select $1, $2, coalesce(max(number), 0) + 1, $3, $4, $5, $6, $7, $8
                 from revisions
                 where tenant_id = $1 and point = $2
                 returning number",
            )
            .bind(tenant.0)
            .bind(new.point.name())
            .bind(i16::from(RULES_VERSION))
            .bind(stored)
            .bind(digest.0)
            .bind(&new.note)
            .bind(&new.created_by)
            .bind(bigint(new.created_at_ms))
            .fetch_one(&mut *connection)
            .await
            .of_statement()?;
            // Without gaps, the number is the count.
            if i64::from(number) > i64::from(revisions_max) {
                return Err(CreateRevisionError::TooMany(revisions_max));
            }
            let NewRevision { point, rules, note, created_by, created_at_ms } = new;
            let revision = Revision { point, number, digest, rules, note, created_by, created_at_ms };
            audit::record(connection, tenant, &creation(&revision)).await?;
            Ok(revision)
        })
    })
    .await
}

fn creation(revision: &Revision) -> Act {
    let rules: Vec<_> = revision
        .rules
        .iter()
        .map(|rule| json!({"name": rule.entry.name, "plugin": rule.entry.plugin.to_string()}))
        .collect();
    let after = json!({"digest": revision.digest.to_string(), "note": revision.note, "rules": rules});
    Act {
        at_ms: revision.created_at_ms,
        actor: revision.created_by.as_str().into(),
        action: Action::RevisionCreated,
        subject: revision.number.to_string(),
        before: None,
        after: Some(after.to_string()),
    }
}

pub async fn get(
    app: &AppPool,
    tenant: TenantId,
    point: DecisionPoint,
    number: i32,
) -> Result<Option<Revision>, StorageError> {
    app.transaction(tenant, move |connection| Box::pin(find(connection, tenant, point, number))).await
}

/// As `get`, for background work.
pub async fn revision_any(
    system: &SystemPool,
    tenant: TenantId,
    point: DecisionPoint,
    number: i32,
) -> Result<Option<Revision>, StorageError> {
    system.transaction(move |connection| Box::pin(find(connection, tenant, point, number))).await
}

async fn find(
    connection: &mut PgConnection,
    tenant: TenantId,
    point: DecisionPoint,
    number: i32,
) -> Result<Option<Revision>, StorageError> {
    let row = sqlx::query(
        "select point, number, rules_version, rules, digest, note, created_by, created_at_ms
         from revisions
         where tenant_id = $1 and point = $2 and number = $3",
    )
    .bind(tenant.0)
    .bind(point.name())
    .bind(number)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read).transpose()
}

/// The newest first. With `before`, only revisions with lower numbers.
pub async fn list(
    app: &AppPool,
    tenant: TenantId,
    point: DecisionPoint,
    before: Option<i32>,
    limit: u32,
) -> Result<Vec<Revision>, StorageError> {
    app.transaction(tenant, move |connection| {
        Box::pin(async move {
            let rows = sqlx::query(
                "select point, number, rules_version, rules, digest, note, created_by, created_at_ms
                 from revisions
                 where tenant_id = $1 and point = $2 and number < coalesce($3, 2147483647)
                 order by number desc
                 limit $4",
            )
            .bind(tenant.0)
            .bind(point.name())
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?;
            rows.iter().map(read).collect()
        })
    })
    .await
}

fn read(row: &PgRow) -> Result<Revision, StorageError> {
    Ok(Revision {
        point: named(DecisionPoint::parse(row.try_get("point")?), WHAT)?,
        number: row.try_get("number")?,
        digest: digest(row.try_get("digest")?, WHAT)?,
        rules: read_rules(row)?,
        note: row.try_get("note")?,
        created_by: row.try_get("created_by")?,
        created_at_ms: ms(row.try_get("created_at_ms")?, WHAT)?,
    })
}

fn read_rules(row: &PgRow) -> Result<Vec<PreparedRule>, StorageError> {
    let version: i16 = row.try_get("rules_version")?;
    if version != i16::from(RULES_VERSION) {
        return Err(StorageError::Unreadable { what: WHAT });
    }
    let (stored, digest): (&[u8], _) = (row.try_get("rules")?, digest(row.try_get("digest")?, WHAT)?);
    // Decisions refer to this digest, so it must fit the stored rules.
    if Digest::of(stored) != digest {
        return Err(StorageError::Unreadable { what: WHAT });
    }
    decode(stored)
}

fn encode(rules: &[PreparedRule]) -> Result<Vec<u8>, StorageError> {
    let unreadable = |_| StorageError::Unreadable { what: WHAT };
    postcard::to_extend(rules, vec![RULES_VERSION]).map_err(unreadable)
}

fn decode(stored: &[u8]) -> Result<Vec<PreparedRule>, StorageError> {
    let unreadable = StorageError::Unreadable { what: WHAT };
    let Some((&RULES_VERSION, rules)) = stored.split_first() else { return Err(unreadable) };
    match postcard::take_from_bytes(rules) {
        Ok((rules, [])) => Ok(rules),
        _ => Err(unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plugin::Profile;
    use crate::domain::ruleset::{Mode, RuleEntry};
    use crate::domain::selector::{Counting, FactQuery, Matching, Selector};
    use crate::domain::verdict::FailureOutcome;

    /// If this fails, stored revisions can no longer be read. Add a new version instead of changing
    /// the expected bytes.
    #[test]
    fn the_stored_form_of_version_1_never_changes() {
        let entry = RuleEntry {
            name: "r".to_owned(),
            plugin: Digest([3; 32]),
            settings: "{}".to_owned(),
            on_failure: FailureOutcome::Reject,
            overridable: true,
            mode: Mode::Shadow,
        };
        let (list, matching) = ("l".to_owned(), Matching::NormalizedName);
        let listed = FactQuery::Listed { list, selector: Selector::Customer, matching };
        let (selector, counting) = (Selector::Metadata("m".to_owned()), Counting::Approved);
        let velocity = FactQuery::Velocity { selector, window_ms: 1_000, counting };
        let (queries, state) = (vec![listed, velocity], vec![0, 255]);
        let rules = [PreparedRule { entry, profile: Profile::Large, queries, state }];
        let mut expected = vec![RULES_VERSION, 1, 1, b'r'];
        expected.extend([3; 32]);
        expected.extend([2, b'{', b'}', 2, 1, 1, 1, 2]);
        expected.extend([0, 1, b'l', 8, 2]);
        expected.extend([1, 13, 1, b'm', 0xe8, 7, 1]);
        expected.extend([2, 0, 255]);
        let stored = encode(&rules).expect("encodes");
        assert_eq!(stored, expected);
        assert_eq!(decode(&stored).expect("decodes"), rules);

        // The selector of metadata is between the fixed ones of the first contract and the later ones.
        assert!(bytes_of(&Selector::FIXED).into_iter().eq((0..13).chain(14..30)));
        assert_eq!(bytes_of(&Selector::Signal("s".to_owned())), [30, 1, b's']);
        assert_eq!(bytes_of(&[Matching::Exact, Matching::Prefix, Matching::NormalizedName]), [0, 1, 2]);
        assert_eq!(bytes_of(&[Counting::Submitted, Counting::Approved]), [0, 1]);
    }

    fn bytes_of(value: &impl serde::Serialize) -> Vec<u8> {
        postcard::to_stdvec(value).expect("encodes")
    }
}
