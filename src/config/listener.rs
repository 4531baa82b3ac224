//! The keys of `[*.tollgate.listener]` and `[*.tollgate.proxies]`.

use std::time::Duration;

use serde::Deserialize;

use super::SettingRange;
use crate::door::{Bounds, ForwardingHeader, Network, Proxies};

/// The bounds of connections. `docs/CONFIGURATION.md` explains them.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerSettings {
    pub handshake_max_ms: u64,
    pub head_max_ms: u64,
    pub head_max_bytes: usize,
    pub head_fields_max: usize,
    pub target_max_bytes: usize,
    pub body_part_max_ms: u64,
    pub body_max_ms: u64,
    pub answer_part_max_ms: u64,
    pub idle_max_ms: u64,
    pub connection_requests_max: u64,
    pub connections_max: usize,
    pub address_connections_max: usize,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            handshake_max_ms: 10_000,
            head_max_ms: 10_000,
            head_max_bytes: 16 << 10,
            head_fields_max: 64,
            target_max_bytes: 8 << 10,
            body_part_max_ms: 10_000,
            body_max_ms: 120_000,
            answer_part_max_ms: 30_000,
            // Longer than load balancers keep idle connections, so that it is they who close them.
            idle_max_ms: 75_000,
            connection_requests_max: 100_000,
            connections_max: 8_192,
            // More than the runtime accepts before it lets the first of them be read.
            address_connections_max: 1_024,
        }
    }
}

impl ListenerSettings {
    pub(super) fn ranges(&self) -> [SettingRange; 12] {
        [
            ("handshake_max_ms", self.handshake_max_ms, 100, 600_000),
            ("head_max_ms", self.head_max_ms, 100, 600_000),
            ("head_max_bytes", self.head_max_bytes as u64, 1_024, 1 << 20),
            ("head_fields_max", self.head_fields_max as u64, 16, 1_000),
            // The library for URIs takes no longer ones.
            ("target_max_bytes", self.target_max_bytes as u64, 256, 65_000),
            ("body_part_max_ms", self.body_part_max_ms, 100, 600_000),
            ("body_max_ms", self.body_max_ms, 100, 3_600_000),
            ("answer_part_max_ms", self.answer_part_max_ms, 100, 600_000),
            ("idle_max_ms", self.idle_max_ms, 100, 3_600_000),
            ("connection_requests_max", self.connection_requests_max, 1, u64::MAX),
            ("connections_max", self.connections_max as u64, 2, 1_000_000),
            ("address_connections_max", self.address_connections_max as u64, 1, 1_000_000),
        ]
    }

    pub fn bounds(&self) -> Bounds {
        Bounds {
            handshake: Duration::from_millis(self.handshake_max_ms),
            head: Duration::from_millis(self.head_max_ms),
            head_bytes: self.head_max_bytes,
            head_fields: self.head_fields_max,
            target_bytes: self.target_max_bytes,
            body_part: Duration::from_millis(self.body_part_max_ms),
            body: Duration::from_millis(self.body_max_ms),
            answer_part: Duration::from_millis(self.answer_part_max_ms),
            idle: Duration::from_millis(self.idle_max_ms),
            requests_per_connection: self.connection_requests_max,
            connections: self.connections_max,
            connections_per_address: self.address_connections_max,
        }
    }
}

/// The proxies before this server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxySettings {
    /// Whose word about a client's address is believed.
    pub addresses: Vec<Network>,
    pub header: Option<ForwardingHeader>,
    /// Whether their connections begin with a header of the PROXY protocol.
    pub protocol: bool,
}

impl ProxySettings {
    pub fn proxies(&self) -> Proxies {
        Proxies { networks: self.addresses.clone(), header: self.header, protocol: self.protocol }
    }
}
