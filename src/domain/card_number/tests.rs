//! Tables of card numbers that must be found and of identifiers that must not.

use super::*;

/// Numbers that networks and processors publish for tests.
const NUMBERS: [&str; 40] = [
    "4111111111111111",
    "4012888888881881",
    "4222222222222",
    "4000000000000000006",
    "5555555555554444",
    "5105105105105100",
    "2223003122003222",
    "2720990000000007",
    "378282246310005",
    "341111111111111",
    "6011111111111117",
    "6011000990139424",
    "6445644564456445",
    "6500000000000002",
    "3530111333300000",
    "3566002020360505",
    "30569309025904",
    "36227206271667",
    "38520000023237",
    "3056930009020004",
    "6200000000000005",
    "6205500000000000004",
    "6250941006528599",
    "8171999927660000",
    "6759649826438453",
    "6799990100000000019",
    "6771798021000008",
    "5000550000000029",
    "501800000009",
    "6304000000000000",
    "2200000000000053",
    "2204000000000000000",
    "6074820000000007",
    "5085000000000004",
    "8201000000000004",
    "9792030000000000",
    "9704000000000018",
    "8600000000000007",
    "9860000000000009",
    "5019717010103742",
];

/// The number with the right Luhn digit.
fn with_check_digit(number: &str) -> String {
    let (body, _) = number.split_at(number.len() - 1);
    let numbers = (0..10).map(|digit| format!("{body}{digit}"));
    numbers.into_iter().find(|number| luhn_holds(number.as_bytes())).expect("one of ten")
}

#[test]
fn a_number_of_every_network_is_found() {
    for number in NUMBERS {
        let number = with_check_digit(number);
        assert!(holds_card_number(&number), "{number}");
        let last = number.as_bytes()[number.len() - 1];
        let wrong = format!("{}{}", &number[..number.len() - 1], (last - b'0' + 1) % 10);
        assert!(!holds_card_number(&wrong), "{wrong} fails the Luhn check");
    }
}

#[test]
fn a_number_is_found_whatever_stands_around_and_between_its_digits() {
    for text in [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111-11-11 11:11 1111",
        "4111.1111.1111.1111",
        "4111_1111_1111_1111",
        "4111/1111/1111/1111",
        "4111,1111,1111,1111",
        "4111|1111|1111|1111",
        "4111 - 1111 / 1111 . 1111",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "41 11 11 11 11 11 11 11",
        "4111\u{a0}1111\u{a0}1111\u{a0}1111",
        "4111\u{2007}1111\u{202f}1111\u{3000}1111",
        "4111\u{200b}1111\u{ad}1111\u{2060}1111",
        "4111\u{2013}1111\u{2014}1111\u{2212}1111",
        "4111\u{2022}1111\u{b7}1111\u{1f4b3}1111",
        "\u{ff14}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}",
        "\u{664}\u{661}\u{661}\u{661} \u{661}\u{661}\u{661}\u{661} \u{661}\u{661}\u{661}\u{661} \u{661}\u{661}\u{661}\u{661}",
        "\u{96a}\u{967}\u{967}\u{967}\u{967}\u{967}\u{967}\u{967}\u{967}\u{967}\u{967}\u{967}\u{967}\u{967}\u{967}\u{967}",
        "\u{1d7d2}111111111111111",
        "\u{2463}111111111111111",
        "4\u{fe0f}\u{20e3}111111111111111",
        "3782 822463 10005",
        "pan=4111111111111111",
        "visa4111111111111111",
        "tok_4111111111111111",
        "face4111111111111111",
        "DE4111111111111111",
        "4111111111111111AB",
        "кар4111111111111111та",
        "カード4111111111111111です",
        "%B4111111111111111^DOE/JOHN^2512",
        ";4111111111111111=25121010000000000?",
        "4111 1111 1111 1111 12/26 123",
        "12/26 4111 1111 1111 1111",
        "paid with 4111 1111 1111 1111, thank you",
        "Invoice 17 of 2026, card 4111111111111111.",
        "+4111111111111111",
        "+378282246310005",
        "+3782 822463 10005",
        "+30569309025904",
        "+41111111_11111111",
        "+4111 1111, 1111 1111",
        "DE89370400440532013000 4111111111111111",
        "01a1fdca-cf58-7842-b29d-2b3510ed1504:4111111111111111",
        "2026-11-28T08:45:41Z 4111111111111111",
        "2026-11-28T08:45:41.4111111111111111",
        "2026-11-28T08:45:41.4111111111111111Z",
        "2026-11-28T08:45:41.41111111 11111111",
        "2026-11-28T08:45:41.123456789Z4111111111111111",
        "2026-11-28T08:45:41.123+4111111111111111",
        "(4111)1111-1111[1111]",
    ] {
        assert!(holds_card_number(text), "{text:?}");
    }
}

