//! Tables of names that are equal and of names that are not.

use super::*;

/// All spellings in a row are one name.
const EQUAL: &[&[&str]] = &[
    // Case, in every alphabet that has it.
    &["acme", "ACME", "Acme", "aCmE"],
    &["Straße", "STRASSE", "strasse", "STRAẞE", "Straſſe"],
    &["ΟΔΥΣΣΕΥΣ", "Οδυσσεύς", "οδυσσεΥΣ", "Οδυσσευσ"],
    &["ИВАНОВ", "Иванов"],
    &["ԱՐԱՄ", "Արամ"],
    &["ᲗᲑᲘᲚᲘᲡᲘ", "თბილისი"],
    &["Kırmızı", "KIRMIZI", "kirmizi", "KİRMİZİ", "Kirmizi"],
    &["İstanbul", "Istanbul", "ISTANBUL", "ıstanbul", "i\u{307}stanbul"],
    // Accents and points in scripts where they are optional.
    &["José García", "JOSE GARCIA", "Jose\u{301} Garci\u{301}a"],
    &["Nguyễn Văn Đức", "Nguyen Van Duc", "NGUYỄN VĂN ĐỨC"],
    &["Özgür Şahin", "OZGUR SAHIN", "O\u{308}zgür S\u{327}ahin"],
    &["Dvořák", "Dvorak", "DVOR\u{30c}A\u{301}K"],
    &["Ștefan Țepeș", "Stefan Tepes", "Ştefan Ţepeş"],
    &["Ålesund", "Alesund", "A\u{30a}lesund", "\u{212b}lesund"],
    &["Γιώργος Παπαδόπουλος", "ΓΙΩΡΓΟΣ ΠΑΠΑΔΟΠΟΥΛΟΣ", "Γιωργος Παπαδοπουλος"],
    &["Артём Соловьёв", "Артем Соловьев", "АРТЁМ СОЛОВЬЁВ"],
    &["Юрий", "Юрии", "ЮРИЙ", "Юри\u{306}и\u{306}"],
    &["محمد", "مُحَمَّد", "مـحـمـد", "محـــمد"],
    &["أحمد", "احمد", "ا\u{654}حمد"],
    &["שלום", "שָׁלוֹם"],
    // Letters that do not decompose.
    &["Søren Kjær", "Soren Kjaer", "SØREN KJÆR"],
    &["Łukasz Wałęsa", "Lukasz Walesa", "ŁUKASZ WAŁĘSA"],
    &["Đorđević", "Dordevic", "ĐORĐEVIĆ"],
    &["Þórður Guðmundsson", "Thordur Gudmundsson", "THORDUR GUDMUNDSSON"],
    &["Œuvre Sœur", "Oeuvre Soeur", "ŒUVRE SŒUR"],
    &["Ħal Għaxaq", "Hal Ghaxaq"],
    &["Əliyev", "Eliyev", "ƏLİYEV"],
    &["Ŋalakan", "Nalakan"],
    &["Ɔkɔ Ɛsi", "Oko Esi"],
    &["Ƙasim Ɗan Ɓaba", "Kasim Dan Baba"],
    // Compatibility forms.
    &["ACME", "ＡＣＭＥ", "ａｃｍｅ"],
    &["ACME", "𝐀𝐂𝐌𝐄", "𝒜𝒞ℳℰ", "𝔄ℭ𝔐𝔈", "𝔸ℂ𝕄𝔼", "𝙰𝙲𝙼𝙴", "𝖠𝖢𝖬𝖤"],
    &["ACME", "Ⓐⓒⓜⓔ", "🄰🄲🄼🄴", "🅐🅒🅜🅔", "🅰🅲🅼🅴", "🇦🇨🇲🇪"],
    &["ACME", "ᴀᴄᴍᴇ", "ᵃᶜᵐᵉ"],
    &["ACME 7", "ACME ７", "ACME ⁷", "ACME ⑦", "ACME 𝟕", "ACME ٧", "ACME ۷", "ACME ७", "ACME ๗"],
    &["Office", "Oﬃce", "Oﬀice", "Ofﬁce"],
    &["Louis XIV", "Louis ⅩⅣ"],
    &["Dijk", "Dĳk", "DĲK"],
    &["ガンダム", "ｶﾞﾝﾀﾞﾑ", "カ\u{3099}ンタ\u{3099}ム"],
    &["한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"],
    &["محل", "ﻣﺤﻞ"],
    // Invisible characters are removed and are not spaces.
    &["Acme", "Ac\u{200b}me", "A\u{ad}cme", "Ac\u{2060}me", "\u{feff}Acme", "Ac\u{200d}me", "Ac\u{200c}me"],
    &["Acme", "Ac\u{200e}me", "\u{202e}Acme\u{202c}", "\u{2066}Acme\u{2069}", "Ac\u{61c}me", "Ac\u{34f}me"],
    &[
        "Acme",
        "Ac\u{fe0f}me",
        "A\u{fe00}cme",
        "Ac\u{e0101}me",
        "Ac\u{e0020}me",
        "Ac\u{180e}me",
        "Ac\u{3164}me",
    ],
    &["Acme", "Ac\u{0}me", "Ac\u{7f}me", "Ac\u{fff9}me", "Ac\u{115f}me", "Ac\u{ffa0}me"],
    &["Acme", "A\u{307}cme", "A\u{338}cm\u{20dd}e", "A\u{1ab0}c\u{1dc4}me", "Ac\u{fe20}m\u{fe21}e"],
    &["राम", "रा\u{200d}म", "रा\u{ad}म"],
    // Apostrophes and full stops are removed; hyphens and other punctuation are spaces.
    &[
        "O'Brien",
        "OBrien",
        "O’Brien",
        "O‘Brien",
        "O`Brien",
        "O´Brien",
        "Oʼbrien",
        "O＇Brien",
        "O′Brien",
        "o'BRIEN",
    ],
    &["A.C.M.E.", "ACME", "a.c.m.e", "Ａ．Ｃ．Ｍ．Ｅ．", "A․C․M․E"],
    &["St. John", "St John", "ST.  JOHN"],
    &["J. P. Morgan", "J P Morgan"],
    &["ʿAlī", "Ali", "'Ali"],
    &["Jean-Luc", "Jean Luc", "JEAN‐LUC", "Jean\u{2011}Luc", "Jean–Luc", "Jean—Luc", "Jean\u{a0}Luc"],
    &["Müller & Söhne", "Muller Sohne", "MÜLLER, SÖHNE", "Muller/Sohne", "(Muller) [Sohne]"],
    &["Acme, Ltd.", "ACME LTD", "Acme (Ltd)", "Acme_Ltd", "  Acme\tLtd\n", "Acme\u{3000}Ltd"],
    &["Acme™", "Acme", "Acme®", "©Acme", "Acme℠", "\"Acme\"", "«Acme»", "“Acme”", "Acme 🏦"],
    &["Quo Vadis", "¿Quo Vadis?", "¡Quo Vadis!"],
];

