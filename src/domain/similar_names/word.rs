//! The words of a name and how much each counts.

/// Letters of a word that are compared. More letters would allow a list to make look-ups slow.
pub const MAX_LETTERS: usize = 32;

/// A word of lower-case Latin letters and digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word {
    pub text: Box<str>,
    pub vowels: Vowels,
}

/// Arabic and Hebrew are written without most vowels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vowels {
    Written,
    LeftOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The part of a name that tells it from others.
    Name,
    Initial,
    /// An article or a preposition, such as `al`, `van` or `of`.
    Particle,
    /// A word of very many companies, such as `trading`.
    Business,
}

impl Word {
    pub fn class(&self) -> Class {
        let text = self.text.as_ref();
        if is_initial(text) {
            Class::Initial
        } else if PARTICLES.binary_search(&text).is_ok() {
            Class::Particle
        } else if BUSINESS.binary_search(&text).is_ok() {
            Class::Business
        } else {
            Class::Name
        }
    }

    pub fn weight(&self) -> u8 {
        match self.class() {
            Class::Particle => 1,
            Class::Initial | Class::Business => 2,
            Class::Name => self.text.len().clamp(2, 8) as u8,
        }
    }
}

pub fn is_initial(text: &str) -> bool {
    text.len() == 1 && text.as_bytes()[0].is_ascii_alphabetic()
}

/// Sorted.
const PARTICLES: &[&str] = &[
    "al", "and", "bin", "bint", "da", "das", "de", "degli", "dei", "del", "della", "den", "der", "des", "di",
    "do", "dos", "du", "ed", "el", "et", "for", "fur", "ibn", "la", "le", "les", "los", "of", "ter", "the",
    "und", "van", "vom", "von", "zu", "zum", "zur",
];

/// Sorted.
const BUSINESS: &[&str] = &[
    "association",
    "banco",
    "bank",
    "banka",
    "banque",
    "business",
    "center",
    "centre",
    "commerce",
    "commercial",
    "construction",
    "consulting",
    "development",
    "engineering",
    "enterprise",
    "enterprises",
    "export",
    "finance",
    "financial",
    "fund",
    "general",
    "global",
    "group",
    "groupe",
    "grupo",
    "gruppe",
    "handel",
    "handels",
    "holding",
    "holdings",
    "import",
    "industrial",
    "industries",
    "industry",
    "institute",
    "international",
    "internationale",
    "investment",
    "investments",
    "logistics",
    "management",
    "national",
    "organisation",
    "organization",
    "partners",
    "production",
    "service",
    "services",
    "shipping",
    "solutions",
    "systems",
    "technologies",
    "technology",
    "trade",
    "trading",
    "transport",
    "union",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_can_be_searched() {
        assert!(PARTICLES.is_sorted());
        assert!(BUSINESS.is_sorted());
    }
}
