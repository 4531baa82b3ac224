//! Every advisory lock that the program takes, with what it protects.
//!
//! The numbers and texts must stay as they are: during an update, nodes of the previous release
//! take the same locks. Migrations take locks of their own, whose numbers are 32 bits wide. Taken
//! inside of the database are 8390043841926791179, so that no series is declared while a batch is
//! stored, and the lock of a list, by whoever changes it.

use sqlx::PgConnection;

use crate::domain::payment::PaymentId;
use crate::domain::ruleset::DecisionPoint;
use crate::domain::tenant::TenantId;

/// A lock that concerns the whole database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DatabaseLock {
    /// Roles and schema are created by one process at a time.
    Provisioning,
    /// Of several nodes that start at once, one stores the first signing key.
    FirstSigningKey,
    /// Sequences of the activation log rise in commit order.
    ActivationSequence,
    /// Two nodes never start two backtests of one tenant.
    BacktestClaims,
    /// One node converts the lists of an earlier version.
    ListConversion,
    /// Sequences of the activations of tables rise in commit order.
    TableActivationSequence,
    /// One node begins to remove a month at a time.
    Retention,
    /// A roll-up is never replaced by an older one.
    RollUps,
    /// Shared by all who change lists, in the database. A node that gets it alone knows that nobody does.
    ListChanges,
    /// Sequences of revocations rise in commit order.
    Revocations,
}

impl DatabaseLock {
    pub fn number(self) -> i64 {
        match self {
            Self::Provisioning => 0x0070_6c6c_6761_7465,
            Self::FirstSigningKey => 0x746f_6c6c_0000_0001,
            Self::ActivationSequence => 0x746f_6c6c_0000_0002,
            Self::BacktestClaims => 0x746f_6c6c_0000_0006,
            Self::ListConversion => 0x746f_6c6c_0000_0009,
            Self::TableActivationSequence => 0x746f_6c6c_0000_000a,
            Self::Retention => 0x746f_6c6c_0000_000c,
            Self::RollUps => 0x746f_6c6c_0000_000d,
            Self::ListChanges => 0x746f_6c6c_0000_000e,
            Self::Revocations => 0x746f_6c6c_0000_000f,
        }
    }

    /// Waits for the lock and holds it until the transaction ends.
    pub async fn take_in_transaction(self, connection: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query("select pg_advisory_xact_lock($1)").bind(self.number()).execute(connection).await?;
        Ok(())
    }

    /// As `try_in_transaction`, together with others that share it.
    pub async fn try_shared_in_transaction(self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        sqlx::query_scalar("select pg_try_advisory_xact_lock_shared($1)")
            .bind(self.number())
            .fetch_one(connection)
            .await
    }

    /// As `take_in_transaction`, without waiting. Returns `false` if another session holds it.
    pub async fn try_in_transaction(self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        sqlx::query_scalar("select pg_try_advisory_xact_lock($1)")
            .bind(self.number())
            .fetch_one(connection)
            .await
    }

    /// Waits for the lock and holds it until it is released or the session ends.
    pub async fn take(self, connection: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query("select pg_advisory_lock($1)").bind(self.number()).execute(connection).await?;
        Ok(())
    }

    /// As `take`, without waiting. Returns `false` if another session holds it.
    pub async fn try_take(self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(self.number()).fetch_one(connection).await
    }

    pub async fn release(self, connection: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query("select pg_advisory_unlock($1)").bind(self.number()).execute(connection).await?;
        Ok(())
    }
}

/// A lock that concerns one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TenantLock {
    /// Sequences of the tenant's audit log rise in commit order. A transaction takes it as its
    /// last lock.
    AuditLog(TenantId),
    /// Taken before lists are counted for the quotas.
    Lists(TenantId),
    /// Taken before the events of the payment are counted for the quota.
    PaymentEvents(TenantId, PaymentId),
    /// Taken before uploads are counted for the quotas.
    Uploads(TenantId),
    /// Revisions are numbered without gaps.
    Revisions(TenantId, DecisionPoint),
    /// Taken before backtests are counted for the limit.
    Backtests(TenantId),
    /// No values of a payment are derived while the payment is erased.
    Derivations(TenantId),
    /// Taken before tables and their versions are counted for the quotas. Versions are numbered
    /// without gaps.
    Tables(TenantId),
    /// Taken before open proposals are counted for the limit.
    Proposals(TenantId),
}

