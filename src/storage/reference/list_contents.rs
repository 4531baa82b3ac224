//! The entries of a list in memory, and what they match.
//!
//! Must match exactly as the statement that looks facts up: both get the same texts to search for,
//! and neither may compare in a way of its own.

use std::collections::HashMap;

use uuid::Uuid;

use crate::storage::facts::SearchTexts;

/// What a text costs beside its letters: its place in a map that is half full, and its allocation.
const TEXT_BYTES: usize = 2 * size_of::<(Box<str>, Vec<ListedPeriod>)>() + 16;
const PERIOD_BYTES: usize = size_of::<ListedPeriod>() + 16;

/// A row of an entry: one of the forms in which it is compared. All rows of an entry have the same
/// name and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryRow {
    pub entry: Uuid,
    pub form: String,
    pub normalized_name: String,
    pub valid_from_ms: u64,
    /// `u64::MAX` if it has no end.
    pub valid_to_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ListedPeriod {
    entry: Uuid,
    from_ms: u64,
    to_ms: u64,
}

#[derive(Debug, Default)]
struct Texts {
    periods: HashMap<Box<str>, Vec<ListedPeriod>>,
    bytes: usize,
}

impl Texts {
    fn put(&mut self, text: &str, period: ListedPeriod) {
        let Some(periods) = self.periods.get_mut(text) else {
            self.periods.insert(text.into(), vec![period]);
            self.bytes += text.len() + TEXT_BYTES + PERIOD_BYTES;
            return;
        };
        if let Some(own) = periods.iter_mut().find(|own| own.entry == period.entry) {
            *own = period;
        } else {
            periods.push(period);
            self.bytes += PERIOD_BYTES;
        }
    }

    fn has_any(&self, texts: &[String], at_ms: u64) -> bool {
        let is_valid = |period: &ListedPeriod| period.from_ms <= at_ms && at_ms < period.to_ms;
        let periods = |text: &String| self.periods.get(text.as_str());
        texts.iter().filter_map(periods).any(|periods| periods.iter().any(is_valid))
    }
}

#[derive(Debug)]
pub(super) struct ListContents {
    by_form: Texts,
    /// `None` on a list that is never searched by name, such as one of accounts.
    by_name: Option<Texts>,
}

impl ListContents {
    pub fn new(has_names: bool) -> Self {
        Self { by_form: Texts::default(), by_name: has_names.then(Texts::default) }
    }

    /// Adds a row, or replaces it by its newer state.
    pub fn put(&mut self, row: &EntryRow) {
        let period = ListedPeriod { entry: row.entry, from_ms: row.valid_from_ms, to_ms: row.valid_to_ms };
        self.by_form.put(&row.form, period);
        if let Some(by_name) = &mut self.by_name
            && !row.normalized_name.is_empty()
        {
            by_name.put(&row.normalized_name, period);
        }
    }

    /// `None` if names are sought that are not in memory.
    pub fn has_any(&self, sought: &SearchTexts, at_ms: u64) -> Option<bool> {
        let texts = if sought.by_name { self.by_name.as_ref()? } else { &self.by_form };
        Some(texts.has_any(&sought.texts, at_ms))
    }

    pub fn bytes(&self) -> usize {
        self.by_form.bytes + self.by_name.as_ref().map_or(0, |by_name| by_name.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(entry: u128, form: &str, name: &str, valid_from_ms: u64, valid_to_ms: u64) -> EntryRow {
        let (form, normalized_name) = (form.to_owned(), name.to_owned());
        EntryRow { entry: Uuid::from_u128(entry), form, normalized_name, valid_from_ms, valid_to_ms }
    }

    fn sought(texts: &[&str], by_name: bool) -> SearchTexts {
        SearchTexts { texts: texts.iter().map(|text| (*text).to_owned()).collect(), by_name }
    }

    #[test]
    fn an_entry_matches_while_it_is_valid_and_its_newest_state_counts() {
        let mut contents = ListContents::new(true);
        contents.put(&row(1, "Ab", "ab", 10, u64::MAX));
        contents.put(&row(2, "Ab", "ab", 30, 40));
        let bytes = contents.bytes();
        contents.put(&row(1, "Ab", "ab", 10, 20));
        assert_eq!(contents.bytes(), bytes, "it was replaced");
        for (at_ms, expected) in [(9, false), (10, true), (19, true), (20, false), (30, true), (40, false)] {
            for (text, by_name) in [("Ab", false), ("ab", true)] {
                let found = contents.has_any(&sought(&["other", text], by_name), at_ms);
                assert_eq!(found, Some(expected), "{text} at {at_ms}");
            }
        }
        assert_eq!(contents.has_any(&sought(&["ab"], false), 10), Some(false), "forms are no names");
        assert_eq!(contents.has_any(&sought(&[], false), 10), Some(false));
    }

    #[test]
    fn names_are_not_answered_without_them() {
        let mut contents = ListContents::new(false);
        contents.put(&row(1, "Ab", "ab", 10, u64::MAX));
        assert_eq!(contents.has_any(&sought(&["ab"], true), 10), None);
        assert_eq!(contents.has_any(&sought(&["Ab"], false), 10), Some(true));
    }
}
