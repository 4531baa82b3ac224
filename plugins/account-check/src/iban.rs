//! The form of an IBAN: the registry of ISO 13616 and the check digits of ISO 7064.

/// Each country with the structure of the part after country and check digits, in
/// the notation of the registry: `n` digits, `a` capital letters, `c` either.
#[rustfmt::skip]
const REGISTRY: [(&str, &str); 89] = [
    ("AD", "8n12c"), ("AE", "19n"), ("AL", "8n16c"), ("AT", "16n"), ("AZ", "4a20c"),
    ("BA", "16n"), ("BE", "12n"), ("BG", "4a6n8c"), ("BH", "4a14c"), ("BI", "23n"),
    ("BR", "23n1a1c"), ("BY", "4c4n16c"), ("CH", "5n12c"), ("CR", "18n"), ("CY", "8n16c"),
    ("CZ", "20n"), ("DE", "18n"), ("DJ", "23n"), ("DK", "14n"), ("DO", "4c20n"),
    ("EE", "16n"), ("EG", "25n"), ("ES", "20n"), ("FI", "14n"), ("FK", "2a12n"),
    ("FO", "14n"), ("FR", "10n11c2n"), ("GB", "4a14n"), ("GE", "2a16n"), ("GI", "4a15c"),
    ("GL", "14n"), ("GR", "7n16c"), ("GT", "24c"), ("HN", "4a20n"), ("HR", "17n"),
    ("HU", "24n"), ("IE", "4a14n"), ("IL", "19n"), ("IQ", "4a15n"), ("IS", "22n"),
    ("IT", "1a10n12c"), ("JO", "4a4n18c"), ("KW", "4a22c"), ("KZ", "3n13c"), ("LB", "4n20c"),
    ("LC", "4a24c"), ("LI", "5n12c"), ("LT", "16n"), ("LU", "3n13c"), ("LV", "4a13c"),
    ("LY", "21n"), ("MC", "10n11c2n"), ("MD", "20c"), ("ME", "18n"), ("MK", "3n10c2n"),
    ("MN", "16n"), ("MR", "23n"), ("MT", "4a5n18c"), ("MU", "4a19n3a"), ("NI", "4a20n"),
    ("NL", "4a10n"), ("NO", "11n"), ("OM", "3n16c"), ("PK", "4a16c"), ("PL", "24n"),
    ("PS", "4a21c"), ("PT", "21n"), ("QA", "4a21c"), ("RO", "4a16c"), ("RS", "18n"),
    ("RU", "14n15c"), ("SA", "2n18c"), ("SC", "4a20n3a"), ("SD", "14n"), ("SE", "20n"),
    ("SI", "15n"), ("SK", "20n"), ("SM", "1a10n12c"), ("SO", "19n"), ("ST", "21n"),
    ("SV", "4a20n"), ("TL", "19n"), ("TN", "20n"), ("TR", "6n16c"), ("UA", "6n19c"),
    ("VA", "18n"), ("VG", "4a16n"), ("XK", "16n"), ("YE", "4a4n18c"),
];

/// Countries whose banks use IBANs, but which are not in the registry. No standard
/// defines the length of these IBANs.
const UNREGISTERED: &str = "AO BF BJ CF CG CI CM CV DZ GA GQ GW IR KM MA MG ML MZ NE SN TD TG ";

/// Country code and check digits, before the country's own part.
const HEAD_CHARS: usize = 4;

/// An error in an IBAN.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It begins with letters that no country uses for IBANs.
    UnknownCountry,
    /// Its country uses IBANs but is not in the registry.
    Unregistered,
    Length {
        expected: usize,
    },
    Structure,
    CheckDigits,
}

/// The first flaw in its form, and the flaw in its country.
pub(crate) fn flaws_of(iban: &str) -> [Option<Flaw>; 2] {
    let country = iban.get(..2).unwrap_or_default();
    match structure_of(country) {
        Some(structure) => [registered_flaw_of(iban, structure), None],
        None if is_unregistered(country) => [unregistered_flaw_of(iban), Some(Flaw::Unregistered)],
        None => [None, Some(Flaw::UnknownCountry)],
    }
}

fn is_unregistered(country: &str) -> bool {
    UNREGISTERED.as_bytes().chunks(3).any(|code| &code[..2] == country.as_bytes())
}

/// Check digits are computed in the same way in all countries.
fn unregistered_flaw_of(iban: &str) -> Option<Flaw> {
    let bytes = iban.as_bytes();
    let rest = bytes.get(HEAD_CHARS..).unwrap_or_default();
    let well_formed = bytes.get(2..HEAD_CHARS).is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
        && rest.iter().all(|byte| is_of_class(*byte, b'c'));
    if !well_formed {
        return Some(Flaw::Structure);
    }
    (!check_digits_are_valid(bytes)).then_some(Flaw::CheckDigits)
}

