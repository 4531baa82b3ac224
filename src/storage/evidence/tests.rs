//! Tests of the stored form with golden bytes and with damaged bytes.

use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::domain::address::PostalAddress;
use crate::domain::comparison::COMPARISON_VERSION;
use crate::domain::decision::{EngineId, IdempotencyKey, Origin, RevisionReference, RuleEvidence};
use crate::domain::millionths::Millionths;
use crate::domain::money::{Currency, Money};
use crate::domain::party::{Account, Country, Iban, Party, UltimateParty};
use crate::domain::payment::{
    Card, ChargeBearer, Method, PayeeMatch, PayeeVerification, Payment, PaymentId, PaymentOrder, Uetr,
};
use crate::domain::plugin::Profile;
use crate::domain::ruleset::Mode;
use crate::domain::selector::Fact;
use crate::domain::signal::Signal;
use crate::domain::tenant::{ClientId, TenantId};
use crate::domain::verdict::{
    Evaluation, FailureClass, FailureOutcome, Outcome, OutcomeReason, Reason, RuleResult, Verdict,
};

/// Evidence with everything that version 2 can hold, and with a rule for every kind of result.
fn evidence_of_version_2() -> Evidence {
    Evidence {
        payment: Arc::new(payment_of_version_2()),
        revision: Some(RevisionReference { number: 300, digest: Digest([7; 32]) }),
        rules: vec![
            rule(
                "all-verdicts",
                Some(RuleResult::Ran(Evaluation {
                    verdict: Verdict::Reject(vec![reason("too-much")]),
                    notes: vec!["a note".to_owned()],
                })),
            ),
            rule("passes", Some(RuleResult::Ran(Evaluation { verdict: Verdict::Pass, notes: vec![] }))),
            rule(
                "fails",
                Some(RuleResult::Failed { class: FailureClass::OutOfFuel, detail: "at 0x10".to_owned() }),
            ),
            rule("quarantined", Some(RuleResult::Quarantined)),
            rule("unavailable", Some(RuleResult::Unavailable)),
            rule("shadow", None),
        ],
        engine: EngineId("wasmtime 48.0.8 a1b2".to_owned()),
        fold_version: 1,
        reasons: vec![OutcomeReason {
            rule: "all-verdicts".to_owned(),
            verdict: "reject".to_owned(),
            reason: reason("too-much"),
            overridden: false,
        }],
        comparison_version: 2,
    }
}

fn payment_of_version_2() -> Payment {
    let amount = Money::new(123_456, Currency::parse("EUR").expect("EUR")).expect("in range");
    let debtor = Party {
        account: Some(Account::Iban(Iban::parse("DE89370400440532013000").expect("IBAN"))),
        bank: Some("COBADEFFXXX".to_owned()),
        country: Some(country("DE")),
        ..Party::named("José García")
    };
    let creditor = Party { account: Some(Account::Other("42-7".to_owned())), ..Party::named("Acme") };
    Payment {
        id: PaymentId(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0001)),
        received_at_ms: 1_732_000_000_123,
        order: PaymentOrder {
            customer: Some("c-1".to_owned()),
            merchant: Some("m-1".to_owned()),
            card: Some(Card {
                fingerprint: "fp-1".to_owned(),
                bin: Some("411111".to_owned()),
                country: Some(country("FR")),
            }),
            device: Some("d-1".to_owned()),
            ip: Some("2001:db8::1".parse().expect("address")),
            requested_at_ms: Some(1_732_000_000_000),
            purpose: Some("SALA".to_owned()),
            remittance: Some("thanks".to_owned()),
            metadata: vec![("channel".to_owned(), "web".to_owned())],
            ..PaymentOrder::of("invoice 17", amount, debtor, creditor, Method::CreditTransfer)
        },
    }
}

fn country(code: &str) -> Country {
    Country::parse(code).expect("country")
}

/// Evidence with every optional member.
fn full_evidence() -> Evidence {
    let mut payment = payment_of_version_2();
    let order = &mut payment.order;
    order.debtor.address = Some(address());
    order.creditor.address = Some(PostalAddress { address_lines: vec![], ..address() });
    order.ultimate_debtor = Some(ultimate("Ann"));
    order.ultimate_creditor = Some(UltimateParty { address: None, ..ultimate("Bob") });
    order.intermediary_agents = vec!["DEUTDEFF".to_owned(), "20-20-15".to_owned()];
    order.merchant_category = Some("5411".to_owned());
    order.end_to_end_id = Some("NOTPROVIDED".to_owned());
    order.uetr = Uetr::parse("eb6305c9-1f7f-49de-aed0-16487c27b42d").ok();
    order.charge_bearer = Some(ChargeBearer::Shared);
    order.payee_verification = Some(PayeeVerification {
        outcome: PayeeMatch::CloseMatch,
        suggested_name: Some("Acme Ltd".to_owned()),
    });
    order.signals = vec![
        ("label".to_owned(), Signal::Word("high".to_owned())),
        ("score".to_owned(), Signal::Number(Millionths(-1_500_000))),
    ];
    Evidence { payment: Arc::new(payment), ..evidence_of_version_2() }
}