impl TenantLock {
    fn text(self) -> String {
        match self {
            Self::AuditLog(tenant) => format!("audit {tenant}"),
            Self::Lists(tenant) => format!("lists {tenant}"),
            Self::PaymentEvents(tenant, payment) => format!("payment events {tenant} {payment}"),
            Self::Uploads(tenant) => format!("uploads {tenant}"),
            Self::Revisions(tenant, point) => format!("revisions {tenant} {}", point.name()),
            Self::Backtests(tenant) => format!("backtests {tenant}"),
            Self::Derivations(tenant) => format!("derivations {tenant}"),
            Self::Tables(tenant) => format!("tables {tenant}"),
            Self::Proposals(tenant) => format!("proposals {tenant}"),
        }
    }

    /// Waits for the lock and holds it until the transaction ends. This is a separate statement, so
    /// that the next statement sees what the previous holder committed.
    pub async fn take_in_transaction(self, connection: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(self.text())
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// A lock of one list, which is held exclusively while the list is changed. The database takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListLock<'l> {
    pub tenant: TenantId,
    pub list: &'l str,
}

impl ListLock<'_> {
    /// The number of the lock is `hashtextextended` of it, with the seed 0.
    pub fn text(self) -> String {
        format!("list {} {}", self.tenant, self.list)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn numbers_and_texts_are_those_of_the_release_before() {
        use DatabaseLock::{
            ActivationSequence, BacktestClaims, FirstSigningKey, ListChanges, ListConversion, Provisioning,
            Retention, Revocations, RollUps, TableActivationSequence,
        };
        let all = [
            Provisioning,
            FirstSigningKey,
            ActivationSequence,
            BacktestClaims,
            ListConversion,
            TableActivationSequence,
            Retention,
            RollUps,
            ListChanges,
            Revocations,
        ];
        // The function that declares series takes a lock of its own.
        let in_migration = include_str!("../../migrations/0014_aggregates.sql");
        assert!(all.iter().all(|lock| !in_migration.contains(&lock.number().to_string())));
        assert_eq!(
            all.map(DatabaseLock::number),
            [
                31_644_410_238_301_285,
                8_390_043_841_926_791_169,
                8_390_043_841_926_791_170,
                8_390_043_841_926_791_174,
                8_390_043_841_926_791_177,
                8_390_043_841_926_791_178,
                8_390_043_841_926_791_180,
                8_390_043_841_926_791_181,
                8_390_043_841_926_791_182,
                8_390_043_841_926_791_183,
            ]
        );
        let in_migration = include_str!("../../migrations/0022_newest_list_change.sql");
        assert!(in_migration.contains(&format!("lock_shared({})", ListChanges.number())));
        let (tenant, payment) = (TenantId(Uuid::from_u128(1)), PaymentId(Uuid::from_u128(2)));
        let (one, two) = ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002");
        for (lock, text) in [
            (TenantLock::AuditLog(tenant), format!("audit {one}")),
            (TenantLock::Lists(tenant), format!("lists {one}")),
            (TenantLock::PaymentEvents(tenant, payment), format!("payment events {one} {two}")),
            (TenantLock::Uploads(tenant), format!("uploads {one}")),
            (TenantLock::Revisions(tenant, DecisionPoint::Payment), format!("revisions {one} payment")),
            (TenantLock::Backtests(tenant), format!("backtests {one}")),
            (TenantLock::Derivations(tenant), format!("derivations {one}")),
            (TenantLock::Tables(tenant), format!("tables {one}")),
            (TenantLock::Proposals(tenant), format!("proposals {one}")),
        ] {
            assert_eq!(lock.text(), text);
        }
        assert_eq!(ListLock { tenant, list: "blocked" }.text(), format!("list {one} blocked"));
    }
}
