//! The most similar entry of a list, found without scoring every entry.
//!
//! The index holds the distinct words of all entries. A look-up finds the words that are similar to
//! those of the name. From them follows, for each entry that has one, a score that it cannot exceed.
//! Only entries that may be the best are scored, those that may score highest first. No step may
//! leave out what [`score`](super::score) would find: the tests hold the answers against a plain scan.

use std::cmp::Reverse;

use super::NameForm;
use super::alignment::{Found, Matched, Side, highest_score, score_of_different};
use super::legal_forms::LegalForms;
use super::spans::{Span, spans};
use vocabulary::{SimilarWord, Vocabulary};

mod vocabulary;

/// An index of names. Each has the id of its entry; several names may have the same id.
#[derive(Debug)]
pub struct NameIndex {
    vocabulary: Vocabulary,
    /// By id.
    entries: Vec<Entry>,
    /// For each entry its spans, first the words in their order.
    spans: Vec<EntrySpan>,
    /// For each item of the vocabulary the entries that have it, by number. May repeat.
    postings: Vec<u32>,
}

/// The most similar entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Similar {
    pub entry: u32,
    pub score: u8,
}

#[derive(Debug)]
struct Entry {
    id: u32,
    /// Where its spans begin.
    spans: u32,
    words: u8,
    weight: u8,
    legal_forms: LegalForms,
}

/// The item of the vocabulary, and the first of its words in the entry, in the last four bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EntrySpan(u32);

impl EntrySpan {
    fn new(item: u32, start: u8) -> Self {
        Self(item << 4 | u32::from(start))
    }

    fn item(self) -> u32 {
        self.0 >> 4
    }

    fn start(self) -> u8 {
        (self.0 & 15) as u8
    }
}

/// A name that is looked up.
struct Query<'a> {
    form: &'a NameForm,
    side: Side,
    spans: Vec<Span<'a>>,
    /// By item, and for one item by span.
    similar: Vec<SimilarWord>,
}