fn ultimate(name: &str) -> UltimateParty {
    UltimateParty {
        name: name.to_owned(),
        account: Some(Account::Other("7".to_owned())),
        country: Some(country("GB")),
        address: Some(address()),
    }
}

/// Each text is the name of its member.
fn address() -> PostalAddress {
    let text = |text: &str| Some(text.to_owned());
    PostalAddress {
        department: text("department"),
        sub_department: text("sub-department"),
        street_name: text("street"),
        building_number: text("number"),
        building_name: text("building"),
        floor: text("floor"),
        post_box: text("box"),
        room: text("room"),
        post_code: text("code"),
        town_name: "town".to_owned(),
        town_location_name: text("location"),
        district_name: text("district"),
        country_sub_division: text("division"),
        country: country("DE"),
        address_lines: vec!["line 1".to_owned(), "line 2".to_owned()],
    }
}

fn rule(name: &str, result: Option<RuleResult>) -> RuleEvidence {
    RuleEvidence {
        name: name.to_owned(),
        plugin: Digest([9; 32]),
        profile: Profile::Small,
        on_failure: FailureOutcome::Review,
        overridable: true,
        mode: if result.is_some() { Mode::Live } else { Mode::Shadow },
        facts: vec![Fact::Absent, Fact::Listed(true), Fact::Velocity { count: 3, total_minor: 900 }],
        result,
        fuel_used: 1_000_000,
        elapsed_us: 12,
    }
}

fn reason(code: &str) -> Reason {
    Reason {
        code: code.to_owned(),
        message: "More than allowed.".to_owned(),
        field: Some("/amount".to_owned()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.trim().as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("hex"), 16).expect("hex")).collect()
}

/// If this fails, stored decisions can no longer be read. Add a payload version; do not change the
/// expected values.
#[test]
fn the_stored_form_of_version_1_is_read_for_ever() {
    let stored = unhex(include_str!("version_1.hex"));
    let expected = Evidence { comparison_version: 1, ..evidence_of_version_2() };
    assert_eq!(decode(1, &stored).expect("decodes"), expected);
    assert_eq!(
        payload_digest(&[3; 16], 1, &stored).to_string(),
        "e4d8ae135700026a988460838e252e98950444f4de90a107418741f01effa6d5"
    );
    assert!(decode(2, &stored).is_err(), "taken for the next version");
}

#[test]
fn the_stored_form_of_version_2_never_changes() {
    let stored = encode(EvidenceVersion::V2, &evidence_of_version_2()).expect("encodes");
    assert_eq!(hex(&stored), include_str!("version_2.hex").trim());
    assert_eq!(decode(2, &stored).expect("decodes"), evidence_of_version_2());
    assert!(decode(1, &stored).is_err(), "taken for the one before");
    assert!(decode(3, &stored).is_err(), "taken for the next version");
}

#[test]
fn the_stored_form_of_version_3_never_changes() {
    assert_eq!(COMPARISON_VERSION, 2, "evidence stored from now on says how its values were compared");
    let stored = encode(EvidenceVersion::V3, &full_evidence()).expect("encodes");
    assert_eq!(hex(&stored), include_str!("version_3.hex").trim());
    assert_eq!(decode(3, &stored).expect("decodes"), full_evidence());
    assert!(decode(2, &stored).is_err(), "taken for the one before");
    let old = encode(EvidenceVersion::V3, &evidence_of_version_2()).expect("encodes");
    assert_eq!(decode(3, &old).expect("decodes"), evidence_of_version_2());
}

#[test]
fn version_2_names_each_member_that_it_cannot_hold_and_never_drops_one() {
    type AddMember = fn(&mut PaymentOrder, &PaymentOrder);
    let new: [(&str, AddMember); 11] = [
        ("/debtor/address", |order, full| order.debtor.address = full.debtor.address.clone()),
        ("/creditor/address", |order, full| order.creditor.address = full.creditor.address.clone()),
        ("/ultimate_debtor", |order, full| order.ultimate_debtor = full.ultimate_debtor.clone()),
        ("/ultimate_creditor", |order, full| order.ultimate_creditor = full.ultimate_creditor.clone()),
        ("/intermediary_agents", |order, full| order.intermediary_agents = full.intermediary_agents.clone()),
        ("/merchant_category", |order, full| order.merchant_category = full.merchant_category.clone()),
        ("/end_to_end_id", |order, full| order.end_to_end_id = full.end_to_end_id.clone()),
        ("/uetr", |order, full| order.uetr = full.uetr),
        ("/charge_bearer", |order, full| order.charge_bearer = full.charge_bearer),
        ("/payee_verification", |order, full| order.payee_verification = full.payee_verification.clone()),
        ("/signals", |order, full| order.signals = full.signals.clone()),
    ];
    let (full, mut together) = (full_evidence().payment.order.clone(), payment_of_version_2().order);
    assert_eq!(EvidenceVersion::V2.lacks(&together), Vec::<&str>::new());
    for (member, add) in new {
        let mut payment = payment_of_version_2();
        add(&mut payment.order, &full);
        add(&mut together, &full);
        assert_eq!(EvidenceVersion::V2.lacks(&payment.order), [member]);
        let evidence = Evidence { payment: Arc::new(payment), ..evidence_of_version_2() };
        assert!(encode(EvidenceVersion::V2, &evidence).is_err(), "{member}");
    }
    assert_eq!(together, full, "a member that is not tried here");
    assert_eq!(EvidenceVersion::V3.lacks(&full), Vec::<&str>::new());
}

