//! Lists. Entries are added and closed but never deleted, so that a list can be shown as it was at
//! any time.

use std::collections::BTreeSet;

use thiserror::Error;
use uuid::Uuid;

use super::comparison::{FormError, ValueKind};
use super::party::{Bic, Iban};
use super::selector::Selector;

/// A value on a list, valid in `[valid_from_ms, valid_to_ms)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    pub id: Uuid,
    /// The value as the administrator wrote it.
    pub value: String,
    /// The different forms in which it is compared, at most one for each kind of its list.
    pub forms: Vec<String>,
    pub reason: String,
    pub valid_from_ms: u64,
    pub valid_to_ms: Option<u64>,
    pub added_by: String,
    pub closed_by: Option<String>,
    /// Why the program closed the entry. `None` if it did not.
    pub closed_because: Option<String>,
}

/// The kinds of values on a list. A new list has one kind. Only lists from releases without kinds
/// may have several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListKinds(BTreeSet<ValueKind>);

/// Why a value cannot be an entry: no payment could match it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EntryValueError {
    #[error(transparent)]
    Form(#[from] FormError),
    #[error("expected a card's fingerprint in ASCII characters")]
    Card,
    #[error("expected at most {0} characters; no payment has a longer value of this kind")]
    TooLong(usize),
}

impl ListKinds {
    pub fn one(kind: ValueKind) -> Self {
        Self(BTreeSet::from([kind]))
    }

    /// `None` if there is no kind. Several kinds of plain text become the kind `text`.
    pub fn of(kinds: impl IntoIterator<Item = ValueKind>) -> Option<Self> {
        let mut kinds: BTreeSet<ValueKind> = kinds.into_iter().collect();
        if kinds.iter().filter(|kind| is_plain_text(**kind)).count() > 1 {
            kinds.retain(|kind| !is_plain_text(*kind));
            kinds.insert(ValueKind::Text);
        }
        (!kinds.is_empty()).then_some(Self(kinds))
    }

    /// The kind of a list that no rule uses: the kind whose form all its values have, or `text`.
    pub fn of_values(values: &[String]) -> Self {
        let looks_like = |kind: ValueKind, value: &String| match kind {
            ValueKind::Account => Iban::parse(value).is_ok(),
            ValueKind::Bank => Bic::parse(value).is_ok(),
            _ => kind.form(value).is_ok(),
        };
        let all_look_like =
            |kind: &ValueKind| !values.is_empty() && values.iter().all(|value| looks_like(*kind, value));
        let telling = [ValueKind::Ip, ValueKind::Country, ValueKind::Account, ValueKind::Bank];
        Self::one(telling.into_iter().find(all_look_like).unwrap_or(ValueKind::Text))
    }

    pub fn iter(&self) -> impl Iterator<Item = ValueKind> {
        self.0.iter().copied()
    }

    /// Whether rules may look up values of the selector on this list.
    pub fn serve(&self, selector: &Selector) -> bool {
        let asked = selector.kind();
        self.0.contains(&asked) || (is_plain_text(asked) && self.0.contains(&ValueKind::Text))
    }

    /// The form to show.
    pub fn main_form(&self, value: &str) -> Option<String> {
        self.iter().find_map(|kind| kind.form(value).ok())
    }

    /// The forms that the text would have as a payment's value. Old entries that are invalid as
    /// entries of their kind get these forms, so that they match what they matched before.
    pub fn forms_of_value(&self, value: &str) -> Vec<String> {
        let forms: BTreeSet<String> = self.iter().map(|kind| kind.form_of_value(value)).collect();
        forms.into_iter().collect()
    }

    /// The forms in which an entry with this value is compared. If no kind accepts the value, the
    /// error is that of the first kind.
    pub fn forms(&self, value: &str) -> Result<Vec<String>, EntryValueError> {
        let mut forms = BTreeSet::new();
        let mut refusal = None;
        for kind in self.iter() {
            match entry_form(kind, value) {
                Ok(form) => {
                    forms.insert(form);
                }
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        match refusal {
            Some(refusal) if forms.is_empty() => Err(refusal),
            _ => Ok(forms.into_iter().collect()),
        }
    }
}

impl std::fmt::Display for ListKinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.iter().map(ValueKind::name).collect();
        f.write_str(&names.join(" and "))
    }
}

/// Whether a list of kind `text` serves values of this kind.
fn is_plain_text(kind: ValueKind) -> bool {
    use ValueKind::{Card, Customer, Device, Merchant, Text};
    matches!(kind, Customer | Merchant | Device | Card | Text)
}

/// Refuses values that no payment can have. All others are accepted, however unusual, since banks
/// have identifiers of many schemes.
fn entry_form(kind: ValueKind, value: &str) -> Result<String, EntryValueError> {
    let iban = if kind == ValueKind::Account { Iban::after_label(value) } else { None };
    let form = iban.map_or_else(|| kind.form(value), |iban| Ok(iban.as_str().to_owned()))?;
    match kind {
        ValueKind::Card if !form.is_ascii() => Err(EntryValueError::Card),
        _ => match length_max(kind) {
            Some(most) if form.chars().count() > most => Err(EntryValueError::TooLong(most)),
            _ => Ok(form),
        },
    }
}

