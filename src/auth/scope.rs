//! Sets of scopes and their text form (RFC 6749 section 3.3).

use std::fmt;

use crate::domain::tenant::Scope;

/// A bit per scope, in the order of [`Scope::ALL`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(u32);

const _: () = assert!(Scope::ALL.len() <= 32);

impl ScopeSet {
    pub const EMPTY: Self = Self(0);

    /// Parses space-separated scopes. An unknown scope is an error.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(' ').map(Scope::parse).collect()
    }

    /// As `parse`, but leaves out unknown scopes: a newer node may have issued the token,
    /// and no route of this node requires them.
    pub fn parse_known(text: &str) -> Self {
        text.split(' ').filter_map(Scope::parse).collect()
    }

    pub fn contains(self, scope: Scope) -> bool {
        self.0 & bit(scope) != 0
    }

    pub fn is_subset_of(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

fn bit(scope: Scope) -> u32 {
    1 << (scope as u32)
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | bit(scope)))
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, scope) in self.iter().enumerate() {
            let separator = if position == 0 { "" } else { " " };
            write!(f, "{separator}{}", scope.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeSet({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_has_a_bit_of_its_own() {
        let all: ScopeSet = Scope::ALL.into_iter().collect();
        assert_eq!(all.iter().collect::<Vec<_>>(), Scope::ALL);
        assert_eq!(ScopeSet::parse(&all.to_string()), Some(all));
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let set = ScopeSet::parse("lists:read payments:write lists:read").expect("parses");
        assert_eq!(set.to_string(), "payments:write lists:read");
    }

    #[test]
    fn text_that_is_not_a_list_of_known_scopes_is_refused() {
        for text in
            ["", " ", "payments:write ", " payments:write", "payments:write  lists:read", "everything"]
        {
            assert_eq!(ScopeSet::parse(text), None, "{text:?}");
        }
        assert_eq!(ScopeSet::parse_known("everything lists:read").to_string(), "lists:read");
        assert_eq!(ScopeSet::parse_known(""), ScopeSet::EMPTY);
    }

    #[test]
    fn a_subset_has_nothing_of_its_own() {
        let [small, large] =
            ["lists:read", "lists:read lists:write"].map(|text| ScopeSet::parse(text).expect("parses"));
        assert!(
            small.is_subset_of(large) && small.is_subset_of(small) && ScopeSet::EMPTY.is_subset_of(small)
        );
        assert!(!large.is_subset_of(small));
        assert!(small.contains(Scope::ListsRead) && !small.contains(Scope::ListsWrite));
    }
}