#[test]
fn identifiers_of_other_kinds_pass() {
    for text in [
        "",
        "411111",
        "41111111",
        "411111******1111",
        "411111XXXXXX1111",
        // Neither length nor range.
        "4111111111111112",
        "1111111111111117",
        "41111111111111111111",
        "00004111111111111111",
        // Digests and ids.
        "a4111111111111111f",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "4111111111111111ab4111111111111111cd",
        "01a1fdca-cf58-7842-b29d-2b3510ed1504",
        "41111111-1111-1111-1111-111111111111",
        "pay_01a1fdca-4111-1111-8111-111111111111",
        "fp_9f8a7b",
        // IBANs, electronic and printed.
        "DE89370400440532013000",
        "GB33BUKB20201555555555",
        "NL91ABNA0417164300",
        "FR1420041010050500013M02606",
        "BE68539007547034",
        "AT611904300234573201",
        "NO9386011117947",
        "CH9300762011623852957",
        "IT60X0542811101000000123456",
        "ES9121000418450200051332",
        "PL61109010140000071219812874",
        "MT84MALT011000012345MTLCAST001S",
        "DE89 3704 0044 0532 0130 00",
        "please pay to BE68 5390 0754 7034, thank you",
        "be68\u{a0}5390\u{a0}0754\u{a0}7034",
        "SK3112000000198742637541",
        // References.
        "RF18539007547034",
        "RF18 5390 0754 7034",
        "21 00000 00003 13947 14300 09017",
        // ISIN, EAN, ISBN.
        "US0378331005",
        "DE0007164600",
        "4006381333931",
        "5901234123457",
        "6901234567892",
        "9783161484100",
        // These pass the Luhn check as well, and begin as cards do.
        "4006381000093",
        "EAN 4006381000192",
        "BE36390206172689",
        "BE36 3902 0617 2689",
        "AT673900419752787777",
        "2026-11-28T08:45:41.123456005Z",
        "+4915123456001",
        "+49 151 23456001",
        // Moments.
        "1732000000123",
        "1732000000123456",
        "1732000000123456789",
        "2026-11-28T08:45:41.123456789Z",
        "2026-11-28 08:45:41,123456+01:00",
        "2026-11-28T08:45:41.123456005+0100",
        "2026-11-28T08:45:41.123456005z, and 2 more",
        "2026-11-28T08:45:41.123456005",
        "20261128084541123",
        "2026-11-28",
        // Telephone numbers.
        "+4915112345678",
        "+49 151 2345 6789",
        "+44 (0)20 7946 0958",
        "+5511912345678",
        "+86 138 0013 8000",
        "+1-202-555-0143",
        "+49 151 23456001, +49 151 23456001",
        "+49 (0) 151 23456001 and 2 more",
        // Addresses.
        "2606:4700:4700::1111",
        "2001:4860:4860:0:0:0:0:8888",
        "::ffff:198.151.100.101",
        "198.151.100.101",
        "2606:4700:4700::1111/48",
        // Orders and invoices.
        "INV-2026-000123456",
        "2026112800001234",
        "ORD-20261128-000017",
        "order 1000000000000017",
    ] {
        assert!(!holds_card_number(text), "{text:?}");
    }
}

#[test]
fn in_the_place_of_an_iban_a_mistyped_one_passes_and_a_card_number_does_not() {
    for iban in ["CH3600762944632591062", "BE36390206172680", "AT673900419752787777", "DK5000400440116244"] {
        assert!(!account_holds_card_number(iban), "{iban}");
        let printed = format!("{} {}", &iban[..4], &iban[4..]);
        assert!(!account_holds_card_number(&printed), "{printed}");
    }
    for text in [
        "CH4111111111111111",
        "DE4111111111111111",
        "ZZ4111111111111111",
        "DK4111111111111111",
        "DK41 1111 1111 1111 11",
        "AB5555555555554444",
        "4111111111111111",
        "4111 1111 1111 1111",
        "CH3600762944632591062, 4111111111111111",
    ] {
        assert!(account_holds_card_number(text), "{text}");
    }
}

/// These could only be distinguished by knowing what they are.
#[test]
fn what_cannot_be_distinguished_is_taken_for_a_card_number() {
    for (what, text) in [
        ("a Norwegian KID, whose last digit is a Luhn digit", "4000000000000002"),
        ("numbers of invoices in a row", "4711, 4712, 4713, 4716"),
        ("a telephone number without its plus sign", "4915112345678"),
        ("a telephone number of more than thirteen digits", "+36227206271667"),
        ("a GTIN of fourteen digits", "36000000000008"),
    ] {
        assert!(holds_card_number(text), "{what}: {text}");
    }
}

/// The time for long hostile texts must be linear in their length.
#[test]
fn long_hostile_texts_are_searched() {
    assert!(!holds_card_number(&"1 ".repeat(100_000)));
    assert!(!holds_card_number(&"1".repeat(200_000)));
    assert!(!holds_card_number(&"+4915112345678 ".repeat(10_000)));
    // With quadratic time, the first would take half an hour.
    for hostile in ["a:", "::", "+(", "DE89 "] {
        let text = format!("{}-4111111111111111", hostile.repeat(100_000));
        assert!(holds_card_number(&text), "{hostile}");
    }
    assert!(holds_card_number(&format!("{}4111111111111111", "x1 ".repeat(50_000))));
}

#[test]
fn digits_of_all_scripts_count() {
    assert_eq!(with_ascii_digits("٤५４𑱔"), "4544");
}
