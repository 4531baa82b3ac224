//! Tenants, their clients, and scopes.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a tenant. All data of the tenant has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub Uuid);

/// A machine that calls the API for its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub Uuid);

impl std::fmt::Display for TenantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The highest rate that can be set for a client.
pub const REQUESTS_PER_S_MAX: u32 = 1_000_000;

/// What a token allows (RFC 6749 section 3.3). The names are part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    PaymentsWrite,
    PaymentsRead,
    PaymentsErase,
    DecisionsRead,
    RulesetsRead,
    RulesetsWrite,
    ListsRead,
    ListsWrite,
    PluginsRead,
    PluginsWrite,
    AuditRead,
    ReviewsRead,
    ReviewsWrite,
    UsersRead,
    UsersWrite,
    ClientsRead,
    ClientsWrite,
    SettingsRead,
    SettingsWrite,
    ProposalsApprove,
    TenantsRead,
    TenantsWrite,
}

impl Scope {
    pub const ALL: [Self; 22] = [
        Self::PaymentsWrite,
        Self::PaymentsRead,
        Self::PaymentsErase,
        Self::DecisionsRead,
        Self::RulesetsRead,
        Self::RulesetsWrite,
        Self::ListsRead,
        Self::ListsWrite,
        Self::PluginsRead,
        Self::PluginsWrite,
        Self::AuditRead,
        Self::ReviewsRead,
        Self::ReviewsWrite,
        Self::UsersRead,
        Self::UsersWrite,
        Self::ClientsRead,
        Self::ClientsWrite,
        Self::SettingsRead,
        Self::SettingsWrite,
        Self::ProposalsApprove,
        Self::TenantsRead,
        Self::TenantsWrite,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::PaymentsWrite => "payments:write",
            Self::PaymentsRead => "payments:read",
            Self::PaymentsErase => "payments:erase",
            Self::DecisionsRead => "decisions:read",
            Self::RulesetsRead => "rulesets:read",
            Self::RulesetsWrite => "rulesets:write",
            Self::ListsRead => "lists:read",
            Self::ListsWrite => "lists:write",
            Self::PluginsRead => "plugins:read",
            Self::PluginsWrite => "plugins:write",
            Self::AuditRead => "audit:read",
            Self::ReviewsRead => "reviews:read",
            Self::ReviewsWrite => "reviews:write",
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::ClientsRead => "clients:read",
            Self::ClientsWrite => "clients:write",
            Self::SettingsRead => "settings:read",
            Self::SettingsWrite => "settings:write",
            Self::ProposalsApprove => "proposals:approve",
            Self::TenantsRead => "tenants:read",
            Self::TenantsWrite => "tenants:write",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// What a client may do if nothing else is said: work with payments and rules, but neither give
    /// access to others nor decide in place of a person.
    pub fn of_clients_by_default() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|scope| !scope.gives_access() && *scope != Self::ReviewsWrite)
    }

    fn gives_access(self) -> bool {
        matches!(
            self,
            Self::UsersRead
                | Self::UsersWrite
                | Self::ClientsRead
                | Self::ClientsWrite
                | Self::SettingsWrite
                | Self::ProposalsApprove
                | Self::TenantsRead
                | Self::TenantsWrite
        )
    }
}