/// All names in a row are different.
const DIFFERENT: &[&[&str]] = &[
    // Marks that are vowels or change the consonant.
    &["राम", "रमा", "रम", "रामा", "रमी"],
    &["कमल", "कमला", "किमल", "क्मल"],
    &["পাল", "পল", "পালি"],
    &["குமார்", "குமரி", "கமர"],
    &["రాజు", "రాజ", "రజ"],
    &["がき", "かき", "かぎ", "がぎ"],
    &["はは", "ばば", "ぱぱ"],
    &["ハナ", "バナ", "パナ"],
    &["กิน", "กัน", "กน", "กีน", "กิ่น"],
    &["ລາວ", "ລິວ", "ລວ"],
    &["မောင်", "မင", "မိုင်"],
    &["ភូមិ", "ភម", "ភុម"],
    &["བོད", "བད", "བུད"],
    &["ދިވެހި", "ދވހ"],
    &["한국", "항국", "하국"],
    // Other letters.
    &["Ann", "Anna", "Hann", "An"],
    &["Ivan", "Iván Ivan", "Ivana"],
    &["محمد", "محمود", "احمد"],
    &["Иванов", "Иванова", "Ivanov"],
    &["Acme 1", "Acme 2", "Acme 12", "Acme"],
    // A space makes a difference.
    &["Jean Luc", "JeanLuc"],
    &["The Rapist", "Therapist"],
    &["O'Brien", "O Brien", "O-Brien Ltd"],
];

#[test]
fn spellings_of_one_name_are_equal() {
    for row in EQUAL {
        let first = normalized_name(row[0]);
        assert!(!first.is_empty(), "{row:?}");
        for spelling in *row {
            assert_eq!(normalized_name(spelling), first, "{spelling:?} and {:?}", row[0]);
        }
    }
}

#[test]
fn names_that_differ_stay_different() {
    for row in DIFFERENT {
        for (place, one) in row.iter().enumerate() {
            for other in &row[place + 1..] {
                assert_ne!(normalized_name(one), normalized_name(other), "{one:?} and {other:?}");
            }
        }
    }
}

#[test]
fn a_name_has_a_form_that_can_be_read() {
    for (name, expected) in [
        ("José  GARCÍA-López", "jose garcia lopez"),
        ("O'Neill, Ltd.", "oneill ltd"),
        ("  Müller & Söhne ", "muller sohne"),
        ("Ærø Bryggeri A/S", "aero bryggeri a s"),
        ("राम शर्मा", "राम शर्मा"),
        ("が", "が"),
        ("...", ""),
        ("\u{200b}\u{ad}", ""),
        ("🏦", ""),
        ("", ""),
    ] {
        assert_eq!(normalized_name(name), expected, "{name}");
    }
}

/// Otherwise a list entry that was copied from a displayed form would not match.
#[test]
fn the_form_of_a_form_is_the_form_for_every_character() {
    for c in '\0'..=char::MAX {
        for name in [format!("x{c}x"), format!("{c}\u{301}"), format!("क{c}\u{3099}z")] {
            let form = normalized_name(&name);
            assert_eq!(normalized_name(&form), form, "{name:?}");
        }
    }
}