/// The golden evidence does not contain every variant, so their numbers are checked here.
#[test]
fn the_order_of_stored_variants_never_changes() {
    use FailureClass::{Deadline, Host, InvalidAnswer, MemoryLimit, OutOfFuel, RuleError};
    use FailureClass::{StackOverflow, Trap, Unreachable};
    let failures =
        [Unreachable, Trap, OutOfFuel, MemoryLimit, RuleError, InvalidAnswer, StackOverflow, Deadline, Host];
    assert_eq!(bytes_of(&failures), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(bytes_of(&Method::ALL), [0, 1, 2, 3, 4, 5]);
    assert_eq!(bytes_of(&(ChargeBearer::ALL, PayeeMatch::ALL)), [0, 1, 2, 3, 0, 1, 2, 3]);
    let verdicts = (Verdict::Pass, Verdict::Allow(vec![]), Verdict::Review(vec![]), Verdict::Reject(vec![]));
    assert_eq!(bytes_of(&verdicts), [0, 1, 0, 2, 0, 3, 0]);
    let counts_as = [FailureOutcome::Pass, FailureOutcome::Review, FailureOutcome::Reject];
    assert_eq!(bytes_of(&counts_as), [0, 1, 2]);
    assert_eq!(bytes_of(&([Profile::Small, Profile::Large], [Mode::Live, Mode::Shadow])), [0, 1, 0, 1]);
}

fn bytes_of(value: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("encodes")
}

#[test]
fn damaged_bytes_are_unreadable_and_never_panic() {
    for (version, evidence) in
        [(EvidenceVersion::V2, evidence_of_version_2()), (EvidenceVersion::V3, full_evidence())]
    {
        let stored = encode(version, &evidence).expect("encodes");
        let decode = |bytes: &[u8]| decode(version.number(), bytes);
        for length in 0..stored.len() {
            assert!(decode(&stored[..length]).is_err(), "cut at {length}");
        }
        for place in 0..stored.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = stored.clone();
                damaged[place] ^= flip;
                // Changed text may still be decoded. Only the digest detects the change.
                let _ = decode(&damaged);
            }
        }
        assert!(decode(&[stored.as_slice(), &[0]].concat()).is_err(), "a byte too many");
        assert!(decode(&[0xff; 4096]).is_err());
    }
    let stored = encode(EvidenceVersion::V3, &full_evidence()).expect("encodes");
    assert!(decode(4, &stored).is_err(), "a version of the future");
}

#[test]
fn the_salt_and_every_byte_change_the_payload_digest() {
    let digest = payload_digest(&[1; 16], 1, b"payload");
    assert_ne!(digest, payload_digest(&[2; 16], 1, b"payload"));
    assert_ne!(digest, payload_digest(&[1; 16], 2, b"payload"));
    assert_ne!(digest, payload_digest(&[1; 16], 1, b"paylaod"));
}

/// If this fails, stored decisions can no longer be verified.
#[test]
fn the_digest_of_a_decision_never_changes() {
    let mut decision = Decision {
        tenant: TenantId(Uuid::from_u128(1)),
        client: ClientId(Uuid::from_u128(2)),
        key: IdempotencyKey::parse("order-17").expect("a key"),
        request_hash: Digest([4; 32]),
        origin: Origin::Api,
        outcome: Outcome::Reject,
        evidence: evidence_of_version_2(),
    };
    let digest_of = |decision: &Decision| decision_digest(decision, 1, &Digest([5; 32])).to_string();
    let with_revision = digest_of(&decision);
    decision.evidence.revision = None;
    assert_eq!(with_revision, "b2cf2e3fb6785ba972b838151bb692a803dfb00f329b6cd94c5222d7f5c104c9");
    assert_eq!(digest_of(&decision), "cad763e181429b6350bba253bed58a15cf587c194f012f92f67785f3902baf45");
}