/// The most characters of a payment's value of this kind. `None` if the form bounds the length.
fn length_max(kind: ValueKind) -> Option<usize> {
    match kind {
        ValueKind::Account => Some(34),
        ValueKind::Bank => Some(35),
        ValueKind::Customer | ValueKind::Merchant | ValueKind::Card => Some(64),
        ValueKind::Device => Some(128),
        ValueKind::Name => Some(140),
        ValueKind::Text => Some(200),
        ValueKind::Country | ValueKind::Ip => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(kinds: &[ValueKind]) -> ListKinds {
        ListKinds::of(kinds.iter().copied()).expect("a kind")
    }

    #[test]
    fn an_entry_that_can_never_match_is_refused_by_its_lists_kind() {
        use ValueKind::{Account, Bank, Card, Country, Customer, Ip, Merchant, Name};
        for (kind, value, expected) in [
            (Account, "gb33 bukb", Some("GB33BUKB")),
            (Account, "IBAN GB33 BUKB 2020 1555 5555 55", Some("GB33BUKB20201555555555")),
            (Account, "iban: gb33bukb20201555555555", Some("GB33BUKB20201555555555")),
            (Account, "IBAN GB33 BUKB 2020 1555 5555 56", Some("IBANGB33BUKB20201555555556")),
            (Account, "IBAN GB33 BUKB", Some("IBANGB33BUKB")),
            (Account, "IBAN 7", Some("IBAN7")),
            (Account, " - ", None),
            (Account, "1234567890123456789012345678901234x", None),
            (Bank, "DEUTDEFF500", Some("DEUTDEFF500")),
            (Bank, "DEUT", Some("DEUT")),
            (Bank, "DEUTDE", Some("DEUTDE")),
            (Bank, "37040044", Some("37040044")),
            (Bank, "20-20-15", Some("202015")),
            (Bank, "HDFC0001234", Some("HDFC0001234")),
            (Bank, "DEUTDEFF", Some("DEUTDEFFXXX")),
            (Bank, "deutdeffxxx", Some("DEUTDEFFXXX")),
            (Bank, "DEUTDEF", Some("DEUTDEF")),
            (Bank, "HWUPKR0MPOU8FGXBT394", Some("HWUPKR0MPOU8FGXBT394")),
            (Bank, "Sparkasse", Some("SPARKASSE")),
            (Bank, "bank?", Some("BANK?")),
            (Bank, "123456789012345678901234567890123456", None),
            (Bank, "\u{200b}-", None),
            (Country, "ir", Some("IR")),
            (Country, "Iran", None),
            (Country, "I1", None),
            (Ip, "2001:0DB8::1", Some("2001:db8::1")),
            (Ip, "::ffff:203.0.113.7", Some("203.0.113.7")),
            (Ip, "203.0.113.0/24", Some("203.0.113.0/24")),
            (Ip, "203.0.113.256", None),
            (Ip, "203.0.113.0/33", None),
            (Ip, "localhost", None),
            (Customer, " c  7 ", Some("c 7")),
            (Customer, "\u{200b}", None),
            (Merchant, &"m".repeat(65), None),
            (Card, "f\u{f6}", None),
            (Name, &"n".repeat(141), None),
        ] {
            let forms = ListKinds::one(kind).forms(value).ok();
            assert_eq!(forms.as_deref(), expected.map(|form| vec![form.to_owned()]).as_deref(), "{value}");
        }
    }

    #[test]
    fn an_old_entry_that_can_never_match_is_compared_as_a_value_of_each_kind() {
        let kinds = kinds(&[ValueKind::Ip, ValueKind::Country]);
        assert!(kinds.forms("Iran ").is_err());
        assert_eq!(kinds.forms_of_value("Iran "), ["Iran "]);
        assert_eq!(kinds.forms_of_value("ir"), ["IR", "ir"]);
    }

    #[test]
    fn a_list_of_several_kinds_keeps_each_form_once_and_takes_what_one_of_them_takes() {
        use ValueKind::{Account, Customer, Ip, Merchant, Text};
        let both = kinds(&[Account, Merchant]);
        assert_eq!(both.forms("Ab 12").expect("forms"), ["AB12", "Ab 12"]);
        assert_eq!(both.forms("AB12").expect("forms"), ["AB12"]);
        assert_eq!(kinds(&[Ip, Merchant]).forms("shop").expect("forms"), ["shop"]);
        assert!(kinds(&[Ip]).forms("shop").is_err());
        assert_eq!(kinds(&[Merchant, Customer]), ListKinds::one(Text));
        assert_eq!(kinds(&[Merchant]), ListKinds::one(Merchant));
        assert_eq!(ListKinds::of([]), None);
    }

    #[test]
    fn an_unused_list_is_of_the_kind_whose_form_all_its_values_have() {
        for (values, expected) in [
            (&["203.0.113.7", "2001:db8::/32"][..], ValueKind::Ip),
            (&["IR", "kp"], ValueKind::Country),
            (&["GB33BUKB20201555555555", "de89 3704 0044 0532 0130 00"], ValueKind::Account),
            (&["DEUTDEFF", "BUKBGB22XXX"], ValueKind::Bank),
            (&["IR", "203.0.113.7"], ValueKind::Text),
            (&["c-7"], ValueKind::Text),
            (&[], ValueKind::Text),
        ] {
            let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
            assert_eq!(ListKinds::of_values(&values), ListKinds::one(expected), "{values:?}");
        }
    }

    #[test]
    fn a_list_of_text_serves_every_selector_of_plain_text_and_no_other() {
        for (kind, selector, expected) in [
            (ValueKind::Text, Selector::Customer, true),
            (ValueKind::Text, Selector::Metadata("k".to_owned()), true),
            (ValueKind::Text, Selector::DebtorName, false),
            (ValueKind::Merchant, Selector::Merchant, true),
            (ValueKind::Merchant, Selector::Customer, false),
            (ValueKind::Account, Selector::CreditorAccount, true),
            (ValueKind::Account, Selector::CreditorBank, false),
            (ValueKind::Ip, Selector::Ip, true),
        ] {
            assert_eq!(ListKinds::one(kind).serve(&selector), expected, "{kind:?} {selector:?}");
        }
    }
}
