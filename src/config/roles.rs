//! The keys `tollgate.roles` and `[*.tollgate.rules]`: what a process does, and where it finds the
//! rule engine.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::ConfigError;
use crate::workers::{Fallback, ListenAddress, PeerFiles, WorkerAddress};

/// A part of the work that a process can have alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves the API and the page.
    Api,
    /// Runs rules, for this process or for others.
    Rules,
    /// Does what is shared by all nodes: compiles uploads, runs backtests, removes what is old.
    Background,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Api, Self::Rules, Self::Background];

    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Rules => "rules",
            Self::Background => "background",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|role| role.name() == name);
        known.ok_or_else(|| format!("{name:?} is not a role; expected api, rules or background"))
    }
}

/// At least one. All by default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Role>")]
pub struct Roles(Vec<Role>);

impl Default for Roles {
    fn default() -> Self {
        Self(Role::ALL.into())
    }
}

impl TryFrom<Vec<Role>> for Roles {
    type Error = &'static str;

    fn try_from(mut roles: Vec<Role>) -> Result<Self, &'static str> {
        roles.sort_unstable();
        roles.dedup();
        if roles.is_empty() {
            Err("no role; expected at least one of api, rules, background")
        } else {
            Ok(Self(roles))
        }
    }
}

impl Roles {
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// Whether this process only runs rules for others. It needs no database.
    pub fn is_rule_worker(&self) -> bool {
        self.0 == [Role::Rules]
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|role| role.name()).collect();
        f.write_str(&names.join(","))
    }
}

/// The keys of `[*.tollgate.rules]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RulesSettings {
    /// Where a process with the role `rules` serves others.
    pub listen: Option<ListenAddress>,
    /// Where a process without the role `rules` finds those that have it.
    pub workers: Vec<WorkerAddress>,
    pub fallback: Fallback,
    pub tls: Option<PeerFiles>,
}

impl RulesSettings {
    /// Whether they suit the roles.
    pub(super) fn check(&self, roles: &Roles) -> Result<(), ConfigError> {
        let missing = |key, roles: &Roles, expected| {
            Err(ConfigError::Missing { key, roles: roles.to_string(), expected })
        };
        if roles.is_rule_worker() && self.listen.is_none() {
            return missing("tollgate.rules.listen", roles, "an address, such as \"127.0.0.1:8200\"");
        }
        if !roles.has(Role::Rules) && self.workers.is_empty() {
            let expected = "where the rules run, such as [\"https://rules.internal:8200\"]";
            return missing("tollgate.rules.workers", roles, expected);
        }
        let needs_identity = self.workers.iter().any(WorkerAddress::has_tls)
            || self.listen.as_ref().is_some_and(|listen| roles.has(Role::Rules) && !listen.is_local());
        if needs_identity && self.tls.is_none() {
            let expected = "a table {certificates, key, authorities}, since payments cross the network";
            return missing("tollgate.rules.tls", roles, expected);
        }
        Ok(())
    }
}