fn registered_flaw_of(iban: &str, structure: &str) -> Option<Flaw> {
    let expected = HEAD_CHARS + parts(structure).map(|(length, _)| length).sum::<usize>();
    if iban.chars().count() != expected {
        return Some(Flaw::Length { expected });
    }
    if !has_structure(iban.as_bytes(), structure) {
        return Some(Flaw::Structure);
    }
    (!check_digits_are_valid(iban.as_bytes())).then_some(Flaw::CheckDigits)
}

fn structure_of(country: &str) -> Option<&'static str> {
    REGISTRY.iter().find(|(code, _)| *code == country).map(|(_, structure)| *structure)
}

/// `8n12c` gives (8, n), (12, c).
fn parts(structure: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut length = 0;
    structure.bytes().filter_map(move |byte| {
        if byte.is_ascii_digit() {
            length = length * 10 + usize::from(byte - b'0');
            return None;
        }
        Some((std::mem::take(&mut length), byte))
    })
}

fn has_structure(iban: &[u8], structure: &str) -> bool {
    let head_digits = iban.get(2..HEAD_CHARS).unwrap_or_default();
    let mut rest = iban.get(HEAD_CHARS..).unwrap_or_default();
    head_digits.iter().all(u8::is_ascii_digit)
        && parts(structure).all(|(length, class)| {
            let Some((part, behind)) = rest.split_at_checked(length) else {
                return false;
            };
            rest = behind;
            part.iter().all(|byte| is_of_class(*byte, class))
        })
        && rest.is_empty()
}

fn is_of_class(byte: u8, class: u8) -> bool {
    match class {
        b'n' => byte.is_ascii_digit(),
        b'a' => byte.is_ascii_uppercase(),
        _ => byte.is_ascii_digit() || byte.is_ascii_uppercase(),
    }
}

fn check_digits_are_valid(iban: &[u8]) -> bool {
    let (head, rest) = iban.split_at(HEAD_CHARS);
    // These are congruent to 98, 97 and 02, and only those are valid.
    let is_invalid_form = [&b"00"[..], b"01", b"99"].contains(&&head[2..]);
    !is_invalid_form && rest.iter().chain(head).fold(0, |sum, byte| append(sum, *byte)) == 1
}

