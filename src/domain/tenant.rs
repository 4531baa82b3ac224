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
}

impl Scope {
    pub const ALL: [Self; 11] = [
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
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}
