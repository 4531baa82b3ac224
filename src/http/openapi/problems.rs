//! Groups of problem kinds, for the responses that a route documents.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{Header, Ref, RefOr};

use crate::http::response::problem::ProblemKind;

fn responses(kinds: &[ProblemKind]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<&ProblemKind>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status().code).or_default().push(kind);
    }
    let respond = |(status, kinds): (u16, Vec<&ProblemKind>)| {
        let titles: Vec<String> =
            kinds.iter().map(|kind| format!("{}: `{}`", kind.title(), kind.address())).collect();
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new()
            .description(titles.join("; "))
            .content("application/problem+json", content);
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

/// Groups of responses. Each has the kinds after `with`, which any request may get.
macro_rules! problems {
    (with $($general:ident)*; $($(#[$meta:meta])* $group:ident: $($kind:ident)*;)*) => {
        problems!(@ [$(ProblemKind::$general,)*] $($(#[$meta])* $group: $($kind)*;)*);
    };
    (@ $general:tt $($(#[$meta:meta])* $group:ident: $($kind:ident)*;)*) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $group;

        impl IntoResponses for $group {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                let kinds: &[ProblemKind] = &[$(ProblemKind::$kind,)*];
                responses(&[kinds, &$general].concat())
            }
        }
    )*};
}

problems! {
    with Unauthenticated InsufficientScope RateLimited Internal Busy Deadline Unavailable;
    /// Reading a list that always exists.
    ListProblems: InvalidQuery CardNumber;
    /// Searching payments.
    SearchProblems: InvalidQuery CardNumber SearchIndexBuilding;
    /// Reading the list of a resource that may not exist.
    SublistProblems: InvalidQuery NotFound CardNumber;
    /// Reading a resource that always exists.
    CommonProblems: ;
    /// Reading one resource.
    ReadProblems: NotFound;
    /// Reading a decision, whose personal data may have been erased.
    ReadDecisionProblems: NotFound Erased;
    /// Erasing a payment.
    EraseProblems: MalformedRequest MalformedBody NotFound BodyTooLarge UnsupportedMediaType InvalidBody CardNumber;
    /// Replaying a decision; an imported one cannot be replayed.
    ReplayProblems: NotFound Conflict Erased;
    /// Submitting a payment.
    SubmitProblems: MalformedRequest MalformedBody InvalidIdempotencyKey StillDeciding BodyTooLarge
        UnsupportedMediaType InvalidBody CardNumber IdempotencyKeyReused Erased;
    /// Following the feed.
    FeedProblems: MalformedRequest TooManyStreams;
    /// Reporting a payment event.
    ReportEventProblems: MalformedRequest MalformedBody NotFound BodyTooLarge UnsupportedMediaType InvalidBody QuotaExceeded;
    /// Creating a resource from a JSON body.
    CreateProblems: MalformedRequest MalformedBody NotFound Conflict BodyTooLarge UnsupportedMediaType InvalidBody
        QuotaExceeded;
    /// Creating a backtest.
    CreateBacktestProblems: MalformedRequest MalformedBody NotFound BodyTooLarge UnsupportedMediaType InvalidBody QuotaExceeded;
    /// Changing a setting, which always exists.
    ChangeSettingProblems: MalformedRequest MalformedBody BodyTooLarge UnsupportedMediaType InvalidBody;
    /// Cancelling or closing a resource.
    CancelProblems: NotFound Conflict;
    /// Activating a revision, optionally guarded by a backtest.
    GuardedActivateProblems: MalformedRequest MalformedBody NotFound Conflict GuardRefused PluginsNotReady PreconditionFailed
        BodyTooLarge UnsupportedMediaType InvalidBody;
    /// Changing the deployment by a JSON body.
    ActivateProblems: MalformedRequest MalformedBody NotFound Conflict PluginsNotReady PreconditionFailed BodyTooLarge
        UnsupportedMediaType InvalidBody;
    /// Changing the deployment without a body.
    ActivateWithoutBodyProblems: MalformedRequest InvalidQuery NotFound Conflict PreconditionFailed CardNumber;
    /// Running a ruleset on a payment without storing the result.
    DryRunProblems: MalformedRequest MalformedBody NotFound Erased BodyTooLarge UnsupportedMediaType InvalidBody;
    /// Uploading a plugin.
    UploadProblems: MalformedRequest DigestMismatch BodyTooLarge UnsupportedMediaType PluginRefused QuotaExceeded;
    /// Uploading a version of a table.
    UploadRowsProblems: MalformedRequest InvalidQuery NotFound Conflict BodyTooLarge UnsupportedMediaType InvalidBody
        CardNumber QuotaExceeded;
    /// Making a version of a table valid.
    ActivateTableProblems: MalformedRequest MalformedBody NotFound Conflict PreconditionFailed BodyTooLarge
        UnsupportedMediaType InvalidBody;
    /// Approving or withdrawing a proposal, whose change may not be possible any more.
    ApproveProblems: PersonRequired SecondPersonRequired NotFound Conflict GuardRefused PluginsNotReady FactsNotReady
        PreconditionFailed Erased QuotaExceeded;
    /// Declining a proposal.
    DeclineProblems: MalformedRequest MalformedBody PersonRequired NotFound Conflict BodyTooLarge UnsupportedMediaType
        InvalidBody;
    /// Changing a review, without a body.
    ReviewProblems: PersonRequired NotFound Conflict;
    /// Deciding a review.
    DecideReviewProblems: MalformedRequest MalformedBody PersonRequired NotFound Conflict BodyTooLarge
        UnsupportedMediaType InvalidBody CardNumber;
    /// Changing how a tenant reviews.
    ReviewSettingsProblems: MalformedRequest MalformedBody BodyTooLarge UnsupportedMediaType InvalidBody;
    /// Retiring a plugin.
    RetireProblems: NotFound Conflict;
}

// Of people who are signing in, or who need no scope.
problems! {
    with Internal Busy Deadline Unavailable;
    /// Signing in.
    SignInProblems: MalformedRequest MalformedBody SignInFailed SecondFactorRequired BodyTooLarge
        UnsupportedMediaType InvalidBody CardNumber TooManyAttempts;
    /// Renewing a session.
    RenewProblems: MalformedRequest SessionEnded;
    /// Signing out.
    EndSessionProblems: MalformedRequest;
    /// What a browser reaches by navigation: what fails is told by the page.
    NavigationProblems: ;
    /// Setting a password with a link.
    SetPasswordProblems: MalformedRequest MalformedBody SignInFailed BodyTooLarge UnsupportedMediaType InvalidBody
        CardNumber;
    /// Reading what is the person's own.
    OwnProblems: Unauthenticated PersonRequired RateLimited;
    /// Changing what is the person's own, without a body.
    OwnResourceProblems: Unauthenticated PersonRequired NotFound Conflict RateLimited;
    /// Changing what is the person's own.
    OwnChangeProblems: MalformedRequest MalformedBody Unauthenticated SignInFailed PersonRequired NotFound Conflict
        BodyTooLarge UnsupportedMediaType InvalidBody CardNumber TooManyAttempts RateLimited;
}