/// Appends a character to the number, modulo 97. Letters count as 10 to 35.
fn append(sum: u32, byte: u8) -> u32 {
    match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        letter => (sum * 100 + u32::from(letter.wrapping_sub(b'A')) + 10) % 97,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the registry, in electronic format.
    const EXAMPLES: &str = "
        AD1200012030200359100100 AE070331234567890123456 AL47212110090000000235698741
        AT611904300234573201 AZ21NABZ00000000137010001944 BA391290079401028494
        BE68539007547034 BG80BNBG96611020345678 BH67BMAG00001299123456
        BI4210000100010000332045181 BR1800360305000010009795493C1
        BY13NBRB3600900000002Z00AB00 CH9300762011623852957 CR05015202001026284066
        CY17002001280000001200527600 CZ6508000000192000145399 DE89370400440532013000
        DJ2100010000000154000100186 DK5000400440116243 DO28BAGR00000001212453611324
        EE382200221020145685 EG380019000500000000263180002 ES9121000418450200051332
        FI2112345600000785 FK88SC123456789012 FO6264600001631634
        FR1420041010050500013M02606 GB29NWBK60161331926819 GE29NB0000000101904917
        GI75NWBK000000007099453 GL8964710001000206 GR1601101250000000012300695
        GT82TRAJ01020000001210029690 HN88CABF00000000000250005469 HR1210010051863000160
        HU42117730161111101800000000 IE29AIBK93115212345678 IL620108000000099999999
        IQ98NBIQ850123456789012 IS140159260076545510730339 IT60X0542811101000000123456
        JO94CBJO0010000000000131000302 KW81CBKU0000000000001234560101
        KZ86125KZT5004100100 LB62099900000001001901229114
        LC55HEMM000100010012001200023015 LI21088100002324013AA LT121000011101001000
        LU280019400644750000 LV80BANK0000435195001 LY83002048000020100120361
        MC5811222000010123456789030 MD24AG000225100013104168 ME25505000012345678951
        MK07250120000058984 MN121234123456789123 MR1300020001010000123456753
        MT84MALT011000012345MTLCAST001S MU17BOMM0101101030300200000MUR
        NI45BAPR00000013000003558124 NL91ABNA0417164300 NO9386011117947
        OM810180000001299123456 PK36SCBL0000001123456702 PL61109010140000071219812874
        PS92PALS000000000400123456702 PT50000201231234567890154
        QA58DOHB00001234567890ABCDEFG RO49AAAA1B31007593840000 RS35260005601001611379
        RU0304452522540817810538091310419 SA0380000000608010167519
        SC18SSCB11010000000000001497USD SD2129010501234001 SE4550000000058398257466
        SI56263300012039086 SK3112000000198742637541 SM86U0322509800000000270100
        SO211000001001000100141 ST23000100010051845310146 SV62CENR00000000000000700025
        TL380080012345678910157 TN5910006035183598478831 TR330006100519786457841326
        UA213223130000026007233566001 VA59001123000012345678 VG96VPVG0000012345678901
        XK051212012345678906 YE15CBYE0001018861234567891234";

    /// Examples that banks of these countries publish.
    const UNREGISTERED_EXAMPLES: &str = "
        AO06004400006729503010102 BF42BF0840101300463574000390 BJ66BJ0610100100144390000769
        CF4220001000010120069700160 CG3930011000101013451300019 CI93CI0080111301134291200589
        CM2110002000300277976315008 CV64000300004547069110176 DZ580002100001113000000570
        GA2140021010032001890020126 GQ7050002001003715228190196 GW04GW1430010181800637601
        IR861234568790123456789012 KM4600005000010010904400137 MA64011519000001205000534921
        MG4600005030071289421016045 ML13ML0160120102600100668497 NE58NE0380100100130305000268
        SN08SN0100152000048500003035 TD8960002000010271091600153 TG53TG0090604310346500400070";

    /// The first flaw.
    fn flaw_of(iban: &str) -> Option<Flaw> {
        flaws_of(iban).into_iter().flatten().next()
    }

    #[test]
    fn a_country_outside_the_registry_is_distinguished_from_an_unknown_country() {
        for iban in UNREGISTERED_EXAMPLES.split_whitespace() {
            assert_eq!(flaws_of(iban), [None, Some(Flaw::Unregistered)], "{iban}");
        }
        for country in UNREGISTERED.split_whitespace() {
            assert_eq!(structure_of(country), None, "{country}");
            assert!(flaws_of(&format!("{country}00123"))[1] == Some(Flaw::Unregistered), "{country}");
        }
        let wrong = "CI94CI0080111301134291200589";
        assert_eq!(flaws_of(wrong), [Some(Flaw::CheckDigits), Some(Flaw::Unregistered)]);
        for country in ["US", "QQ", "XX", "O ", ""] {
            assert_eq!(
                flaws_of(&format!("{country}29NWBK12345678")),
                [None, Some(Flaw::UnknownCountry)],
                "{country}"
            );
        }
    }

    #[test]
    fn every_country_of_the_registry_has_a_valid_example() {
        let examples: Vec<&str> = EXAMPLES.split_whitespace().collect();
        for example in &examples {
            assert_eq!(flaw_of(example), None, "{example}");
        }
        for (country, _) in REGISTRY {
            assert!(examples.iter().any(|example| example.starts_with(country)), "{country}");
        }
    }

    #[test]
    fn a_changed_digit_and_two_swapped_digits_are_detected() {
        let iban = b"DE89370400440532013000";
        for index in 4..iban.len() {
            for digit in b'0'..=b'9' {
                let mut changed = *iban;
                changed[index] = digit;
                assert_eq!(check_digits_are_valid(&changed), changed == *iban);
            }
        }
        for index in 4..iban.len() - 1 {
            let mut swapped = *iban;
            swapped.swap(index, index + 1);
            assert_eq!(check_digits_are_valid(&swapped), swapped == *iban);
        }
    }

    #[test]
    fn check_digits_in_an_invalid_form_are_refused() {
        // 01 is congruent to 98: GB98MIDL07009312345678 has the digits 98.
        assert_eq!(flaw_of("GB98MIDL07009312345678"), None);
        assert_eq!(flaw_of("GB01MIDL07009312345678"), Some(Flaw::CheckDigits));
    }

    #[test]
    fn malformed_text_is_a_flaw_and_does_not_panic() {
        for text in ["", "D", "DE", "ÄÖ", "DEÄ", "DE89", "de89370400440532013000"] {
            assert!(flaw_of(text).is_some(), "{text}");
        }
        assert_eq!(flaw_of("DE8937040044053201300ä"), Some(Flaw::Structure));
    }
}
