//! How many requests a client may send, and how it is told.
//!
//! Owns which rate holds for a token, and the header fields `RateLimit` and
//! `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11). Must never
//! wait or ask the database: it is on the way of every request.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use rocket::Response;
use rocket::http::Header;

use crate::domain::tenant::ClientId;
use crate::domain::token_buckets::{Rate, Taken, TokenBuckets};
use crate::http::response::problem::{Kind, Problem};

/// About 50 bytes each, and only for clients that sent something within their window.
const CLIENTS_MAX: usize = 100_000;

/// The limits of this node; other nodes count for themselves.
#[derive(Debug)]
pub struct ClientRates {
    requests_per_s: u32,
    burst: u32,
    buckets: TokenBuckets<ClientId>,
}

impl ClientRates {
    /// For clients without a rate of their own; zero is no limit. A burst below a second's worth is one.
    pub fn new(requests_per_s: u32, burst: u32) -> Self {
        Self { requests_per_s, burst, buckets: TokenBuckets::new(CLIENTS_MAX) }
    }

    /// Counts one request; `None` for a client without a limit.
    pub fn count(&self, client: ClientId, own_per_s: Option<u32>, now: Instant) -> Option<Allowance> {
        let per_s = NonZeroU32::new(own_per_s.unwrap_or(self.requests_per_s))?;
        let rate = Rate::per_second(per_s, self.burst);
        Some(Allowance { rate, taken: self.buckets.take(client, rate, now) })
    }
}

/// What is left to a client after a request.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    rate: Rate,
    taken: Taken,
}

impl Allowance {
    pub fn check(&self) -> Result<(), Problem> {
        let Taken::Nothing { next_in } = self.taken else { return Ok(()) };
        metrics::counter!("http_requests_rate_limited_total").increment(1);
        let detail = "The client exceeded its request rate. The request was not processed.";
        let problem = Problem::new(Kind::RateLimited, detail);
        Err(Problem { retry_after_seconds: Some(whole_seconds(next_in)), ..problem })
    }

    /// The policy is the burst and the time it takes to come again. `t` says in
    /// how many seconds the rest would come again, so that a client which spreads
    /// it over them keeps to its rate; at zero it is the same as `Retry-After`.
    pub fn tell(&self, response: &mut Response<'_>) {
        let (left, time) = match self.taken {
            Taken::Token { left } => (left, self.rate.time_of(left)),
            Taken::Nothing { next_in } => (0, next_in),
        };
        let (quota, window) = (self.rate.burst(), whole_seconds(self.rate.window()));
        let policy = format!("\"client\";q={quota};w={window}");
        let limit = format!("\"client\";r={left};t={}", whole_seconds(time));
        response.set_header(Header::new("RateLimit-Policy", policy));
        response.set_header(Header::new("RateLimit", limit));
    }
}

/// Rounded up, and at least one: no time to wait would be an invitation.
pub fn whole_seconds(time: Duration) -> u32 {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn told(allowance: &Allowance) -> [String; 2] {
        let mut response = Response::new();
        allowance.tell(&mut response);
        ["RateLimit-Policy", "RateLimit"].map(|name| response.headers().get_one(name).expect(name).to_owned())
    }

    #[test]
    fn the_fields_tell_the_policy_and_what_is_left() {
        let client = |number| ClientId(Uuid::from_u128(number));
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
            assert_eq!(told(&counted.expect("a limit")), [policy, limit], "{per_s} {burst} {requests}");
        }
    }

    #[test]
    fn a_client_s_own_rate_stands_above_the_setting_and_zero_is_no_limit() {
        let client = ClientId(Uuid::nil());
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
            assert_eq!(counted.map(|allowance| allowance.rate.burst()), expected, "{setting} {own:?}");
        }
    }

    #[test]
    fn what_is_refused_says_when_to_come_again() {
        let rates = ClientRates::new(1, 0);
        let (client, now) = (ClientId(Uuid::nil()), Instant::now());
        let count = |now| rates.count(client, None, now).expect("a limit").check();
        assert_eq!(count(now), Ok(()));
        let problem = count(now).expect_err("refused");
        assert_eq!((problem.kind, problem.retry_after_seconds), (Kind::RateLimited, Some(1)));
        assert_eq!(count(now + Duration::from_secs(1)), Ok(()));
    }
}
