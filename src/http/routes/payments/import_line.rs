//! A line of an import: a payment of another system, with its outcome and events.
//!
//! The payment has the same form as a submission. Errors must never contain a value.

use crate::decisions::imports::{PastEvent, PastPayment};
use crate::domain::card_check::{CheckedField, UncheckedFields};
use crate::domain::decision::{EvidenceVersion, IdempotencyKey};
use crate::domain::payment::PaymentOrder;
use crate::domain::payment_event::EventKind;
use crate::domain::plugin::Digest;
use crate::http::request::codecs::{
    Member, Parsed, items, named, object, one_of, optional, or, parsed, past_time,
};
use crate::http::request::declaration::body;
use crate::http::request::fields::{self, Context, Fields, Screened};
use crate::http::request::json::{self, Value};
use crate::http::request::line_error::LineError;
use crate::http::response::problem::PartError;
use crate::http::routes::payments::OutcomeShape;
use crate::http::routes::payments::body::not_stored_yet;
use crate::http::routes::payments::events::note;
use crate::storage::request_digest;

/// The beginning of the year 2000. Earlier times are probably in another unit.
const AT_MS_MIN: u64 = 946_684_800_000;
pub const EVENTS_MAX: usize = 100;

/// The kinds of events that can be imported. `Claimed` is excluded: a claim belongs to a person
/// who reviews payments in this system.
const KINDS: [EventKind; 8] = [
    EventKind::Approved,
    EventKind::Rejected,
    EventKind::Expired,
    EventKind::Cancelled,
    EventKind::Settled,
    EventKind::Failed,
    EventKind::Refunded,
    EventKind::Fraud,
];

#[derive(Debug)]
pub struct PastLine {
    pub payment: PastPayment,
    /// Reasons to refuse the line unless its payment is already stored.
    pub refused_now: Vec<LineError>,
}

/// What lines may contain.
#[derive(Debug, Clone, Copy)]
pub struct AcceptedLines {
    /// The fields that are exempt from the check for card numbers.
    pub unchecked: UncheckedFields,
    /// Must be able to hold the payments.
    pub version: EvidenceVersion,
}

impl AcceptedLines {
    /// Whatever can be stored, without card numbers.
    pub const USUAL: Self = Self { unchecked: UncheckedFields::NONE, version: EvidenceVersion::V3 };
}

/// Reads a line, and collects all errors. Times must not be after `now_ms`.
pub fn read(line: &[u8], now_ms: u64, accepted: AcceptedLines) -> Result<PastLine, Vec<LineError>> {
    let parsed = json::parse(line).map_err(|error| vec![error.into()])?;
    let Screened { value, mut refused_now } =
        fields::screen(&parsed, Context::of(accepted.unchecked, now_ms), past_payment)
            .map_err(|problem| line_errors(problem.errors))?;
    refused_now.extend(not_stored_yet(accepted.version, &value.order, "/payment"));
    let earlier_hash = Digest::of(identity(&parsed).as_bytes());
    Ok(PastLine { payment: PastPayment { earlier_hash, ..value }, refused_now: line_errors(refused_now) })
}

fn line_errors(errors: Vec<PartError>) -> Vec<LineError> {
    errors.into_iter().map(LineError::from).collect()
}

body! {
    for PastEvent as "ImportedPaymentEvent" {
        kind = one_of(&KINDS, EventKind::name),
        at_ms = past_time(AT_MS_MIN),
        note = note(),
    }
}

