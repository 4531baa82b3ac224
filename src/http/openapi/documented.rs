//! Which problems a route documents.
//!
//! Owns the groups of kinds that routes have in common. Must never list a
//! kind by its number: status and text come from the kind itself.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{Header, Ref, RefOr};

use crate::http::response::problem::Kind;

fn responses(kinds: &[Kind]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<&Kind>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status().code).or_default().push(kind);
    }
    let respond = |(status, kinds): (u16, Vec<&Kind>)| {
        let told: Vec<String> =
            kinds.iter().map(|kind| format!("{}: `/problems/{}`", kind.title(), kind.slug())).collect();
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response =
            ResponseBuilder::new().description(told.join("; ")).content("application/problem+json", content);
        let headers: &[&str] = match status {
            429 => &["Retry-After", "RateLimit-Policy", "RateLimit"],
            _ => &[],
        };
        let response =
            headers.iter().fold(response, |response, name| response.header(*name, Header::default()));
        (status.to_string(), RefOr::T(response.build()))
    };
    by_status.into_iter().map(respond).collect()
}

macro_rules! problems {
    ($($(#[$words:meta])* $group:ident: $($kind:ident)*;)*) => {$(
        $(#[$words])*
        #[derive(Debug)]
        pub struct $group;

        impl IntoResponses for $group {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                responses(&[
                    $(Kind::$kind,)*
                    Kind::Unauthenticated, Kind::InsufficientScope, Kind::RateLimited,
                    Kind::Internal, Kind::Busy, Kind::Deadline, Kind::Unavailable,
                ])
            }
        }
    )*};
}

problems! {
    /// Reading a list.
    Listing: InvalidQuery CardNumber;
    /// Reading a list of something that may not be there.
    ListingOf: InvalidQuery NotFound CardNumber;
    /// Reading what is always there.
    ReadingWhole: ;
    /// Reading one resource.
    Reading: NotFound;
    /// Reading a decision, whose payload may be gone.
    ReadingDecision: NotFound Erased;
    /// Computing a decision again, where one was computed.
    Replaying: NotFound Conflict Erased;
    /// Submitting a payment.
    Submitting: MalformedRequest MalformedBody InvalidIdempotencyKey StillDeciding BodyTooLarge
        UnsupportedMediaType InvalidBody CardNumber IdempotencyKeyReused;
    /// Following what happens.
    Following: MalformedRequest TooManyStreams;
    /// Telling what became of something.
    Telling: MalformedRequest MalformedBody NotFound BodyTooLarge UnsupportedMediaType InvalidBody QuotaExceeded;
    /// Making something from a JSON body.
    Creating: MalformedRequest MalformedBody NotFound Conflict BodyTooLarge UnsupportedMediaType InvalidBody
        QuotaExceeded;
    /// Asking for a backtest.
    Backtesting: MalformedRequest MalformedBody NotFound BodyTooLarge UnsupportedMediaType InvalidBody QuotaExceeded;
    /// Ending something.
    Cancelling: NotFound Conflict;
    /// Activating a revision, maybe under a guard.
    GuardedActivating: MalformedRequest MalformedBody NotFound Conflict GuardRefused PluginsNotReady PreconditionFailed
        BodyTooLarge UnsupportedMediaType InvalidBody;
    /// Changing what decides or runs beside it, by a JSON body.
    Activating: MalformedRequest MalformedBody NotFound Conflict PluginsNotReady PreconditionFailed BodyTooLarge
        UnsupportedMediaType InvalidBody;
    /// The same without a body.
    Deploying: MalformedRequest InvalidQuery NotFound Conflict PreconditionFailed CardNumber;
    /// Trying a ruleset on a payment.
    DryRunning: MalformedRequest MalformedBody NotFound Erased BodyTooLarge UnsupportedMediaType InvalidBody;
    /// Uploading a plugin.
    Uploading: MalformedRequest DigestMismatch BodyTooLarge UnsupportedMediaType PluginRefused QuotaExceeded;
    /// Retiring a plugin.
    Retiring: NotFound Conflict;
}
