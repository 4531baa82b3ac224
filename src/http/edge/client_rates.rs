//! Rate limits of clients, and the header fields `RateLimit` and `RateLimit-Policy`
//! (draft-ietf-httpapi-ratelimit-headers-11).
//!
//! Must never wait or query the database: every request passes here.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use rocket::Response;
use rocket::http::Header;
use uuid::Uuid;

use crate::domain::token_buckets::{BucketAnswer, Rate, TokenBuckets};

/// About 5 MB at most: 50 bytes for each client that sent a request within its window.
const CLIENTS_MAX: usize = 100_000;

/// The limits on this node. Each node counts separately.
#[derive(Debug)]
pub struct ClientRates {
    requests_per_s: u32,
    burst: u32,
    buckets: TokenBuckets<Uuid>,
}

impl ClientRates {
    /// The limit for clients that have no limit of their own. Zero means no limit. A burst is at
    /// least the requests of one second.
    pub fn new(requests_per_s: u32, burst: u32) -> Self {
        Self { requests_per_s, burst, buckets: TokenBuckets::new(CLIENTS_MAX) }
    }

    /// Counts one request of a client or a user. `None` if there is no limit.
    pub fn count(&self, caller: Uuid, own_per_s: Option<u32>, now: Instant) -> Option<RateLimit> {
        let per_s = NonZeroU32::new(own_per_s.unwrap_or(self.requests_per_s))?;
        let rate = Rate::per_second(per_s, self.burst);
        Some(RateLimit { rate, taken: self.buckets.take(caller, rate, now) })
    }
}

/// A client's limit after a request was counted.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    rate: Rate,
    taken: BucketAnswer,
}

impl RateLimit {
    /// In how many seconds the client may send its next request, if this one exceeds the limit.
    pub fn retry_after_s(&self) -> Option<u32> {
        match self.taken {
            BucketAnswer::Token { .. } => None,
            BucketAnswer::Nothing { next_in } => Some(whole_seconds(next_in)),
        }
    }

    /// The policy is the burst and the time in which it refills. `t` is the time in which the
    /// remaining requests would refill: a client that spreads them over that time keeps to its
    /// rate. If none remain, `t` equals `Retry-After`.
    pub fn set_headers(&self, response: &mut Response<'_>) {
        let (left, time) = match self.taken {
            BucketAnswer::Token { left } => (left, self.rate.time_of(left)),
            BucketAnswer::Nothing { next_in } => (0, next_in),
        };
        let (quota, window) = (self.rate.burst(), whole_seconds(self.rate.window()));
        let policy = format!("\"client\";q={quota};w={window}");
        let limit = format!("\"client\";r={left};t={}", whole_seconds(time));
        response.set_header(Header::new("RateLimit-Policy", policy));
        response.set_header(Header::new("RateLimit", limit));
    }
}

/// Rounded up, and at least one: with zero a client would retry at once.
pub fn whole_seconds(time: Duration) -> u32 {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(limit: &RateLimit) -> [String; 2] {
        let mut response = Response::new();
        limit.set_headers(&mut response);
        ["RateLimit-Policy", "RateLimit"].map(|name| response.headers().get_one(name).expect(name).to_owned())
    }

    #[test]
    fn the_fields_contain_the_policy_and_the_remaining_requests() {
        let client = Uuid::from_u128;
        let now = Instant::now();
        for (per_s, burst, requests, policy, limit) in [
            (100, 0, 1, r#""client";q=100;w=1"#, r#""client";r=99;t=1"#),
            (100, 250, 1, r#""client";q=250;w=3"#, r#""client";r=249;t=3"#),
            (100, 250, 200, r#""client";q=250;w=3"#, r#""client";r=50;t=1"#),
            (3, 0, 3, r#""client";q=3;w=1"#, r#""client";r=0;t=1"#),
            (3, 0, 4, r#""client";q=3;w=1"#, r#""client";r=0;t=1"#),
            (1, 60, 61, r#""client";q=60;w=60"#, r#""client";r=0;t=1"#),
        ] {
            let rates = ClientRates::new(per_s, burst);
            let counted = (0..requests).filter_map(|_| rates.count(client(1), None, now)).last();
            assert_eq!(headers(&counted.expect("a limit")), [policy, limit], "{per_s} {burst} {requests}");
        }
    }

    #[test]
    fn a_client_s_own_rate_overrides_the_setting_and_zero_is_no_limit() {
        let client = Uuid::nil();
        let now = Instant::now();
        for (setting, own, expected) in [
            (0, None, None),
            (0, Some(0), None),
            (5, Some(0), None),
            (5, None, Some(5)),
            (5, Some(7), Some(7)),
            (0, Some(7), Some(7)),
        ] {
            let counted = ClientRates::new(setting, 0).count(client, own, now);
            assert_eq!(counted.map(|limit| limit.rate.burst()), expected, "{setting} {own:?}");
        }
    }

    #[test]
    fn a_refused_request_has_a_time_to_retry() {
        let rates = ClientRates::new(1, 0);
        let (client, now) = (Uuid::nil(), Instant::now());
        let count = |now| rates.count(client, None, now).expect("a limit").retry_after_s();
        assert_eq!(count(now), None);
        assert_eq!(count(now), Some(1));
        assert_eq!(count(now + Duration::from_secs(1)), None);
    }
}