fn past_payment(fields: &mut Fields<'_>) -> Option<PastPayment> {
    let received_at_ms = past_time(AT_MS_MIN).read_from("received_at_ms", fields);
    if let Some(received_at_ms) = received_at_ms {
        fields.set_time(received_at_ms);
    }
    let order = fields.member("payment", &object::<PaymentOrder>());
    let outcome = fields.member("outcome", &named::<OutcomeShape>());
    let key = fields.member("key", &optional(idempotency_key()));
    let events = fields.member("events", &or(items(object::<PastEvent>(), EVENTS_MAX), Vec::new()));
    let reference = reference_of(fields);
    let key = key.map(|key| key.or_else(|| reference.and_then(IdempotencyKey::parse)));
    // A missing reference has an error of its own.
    if matches!(key, Some(None)) && reference.is_some() {
        fields.error(
            "key",
            "is required if the reference cannot be used as a key: 1 to 255 visible ASCII characters",
        );
    }
    let (order, received_at_ms, outcome) = (order?, received_at_ms?, outcome?);
    Some(PastPayment {
        key: key??,
        request_hash: request_digest::of_import(&order, received_at_ms, outcome),
        // The caller computes the hash from the whole line.
        earlier_hash: Digest::of(&[]),
        order,
        received_at_ms,
        outcome,
        events: events?,
    })
}

/// The payment's reference as written, even if the payment has errors.
fn reference_of<'a>(fields: &Fields<'a>) -> Option<&'a str> {
    let Some(Value::Object(payment)) = fields.value("payment") else { return None };
    let Some(Value::Text(reference)) = payment.members.get("reference") else { return None };
    Some(reference)
}

fn idempotency_key() -> Parsed<IdempotencyKey, &'static str> {
    let parse = |text: &str| IdempotencyKey::parse(text).ok_or("expected 1 to 255 visible ASCII characters");
    parsed(parse, |key| key.as_str().to_owned()).checked(CheckedField::IdempotencyKey)
}

