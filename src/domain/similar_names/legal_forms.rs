//! The legal forms of companies, which count little: `Ltd`, `GmbH`, `OOO`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::word::Word;

/// Which rows of the table a name has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegalForms(u64);

impl LegalForms {
    /// Removes one legal form from an end of a name, unless nothing would be left. False if there is
    /// none.
    pub fn take_at_ends(&mut self, words: &mut Vec<Word>) -> bool {
        for length in (1..=LONGEST.min(words.len().saturating_sub(1))).rev() {
            let end = words.len() - length;
            if let Some(row) = row_at_end(words, end) {
                self.0 |= 1 << row;
                words.truncate(end);
                return true;
            }
            if let Some(row) = ROWS.get(joined(&words[..length], " ").as_str()) {
                self.0 |= 1 << row;
                words.drain(..length);
                return true;
            }
        }
        false
    }

    /// Removes unmistakable legal forms, wherever they stand, unless nothing would be left.
    pub fn take_everywhere(&mut self, words: &mut Vec<Word>) {
        let unmistakable = |word: &Word| UNMISTAKABLE.contains(&word.text.as_ref());
        if words.iter().all(unmistakable) {
            return;
        }
        for word in words.extract_if(.., |word| unmistakable(word)) {
            self.0 |= ROWS.get(word.text.as_ref()).map_or(0, |row| 1 << row);
        }
    }

    /// What is subtracted from a score: little, so that the same name with the same legal form is
    /// the most similar.
    pub fn difference(self, other: Self) -> u8 {
        if self == other {
            0
        } else if self.0 == 0 || other.0 == 0 || self.0 & other.0 != 0 {
            1
        } else {
            4
        }
    }
}

/// The row of a legal form at the end of a name. Its letters may stand alone: `S. A.`, `L.L.C.`
fn row_at_end(words: &[Word], start: usize) -> Option<u8> {
    let is_letter = |word: &Word| word.text.len() == 1;
    let (before, end) = words.split_at(start);
    let is_spelled = end.len() > 1 && end.iter().all(is_letter) && !before.last().is_some_and(is_letter);
    let spelled = is_spelled.then(|| joined(end, "")).and_then(|letters| ROWS.get(letters.as_str()));
    spelled.or_else(|| ROWS.get(joined(end, " ").as_str())).copied()
}

fn joined(words: &[Word], between: &str) -> String {
    words.iter().map(|word| word.text.as_ref()).collect::<Vec<_>>().join(between)
}

/// In words.
const LONGEST: usize = 5;

static ROWS: LazyLock<BTreeMap<&str, u8>> = LazyLock::new(|| {
    let rows = (0..).zip(LEGAL_FORMS);
    rows.flat_map(|(row, forms)| forms.iter().map(move |form| (*form, row))).collect()
});

/// Not words, initials or surnames, so that they are legal forms wherever they stand.
const UNMISTAKABLE: &[&str] =
    &["corporation", "gmbh", "inc", "incorporated", "limited", "llc", "llp", "ltd", "ooo", "plc", "sarl"];

/// A row has one legal form in several spellings, or its equivalent in Russian.
const LEGAL_FORMS: [&[&str]; 44] = [
    &["ltd", "limited", "pvt ltd", "pty ltd", "private limited", "pte ltd", "ltda", "limitada"],
    &["plc", "public limited company"],
    &[
        "llc",
        "limited liability company",
        "ooo",
        "obshchestvo s ogranichennoy otvetstvennostyu",
        "tov",
        "too",
    ],
    &["llp", "limited liability partnership"],
    &["lp", "limited partnership"],
    &["inc", "incorporated"],
    &["corp", "corporation"],
    &["co", "company", "cie", "compagnie"],
    &["co ltd", "company limited", "you xian gong si", "gong si"],
    &["gmbh", "gesellschaft mit beschrankter haftung"],
    &["ag", "aktiengesellschaft"],
    &["kg", "kommanditgesellschaft"],
    &["ohg", "offene handelsgesellschaft"],
    &["ug", "ug haftungsbeschrankt", "unternehmergesellschaft"],
    &["ev", "e v", "eingetragener verein"],
    &["eg"],
    &["kgaa"],
    &["se", "societas europaea"],
    &["sa", "societe anonyme", "sociedad anonima", "sociedade anonima"],
    &["sarl", "societe a responsabilite limitee"],
    &["sas", "societe par actions simplifiee"],
    &["sl", "sociedad limitada"],
    &["slu"],
    &["sa de cv", "s a de c v"],
    &["srl", "societa a responsabilita limitata"],
    &["spa", "societa per azioni"],
    &["bv", "besloten vennootschap"],
    &["nv", "naamloze vennootschap"],
    &["ab", "aktiebolag"],
    &["as", "aksjeselskap"],
    &["a s", "aktieselskab", "anonim sirketi"],
    &["asa"],
    &["aps", "anpartsselskab"],
    &["oy", "osakeyhtio"],
    &["oyj"],
    &["sp z o o", "spolka z o o", "sp zoo", "spzoo", "spolka z ograniczona odpowiedzialnoscia"],
    &["sro", "spol s r o"],
    &["doo"],
    &["kft"],
    &["ao", "jsc", "joint stock company", "aktsionernoe obshchestvo"],
    &["pao", "pjsc", "oao", "ojsc", "public joint stock company", "open joint stock company"],
    &["zao", "cjsc", "closed joint stock company"],
    &["kk", "kabushiki kaisha"],
    &["sdn bhd", "bhd"],
];
