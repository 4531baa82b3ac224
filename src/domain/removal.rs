//! The record of decisions that retention removed: a month of a tenant.

use super::plugin::Digest;
use super::tenant::TenantId;
use super::time::Month;

/// Without a signed record, a decision that is missing counts as removed by an attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    pub id: RemovalId,
    pub decisions: u64,
    /// SHA-256 of the entries in the order of their ids: 16 bytes of the id, 32 of the digest.
    pub hash: Digest,
    pub at_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemovalId {
    pub tenant: TenantId,
    pub month: Month,
    /// From 1. A month has several if its history was imported again.
    pub number: i32,
}

impl Removal {
    /// The text that is signed. It is published so that others can verify it, and must never
    /// change.
    pub fn text(&self) -> String {
        let Self { id: RemovalId { tenant, month, number }, decisions, hash, at_ms } = self;
        format!("tollgate removal 1\n{tenant}\n{month}\n{number}\n{decisions}\n{hash}\n{at_ms}\n")
    }
}

/// A removal with its Ed25519 signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRemoval {
    pub removal: Removal,
    /// The RFC 7638 thumbprint of the public key.
    pub kid: String,
    /// In base64url without padding.
    pub signature: String,
}
