//! Tables of values and their canonical forms.

use super::*;

/// A kind, spellings of one value, and their form.
const FORMS: &[(ValueKind, &[&str], &str)] = &[
    (
        ValueKind::Account,
        &[
            "GB33BUKB20201555555555",
            "gb33 bukb 2020 1555 5555 55",
            "GB33\u{a0}BUKB\u{a0}2020\u{a0}1555\u{a0}5555\u{a0}55",
            "GB33\u{202f}BUKB\u{2009}2020 1555 5555 55",
            "GB33-BUKB-2020-1555-5555-55",
            "GB33–BUKB—2020‐1555\u{2011}5555−55",
            "\u{feff}GB33BUKB2020\u{200b}1555555555",
            "ＧＢ３３ＢＵＫＢ２０２０１５５５５５５５５５",
            "\tGb33 bUkB 20201555555555\n",
        ],
        "GB33BUKB20201555555555",
    ),
    (ValueKind::Account, &["GB33 BUKB", "gb33-bukb", "GB33BUKB"], "GB33BUKB"),
    (ValueKind::Account, &["12-34-56 7890", "1234567890", "12 34 56 78 90"], "1234567890"),
    (ValueKind::Account, &["acct-ß", "ACCT SS", "acctss"], "ACCTSS"),
    (
        ValueKind::Name,
        &["AB12 Motor Parts Ltd", " AB12  Motor\u{a0}Parts Ltd ", "AB12 Mo\u{ad}tor Parts Ltd"],
        "AB12 Motor Parts Ltd",
    ),
    (
        ValueKind::Bank,
        &["DEUTDEFF", "deutdeff", "DEUT DE FF", "deut-de-ff-xxx", "DEUTDEFFXXX", "ＤＥＵＴＤＥＦＦ"],
        "DEUTDEFFXXX",
    ),
    (ValueKind::Bank, &["DEUTDEFF500", "deutdeff 500"], "DEUTDEFF500"),
    (ValueKind::Bank, &["37040044", "370 400 44", "370-400-44"], "37040044"),
    (ValueKind::Country, &["IR", "ir", " Ir ", "ＩＲ", "I\u{200b}R"], "IR"),
    (ValueKind::Ip, &["2001:db8::1", "2001:DB8::1", "2001:0db8::1", "2001:db8:0:0::1"], "2001:db8::1"),
    (ValueKind::Ip, &["203.0.113.7", "::ffff:203.0.113.7", "203.0.113.7/32"], "203.0.113.7"),
    (ValueKind::Ip, &["203.0.113.0/24", "203.0.113.99/24", "::ffff:203.0.113.0/120"], "203.0.113.0/24"),
    (ValueKind::Customer, &["c-78", "c-78 ", "\u{a0}c-78", "c-78\u{200b}"], "c-78"),
    (ValueKind::Merchant, &["AB12 Motor Parts Ltd", "AB12\tMotor\u{2003}Parts  Ltd"], "AB12 Motor Parts Ltd"),
    (ValueKind::Device, &["caf\u{e9}", "cafe\u{301}", "cafe\u{ad}\u{301}"], "café"),
    (ValueKind::Card, &["fp_Ab", " fp_Ab"], "fp_Ab"),
    (ValueKind::Text, &["two words", " two \n words "], "two words"),
];

#[test]
fn spellings_of_one_value_have_one_form() {
    for (kind, spellings, expected) in FORMS {
        for spelling in *spellings {
            assert_eq!(kind.form(spelling).as_deref(), Ok(*expected), "{} {spelling:?}", kind.name());
        }
        assert_eq!(kind.form(expected).as_deref(), Ok(*expected), "the form of a form is the form");
    }
}

#[test]
fn values_that_differ_have_different_forms() {
    for (kind, one, other) in [
        (ValueKind::Customer, "c-78", "C-78"),
        (ValueKind::Customer, "c-78", "c 78"),
        (ValueKind::Merchant, "AB12 Motor Parts Ltd", "AB12MotorPartsLtd"),
        (ValueKind::Device, "cafe", "café"),
        (ValueKind::Name, "Müller", "Muller"),
        (ValueKind::Bank, "DEUTDEFF", "DEUTDEFF500"),
        (ValueKind::Bank, "DEUTDEF", "DEUTDEFXXX"),
        (ValueKind::Ip, "203.0.113.0", "203.0.113.0/24"),
        (ValueKind::Account, "1234", "12.34"),
    ] {
        assert_ne!(kind.form(one), kind.form(other), "{} {one:?} {other:?}", kind.name());
    }
}

#[test]
fn a_text_without_a_form_is_refused_with_what_was_expected() {
    for (kind, text, expected) in [
        (ValueKind::Account, " - ", FormError::NoAccount),
        (ValueKind::Bank, "\u{200b}", FormError::NoBank),
        (ValueKind::Country, "Iran", FormError::NoCountry),
        (ValueKind::Country, "I1", FormError::NoCountry),
        (ValueKind::Country, "", FormError::NoCountry),
        (ValueKind::Ip, "203.0.113.", FormError::NoAddress),
        (ValueKind::Ip, "203.0.113.0/33", FormError::NoAddress),
        (ValueKind::Name, "\u{ad}\u{a0}", FormError::NothingToSee),
        (ValueKind::Customer, " ", FormError::NothingToSee),
        (ValueKind::Text, "\u{202e}", FormError::NothingToSee),
    ] {
        assert_eq!(kind.form(text), Err(expected), "{} {text:?}", kind.name());
        assert!(expected.to_string().starts_with("expected "));
        assert_eq!(kind.form_of_value(text), text, "a payment's value is counted all the same");
    }
}

#[test]
fn a_value_is_covered_by_itself_and_by_the_other_forms_that_entries_may_have() {
    let covered = ValueKind::Ip.forms_that_cover("203.0.113.7".to_owned());
    for entry in ["203.0.113.7", "203.0.113.0/24", "203.0.0.0/16", "0.0.0.0/0"] {
        assert!(covered.contains(&entry.to_owned()), "{entry}");
    }
    for (kind, form, expected) in [
        (ValueKind::Device, "203.0.113.7", &["203.0.113.7"][..]),
        (ValueKind::Bank, "DEUTDEFFXXX", &["DEUTDEFFXXX", "DEUTDEFF"]),
        (ValueKind::Bank, "DEUTDEFF500", &["DEUTDEFF500"]),
        (ValueKind::Bank, "BANKXXX", &["BANKXXX"]),
        (
            ValueKind::Account,
            "IBANGB33BUKB20201555555555",
            &["IBANGB33BUKB20201555555555", "GB33BUKB20201555555555"],
        ),
        (ValueKind::Account, "IBANGB34BUKB20201555555555", &["IBANGB34BUKB20201555555555"]),
        (ValueKind::Account, "GB33BUKB20201555555555", &["GB33BUKB20201555555555"]),
    ] {
        assert_eq!(kind.forms_that_cover(form.to_owned()), expected, "{form}");
    }
}

#[test]
fn every_kind_is_read_back_from_its_name() {
    for kind in ValueKind::ALL {
        assert_eq!(ValueKind::parse(kind.name()), Some(kind));
    }
    assert_eq!(ValueKind::parse("bic"), None);
}
