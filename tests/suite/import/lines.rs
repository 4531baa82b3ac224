//! Lines of an import: notations, codes that were valid at the time, card numbers, and values that
//! are refused now.

use serde_json::{Value, json};

use super::{DAY_MS, HistoryFile, count, find_imported, line, texts};
use crate::support::database::TestDatabase;
use crate::support::decisions::now_ms;
use crate::support::program::{Program, run_command, tollgate_on};

fn with_changes(line: &Value, changes: &[(&str, Value)]) -> Value {
    let mut changed = line.clone();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    changed
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_checked_as_of_the_payments_time() {
    let database = TestDatabase::create().await;
    let node = Program::serve(&database).await;
    let caller = node.caller_of_new_tenant(&database, "acme").await;
    let codes = [
        // The code, the last millisecond in which it was valid, and its field.
        ("BGN", 1_767_225_599_999_u64, "/payment/currency"),
        ("HRK", 1_672_531_199_999, "/payment/currency"),
        ("ANG", 1_743_465_599_999, "/payment/currency"),
        ("SLL", 1_704_067_199_999, "/payment/currency"),
        ("ZWL", 1_725_148_799_999, "/payment/currency"),
        ("DEM", 1_014_940_799_999, "/payment/currency"),
        ("VEF", 1_534_809_599_999, "/payment/currency"),
        ("AN", 1_292_371_199_999, "/payment/debtor/country"),
        ("YU", 1_058_918_399_999, "/payment/creditor/country"),
    ];
    let line_of = |(code, at_ms, pointer): &(&str, u64, &str), after_ms: u64| {
        let line = line(&format!("{code}-{after_ms}"), at_ms + after_ms);
        with_changes(&line, &[(pointer, json!(code)), ("/events", json!([]))]).to_string()
    };
    let mut lines: Vec<String> = codes.iter().map(|code| line_of(code, 0)).collect();
    let good = lines.len();
    lines.extend(codes.iter().map(|code| line_of(code, 1)));
    for code in ["UK", "ZZ", "SU"] {
        lines.push(
            with_changes(&line(code, now_ms() - DAY_MS), &[("/payment/debtor/country", json!(code))])
                .to_string(),
        );
    }
    let (status, output, log) = HistoryFile::of(&lines).import(&database, &[]);
    assert_eq!(status.code(), Some(1), "{output}\n{log}");
    assert!(
        output.contains(&format!("{good} stored, 0 already stored, {} refused", good + 3)),
        "{output}\n{log}"
    );
    assert!(log.contains("line 10: /payment/currency: ") && log.contains("has been withdrawn"), "{log}");
    assert!(
        log.contains("/payment/debtor/country: expected an upper-case ISO 3166-1 alpha-2 country code"),
        "{log}"
    );
    for (code, _, pointer) in codes {
        let decision = find_imported(&caller, &format!("{code}-0")).await;
        assert_eq!(decision.pointer(pointer), Some(&json!(code)), "{decision}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_payment_in_another_notation_is_already_stored() {
    let database = TestDatabase::create().await;
    let node = Program::serve(&database).await;
    let _caller = node.caller_of_new_tenant(&database, "acme").await;
    let first = line("H-1", now_ms() - DAY_MS);
    assert!(HistoryFile::of(&texts(std::slice::from_ref(&first))).import(&database, &[]).0.success());
    let same = [
        with_changes(&first, &[("/payment/device", Value::Null)]),
        with_changes(&first, &[("/payment/debtor/account/iban", json!("de89 3704 0044 0532 0130 00"))]),
    ];
    let (status, output, log) = HistoryFile::of(&texts(&same)).import(&database, &[]);
    assert!(status.success() && output.contains("0 stored, 2 already stored, 0 refused"), "{output}\n{log}");
    let other = with_changes(&first, &[("/payment/debtor/name", json!("ann jones"))]);
    let (_, output, log) = HistoryFile::of(&texts(&[other])).import(&database, &[]);
    assert!(output.contains("0 already stored, 1 refused"), "{output}\n{log}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_with_a_card_number_is_refused_unless_the_field_is_unchecked_or_it_is_stored() {
    let database = TestDatabase::create().await;
    let node = Program::serve(&database).await;
    let _caller = node.caller_of_new_tenant(&database, "acme").await;
    let number = "4111 1111 1111 1111";
    let customer = with_changes(&line("H-1", now_ms() - DAY_MS), &[("/payment/customer", json!(number))]);
    let note = with_changes(&line("H-2", now_ms() - DAY_MS), &[("/events/0/note", json!(number))]);
    let history = HistoryFile::of(&texts(&[customer, note]));
    for arguments in [&["--strict"][..], &[]] {
        let (status, output, log) = history.import(&database, arguments);
        assert_eq!(status.code(), Some(1), "{output}\n{log}");
        for place in ["line 1: /payment/customer: looks like", "line 2: /events/0/note: looks like"] {
            assert!(log.contains(place), "{log}");
        }
        assert!(!log.contains("4111") && !output.contains("4111"), "{output}\n{log}");
    }
    assert_eq!(count(&database, "decisions").await, 0);
    let switch = |state| {
        let arguments = ["tenant", "card-check", "--tenant", "acme", "--field", "customer", state];
        assert!(run_command(tollgate_on(&database, &arguments)).0.success());
    };
    switch("off");
    let (_, output, log) = history.import(&database, &[]);
    assert!(output.contains("1 stored, 0 already stored, 1 refused"), "{output}\n{log}");
    switch("on");
    let (_, output, log) = history.import(&database, &[]);
    assert!(output.contains("0 stored, 1 already stored, 1 refused"), "{output}\n{log}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_refused_now_but_was_stored_earlier_is_already_stored() {
    let database = TestDatabase::create().await;
    let node = Program::serve(&database).await;
    let _caller = node.caller_of_new_tenant(&database, "acme").await;
    let good = line("H-1", now_ms() - DAY_MS);
    assert!(HistoryFile::of(&texts(std::slice::from_ref(&good))).import(&database, &[]).0.success());
    let mut superuser = database.superuser().await;
    for (pointer, value) in [
        ("/payment/debtor/country", json!("UK")),
        ("/payment/currency", json!("BGN")),
        ("/payment/debtor/account/iban", json!("DE4111111111111111")),
    ] {
        let refused_now = with_changes(&good, &[(pointer, value)]);
        let history = HistoryFile::of(&texts(std::slice::from_ref(&refused_now)));
        // The hash of a release that compared payments by their text.
        let member = |name: &str| refused_now[name].to_string();
        let identity = format!("{}\n{}\n{}", member("payment"), member("received_at_ms"), member("outcome"));
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, identity.as_bytes());
        for statement in [
            "update tollgate.decisions set request_hash = $1 where idempotency_key = 'H-1'",
            "update tollgate.idempotency_keys set request_hash = $1 where key = 'H-1'",
        ] {
            let update = sqlx::query(statement).bind(hash.as_ref().to_vec());
            assert_eq!(update.execute(&mut superuser).await.unwrap().rows_affected(), 1);
        }
        for arguments in [&[][..], &["--strict"]] {
            let (status, output, log) = history.import(&database, arguments);
            let reported = output.contains("0 stored, 1 already stored, 0 refused");
            assert!(status.success() && reported, "{pointer} {arguments:?}: {output}\n{log}");
        }
    }
    node.stop().await;
}
