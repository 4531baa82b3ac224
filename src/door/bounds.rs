//! The bounds of connections, as configured.

use std::time::Duration;

use super::refusal::Refusal;

/// Bodies and answers must move on by this much in each period.
pub const PART_BYTES: u64 = 64 << 10;

/// What `connections_bounded_total` counts by, except what a [`Refusal`] is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Handshake,
    Idle,
    Answer,
    /// A connection gave way to another.
    Place,
    /// There was no place for a connection.
    Connections,
    /// The process may open no more files.
    Files,
}

impl Bound {
    const ALL: [Self; 6] =
        [Self::Handshake, Self::Idle, Self::Answer, Self::Place, Self::Connections, Self::Files];

    fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake_time",
            Self::Idle => "idle_time",
            Self::Answer => "answer_time",
            Self::Place => "place",
            Self::Connections => "connections",
            Self::Files => "files",
        }
    }

    pub fn count(self) {
        counter(self.name()).increment(1);
    }
}

pub fn count_refusal(refusal: &Refusal) {
    counter(refusal.reason()).increment(1);
}

/// So that the metrics have every bound from the start.
pub fn register() {
    for name in Bound::ALL.map(Bound::name).into_iter().chain(Refusal::REASONS) {
        counter(name).increment(0);
    }
}

fn counter(bound: &'static str) -> metrics::Counter {
    metrics::counter!("connections_bounded_total", "bound" => bound)
}

#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// For the handshake of TLS, and for the header of the PROXY protocol.
    pub handshake: Duration,
    /// From the first byte of a head to its last.
    pub head: Duration,
    pub head_bytes: usize,
    pub head_fields: usize,
    pub target_bytes: usize,
    /// For each 64 kB of a body.
    pub body_part: Duration,
    /// For a whole body.
    pub body: Duration,
    /// For each 64 kB of an answer that the client has to take.
    pub answer_part: Duration,
    /// Without a request, after accepting the connection or after an answer.
    pub idle: Duration,
    pub requests_per_connection: u64,
    pub connections: usize,
    /// Of one address, without a believed token.
    pub connections_per_address: usize,
}
