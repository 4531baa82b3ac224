//! What the score is, and that it stays so.

use super::*;

const DOCUMENT: &str = include_str!("../../../docs/COMPARISON.md");

fn form(name: &str) -> NameForm {
    NameForm::of(name).unwrap_or_else(|| panic!("{name} has a form"))
}

fn scored(a: &str, b: &str) -> u8 {
    score(&form(a), &form(b))
}

/// The rows of the document's table below this line: two names and their score.
fn documented(line: &str) -> Vec<(&'static str, &'static str, u8)> {
    let (_, below) = DOCUMENT.split_once(line).expect("a table");
    let rows = below.trim_start().lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| (cells[0], cells[1], cells[2].parse().expect("a score"))).collect()
}

#[test]
fn names_have_the_documented_scores() {
    let found = documented("Found at 85:");
    let not_found = documented("Not found at 85:");
    assert!(found.len() > 30 && not_found.len() > 15, "the tables are read");
    for (a, b, expected) in found.iter().chain(&not_found) {
        assert_eq!(scored(a, b), *expected, "{a} | {b}");
        assert_eq!(scored(b, a), *expected, "{b} | {a}");
    }
    assert!(found.iter().all(|(.., score)| *score >= 85));
    assert!(not_found.iter().all(|(.., score)| *score < 85));
}

#[test]
fn a_score_does_not_depend_on_the_order_of_the_names() {
    let names: Vec<NameForm> =
        documented("Found at 85:").iter().flat_map(|(a, b, _)| [form(a), form(b)]).collect();
    for a in &names {
        for b in &names {
            assert_eq!(score(a, b), score(b, a), "{a:?} {b:?}");
            assert_eq!(score(a, b) == 100, a == b, "{a:?} {b:?}");
        }
    }
}

#[test]
fn names_have_words_in_latin_letters_without_titles_and_legal_forms() {
    for (name, expected) in [
        ("Дмитрий ЩУКИН", "dmitriy shchukin"),
        ("Παύλος Μπούρας", "pavlos bouras"),
        ("القاعدة", "al qadh"),
        ("مُحَمَّد", "mhmd"),
        ("习近平", "xi jin ping"),
        ("Ｊｏｓé  O’Brien-Łódź", "jose obrien lodz"),
        ("Dipl.-Ing. Dr. Ing. Max Weiß", "max weiss"),
        ("ING Bank N.V.", "ing bank"),
        ("Mr", "mr"),
        ("Ltd. & Co", "ltd"),
        ("ООО «Ромашка»", "romashka"),
        ("Acme Ltd (Hong Kong)", "acme hong kong"),
        ("Smith, S. A.", "smith"),
        ("S. A. Smith", "s a smith"),
        ("J. S. A. Smith", "j s a smith"),
    ] {
        let form = form(name);
        let words: Vec<&str> = form.words.iter().map(|word| word.text.as_ref()).collect();
        assert_eq!(words.join(" "), expected, "{name}");
    }
    for name in ["", " ", "?!", "\u{200b}", "☃", "'"] {
        assert_eq!(NameForm::of(name), None, "{name:?}");
    }
}

#[test]
fn the_words_of_one_name_are_bounded() {
    let long = form(&"a".repeat(140));
    assert_eq!(long.words[0].text.len(), word::MAX_LETTERS);
    let initials = "a ".repeat(70);
    assert_eq!(form(&initials).words.len(), form::MAX_WORDS);
    let heaviest = form(&format!("{initials} Maximilian of {initials} Mustermann"));
    assert!(heaviest.words.iter().any(|word| word.text.as_ref() == "maximilian"));
    assert!(heaviest.words.iter().any(|word| word.text.as_ref() == "mustermann"));
    assert!(score(&long, &heaviest) < 50);
}

#[test]
fn typing_errors_are_forgiven_by_the_length_of_words() {
    for (a, b, expected) in [
        ("abc", "abd", 0),
        ("abc", "abcd", 75),
        ("abcd", "abdc", 75),
        ("abcd", "abcx", 63),
        ("abcde", "abcdx", 70),
        ("mirko", "mirka", 80),
        ("abcdefg", "abcdxyg", 0),
        ("abcdefgh", "abcdxygh", 75),
        ("abcdefgh", "axydexgh", 0),
        ("abcde7", "abcde8", 0),
    ] {
        assert_eq!(scored(a, b), expected, "{a} {b}");
    }
}