impl NameIndex {
    /// Names without a letter or digit are left out. They are similar to nothing.
    pub fn new<'a>(names: impl IntoIterator<Item = (u32, &'a str)>) -> Self {
        let forms = names.into_iter().filter_map(|(id, name)| Some((id, NameForm::of(name)?)));
        let mut forms: Vec<(u32, NameForm)> = forms.collect();
        forms.sort_by_key(|(id, _)| *id);
        let vocabulary = Vocabulary::of(forms.iter().map(|(_, form)| form));
        let mut index = Self {
            vocabulary,
            entries: Vec::with_capacity(forms.len()),
            spans: Vec::new(),
            postings: Vec::new(),
        };
        for (id, form) in &forms {
            index.add(*id, form);
        }
        index.spans.shrink_to_fit();
        index.link();
        index
    }

    fn add(&mut self, id: u32, form: &NameForm) {
        let side = form.side();
        self.entries.push(Entry {
            id,
            spans: self.spans.len() as u32,
            words: form.words.len() as u8,
            weight: side.weight as u8,
            legal_forms: side.legal_forms,
        });
        for span in spans(&form.words) {
            let item = self.vocabulary.find(&span);
            self.spans.extend(item.map(|item| EntrySpan::new(item, span.place.start)));
        }
    }

    /// Lists for each item the entries that have it.
    fn link(&mut self) {
        let mut ends = self.vocabulary.places_for_postings(self.spans.iter().map(|span| span.item()));
        let mut postings = vec![0; self.spans.len()];
        for number in (0..self.entries.len()).rev() {
            for span in self.spans_of(number) {
                let end = &mut ends[span.item() as usize];
                *end -= 1;
                postings[*end as usize] = number as u32;
            }
        }
        self.postings = postings;
    }

    /// The valid entry with the highest score, if that is at least `score_at_least`; of entries with
    /// the same score the one with the lowest id.
    pub fn best(
        &self,
        name: &NameForm,
        score_at_least: u8,
        is_valid: impl Fn(u32) -> bool,
    ) -> Option<Similar> {
        if let Some(entry) = self.equal(name, &is_valid) {
            return Some(Similar { entry, score: 100 });
        }
        let query = self.query(name);
        let mut best: Option<Similar> = None;
        for (highest, number) in self.candidates(&query, score_at_least.max(1)) {
            let id = self.entries[number].id;
            if best.is_some_and(|best| best.score > highest) {
                break;
            }
            let may_be_better = |best: Similar| highest > best.score || id < best.entry;
            if !best.is_none_or(may_be_better) || !is_valid(id) {
                continue;
            }
            let score = self.score(&query, number);
            let is_better = |best: Similar| (score, Reverse(id)) > (best.score, Reverse(best.entry));
            if score >= score_at_least.max(1) && best.is_none_or(is_better) {
                best = Some(Similar { entry: id, score });
            }
        }
        best
    }

    /// An estimate of the memory that the index takes.
    pub fn bytes(&self) -> usize {
        self.vocabulary.bytes()
            + size_of_val(self.entries.as_slice())
            + size_of_val(self.spans.as_slice())
            + size_of_val(self.postings.as_slice())
    }

    /// The valid entry with the same form.
    fn equal(&self, name: &NameForm, is_valid: impl Fn(u32) -> bool) -> Option<u32> {
        let words: Option<Vec<u32>> = name.words.iter().map(|word| self.vocabulary.word(word)).collect();
        let words = words?;
        let rarest = words.iter().map(|item| self.postings_of(*item)).min_by_key(|entries| entries.len())?;
        let has_form = |number: &&u32| {
            let entry = &self.entries[**number as usize];
            let spans = self.spans_of(**number as usize)[..usize::from(entry.words)].iter();
            entry.legal_forms == name.legal_forms && spans.map(|span| span.item()).eq(words.iter().copied())
        };
        let mut ids = rarest.iter().filter(has_form).map(|number| self.entries[*number as usize].id);
        ids.find(|id| is_valid(*id))
    }

    fn query<'a>(&self, form: &'a NameForm) -> Query<'a> {
        let spans = spans(&form.words);
        let similar = self.vocabulary.similar(&spans);
        Query { form, side: form.side(), spans, similar }
    }

    /// The entries that may score enough, by the score that they cannot exceed.
    fn candidates(&self, query: &Query, score_at_least: u8) -> Vec<(u8, usize)> {
        let mut found = vec![Found::default(); self.entries.len()];
        for same_item in query.similar.chunk_by(|a, b| a.item == b.item) {
            let item = same_item[0].item;
            let of_query = same_item.iter().map(|similar| {
                u32::from(similar.similarity) * u32::from(query.spans[usize::from(similar.span)].place.weight)
            });
            let of_query = of_query.max().unwrap_or_default();
            let similarity = same_item.iter().map(|similar| similar.similarity).max().unwrap_or_default();
            let of_entry = u32::from(similarity) * u32::from(self.vocabulary.place(item, 0).weight);
            for number in self.postings_of(item) {
                let found = &mut found[*number as usize];
                found.first += of_query;
                found.second += of_entry;
            }
        }
        let mut candidates: Vec<(u8, usize)> = Vec::new();
        for (number, found) in found.into_iter().enumerate().filter(|(_, found)| found.second > 0) {
            let highest = highest_score(&query.side, &self.side(number), found);
            if highest >= score_at_least {
                candidates.push((highest, number));
            }
        }
        candidates.sort_by_key(|(highest, _)| Reverse(*highest));
        candidates
    }

    /// The score of an entry that has another form.
    fn score(&self, query: &Query, number: usize) -> u8 {
        let entry_is_first = self.is_less(number, query.form);
        let mut matched = Vec::new();
        for span in self.spans_of(number) {
            let second = self.vocabulary.place(span.item(), span.start());
            for similar in query.similar_to(span.item()) {
                let (similarity, first) = (similar.similarity, query.spans[usize::from(similar.span)].place);
                let (first, second) = if entry_is_first { (second, first) } else { (first, second) };
                matched.push(Matched { first, second, similarity });
            }
        }
        if entry_is_first {
            score_of_different(&self.side(number), &query.side, &mut matched)
        } else {
            score_of_different(&query.side, &self.side(number), &mut matched)
        }
    }

    /// Compares as forms are compared.
    fn is_less(&self, number: usize, form: &NameForm) -> bool {
        let entry = &self.entries[number];
        let spans = self.spans_of(number)[..usize::from(entry.words)].iter();
        let words = spans.map(|span| self.vocabulary.text_and_vowels(span.item()));
        let of_form = form.words.iter().map(|word| (word.text.as_ref(), word.vowels));
        words.cmp(of_form).then(entry.legal_forms.cmp(&form.legal_forms)).is_lt()
    }

    fn side(&self, number: usize) -> Side {
        let entry = &self.entries[number];
        Side { weight: u32::from(entry.weight), legal_forms: entry.legal_forms }
    }

    fn spans_of(&self, number: usize) -> &[EntrySpan] {
        let end = self.entries.get(number + 1).map_or(self.spans.len(), |next| next.spans as usize);
        &self.spans[self.entries[number].spans as usize..end]
    }

    fn postings_of(&self, item: u32) -> &[u32] {
        &self.postings[self.vocabulary.postings(item)]
    }
}

impl Query<'_> {
    fn similar_to(&self, item: u32) -> &[SimilarWord] {
        let start = self.similar.partition_point(|similar| similar.item < item);
        let rest = &self.similar[start..];
        &rest[..rest.iter().take_while(|similar| similar.item == item).count()]
    }
}

#[cfg(test)]
mod tests;