/// The identity of a line in earlier releases: everything as written except its events, since later
/// imports may add some.
fn identity(line: &Value) -> String {
    let Value::Object(object) = line else { return String::new() };
    let member = |name: &str| object.members.get(name).map(Value::canonical).unwrap_or_default();
    format!("{}\n{}\n{}", member("payment"), member("received_at_ms"), member("outcome"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::verdict::Outcome;

    const NOW_MS: u64 = 1_790_000_000_000;

    fn line() -> Value {
        json!({
            "payment": {
                "reference": "INV-1", "amount_minor": 1234, "currency": "EUR", "method": "credit_transfer",
                "debtor": {"name": "Ada"}, "creditor": {"name": "Bob"}
            },
            "received_at_ms": NOW_MS - 1_000,
            "outcome": "approve",
            "events": [{"kind": "settled", "at_ms": NOW_MS}, {"kind": "fraud", "at_ms": NOW_MS, "note": "said so"}]
        })
    }

    fn read(line: &Value) -> Result<PastPayment, Vec<LineError>> {
        let read = read_as(EvidenceVersion::V3, line)?;
        if read.refused_now.is_empty() { Ok(read.payment) } else { Err(read.refused_now) }
    }

    fn read_as(version: EvidenceVersion, line: &Value) -> Result<PastLine, Vec<LineError>> {
        let accepted = AcceptedLines { version, ..AcceptedLines::USUAL };
        super::read(line.to_string().as_bytes(), NOW_MS, accepted)
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut changed = line();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        changed.pointer_mut(parent).expect(parent)[key] = value;
        changed
    }

    #[test]
    fn every_kind_of_event_but_a_claim_can_be_imported() {
        let other_kinds = EventKind::ALL.into_iter().filter(|kind| *kind != EventKind::Claimed);
        assert_eq!(KINDS.to_vec(), other_kinds.collect::<Vec<_>>());
    }

    #[test]
    fn a_line_is_read_with_its_reference_as_its_key() {
        let past = read(&line()).expect("good");
        assert_eq!((past.key.as_str(), past.outcome), ("INV-1", Outcome::Approve));
        assert_eq!(past.received_at_ms, NOW_MS - 1_000);
        let events: Vec<_> =
            past.events.iter().map(|event| (event.kind.name(), event.note.as_str())).collect();
        assert_eq!(events, [("settled", ""), ("fraud", "said so")]);
        assert_eq!(read(&with("/key", json!("k-1"))).expect("good").key.as_str(), "k-1");
        assert!(read(&with("/events/0/note", json!("n".repeat(500)))).is_ok());
        for without in [json!(null), json!([])] {
            assert_eq!(read(&with("/events", without)).expect("good").events, []);
        }
    }

    #[test]
    fn each_error_has_the_pointer_of_its_place_in_the_line() {
        for (pointer, value, at, detail) in [
            ("/payment/amount_minor", json!(0), "/payment/amount_minor", "from 1"),
            ("/payment/debtor/account", json!({"iban": "?"}), "/payment/debtor/account/iban", "IBAN"),
            ("/payment/nick", json!(1), "/payment/nick", "not a known field"),
            ("/payment/uetr", json!("?"), "/payment/uetr", "UUID of version 4"),
            (
                "/payment/signals",
                json!({"score": 0.000_000_1}),
                "/payment/signals/score",
                "at most 6 decimals",
            ),
            ("/payment", json!(null), "/payment", "is required"),
            ("/received_at_ms", json!(NOW_MS + 1), "/received_at_ms", "to 1790000000000"),
            ("/received_at_ms", json!(1_790_000_000), "/received_at_ms", "from 946684800000"),
            ("/outcome", json!("ok"), "/outcome", "approve, review or reject"),
            ("/key", json!("two words"), "/key", "1 to 255"),
            ("/payment/reference", json!("two words"), "/key", "is required"),
            ("/events/1/kind", json!("claimed"), "/events/1/kind", "settled, failed"),
            ("/events/0/at_ms", json!(NOW_MS + 1), "/events/0/at_ms", "whole number"),
            ("/events/0/note", json!("n".repeat(501)), "/events/0/note", "1 to 500"),
            ("/events", json!(7), "/events", "an array"),
            ("/extra", json!(1), "/extra", "not a known field"),
        ] {
            let errors = read(&with(pointer, value.clone())).expect_err(pointer);
            assert_eq!(errors.len(), 1, "{pointer} {value}: {errors:?}");
            assert_eq!(errors[0].pointer, at);
            assert!(errors[0].detail.contains(detail), "{errors:?}");
        }
        let mut two_errors = with("/payment/reference", json!("two words"));
        two_errors["payment"]["device"] = json!("");
        let errors = read(&two_errors).expect_err("a bad device, and no key");
        let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/payment/device", "/key"]);
        let errors =
            super::read(b"{\"payment\": secret}", NOW_MS, AcceptedLines::USUAL).expect_err("no JSON");
        let told = &errors[0].detail;
        assert!(told.contains("column 13") && !told.contains("secret"), "{errors:?}");
        assert_eq!(read_as(EvidenceVersion::V3, &json!([])).expect_err("no object").len(), 1);
    }

    #[test]
    fn a_member_that_the_nodes_do_not_store_yet_is_read_and_refused_now() {
        let newer = with("/payment/end_to_end_id", json!("NOTPROVIDED"));
        let read = read_as(EvidenceVersion::V2, &newer).expect("good");
        let [error] = &read.refused_now[..] else { panic!("{:?}", read.refused_now) };
        assert_eq!(error.pointer, "/payment/end_to_end_id");
        assert!(error.detail.contains("being upgraded"), "{error:?}");
        assert!(read_as(EvidenceVersion::V3, &newer).expect("good").refused_now.is_empty());
        assert!(read_as(EvidenceVersion::V2, &line()).expect("good").refused_now.is_empty());
    }

    #[test]
    fn later_events_leave_a_line_the_same_and_another_outcome_does_not() {
        let hash = |line: &Value| read(line).expect("good").request_hash;
        assert_eq!(hash(&with("/events", json!([]))), hash(&line()));
        assert_eq!(hash(&with("/key", json!("INV-1"))), hash(&line()));
        for (pointer, value) in [
            ("/outcome", json!("reject")),
            ("/received_at_ms", json!(NOW_MS - 2)),
            ("/payment/amount_minor", json!(1235)),
        ] {
            assert_ne!(hash(&with(pointer, value)), hash(&line()), "{pointer}");
        }
    }
}
