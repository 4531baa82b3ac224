//! Which version of a table is valid from when. Lines are added and never changed.

use super::TableName;
use crate::domain::reference::VALID_AFTER_MS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableActivationKind {
    /// The version was uploaded.
    Upload,
    Activate,
    RollBack,
}

impl TableActivationKind {
    pub const ALL: [Self; 3] = [Self::Upload, Self::Activate, Self::RollBack];

    pub fn name(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Activate => "activate",
            Self::RollBack => "roll_back",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The version is valid from `valid_from_ms` until that of the next line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableActivation {
    /// Rises in commit order, across tables and tenants.
    pub sequence: i64,
    pub table: TableName,
    pub version: i32,
    pub kind: TableActivationKind,
    pub activated_by: String,
    pub activated_at_ms: u64,
    pub valid_from_ms: u64,
}

/// When a line takes effect that is written at `now_ms`: never before the line that precedes it,
/// which another node may have written with a clock that is ahead.
pub fn valid_from_ms(now_ms: u64, preceding: Option<&TableActivation>) -> u64 {
    let earliest = preceding.map_or(0, |line| line.valid_from_ms);
    now_ms.saturating_add(VALID_AFTER_MS).max(earliest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_effect_two_seconds_later_and_not_before_the_preceding_one() {
        let preceding = |valid_from_ms| TableActivation {
            sequence: 1,
            table: TableName::parse("bins").expect("a name"),
            version: 1,
            kind: TableActivationKind::Upload,
            activated_by: String::new(),
            activated_at_ms: 0,
            valid_from_ms,
        };
        assert_eq!(valid_from_ms(1_000, None), 3_000);
        assert_eq!(valid_from_ms(1_000, Some(&preceding(2_900))), 3_000);
        assert_eq!(valid_from_ms(1_000, Some(&preceding(3_100))), 3_100);
    }
}
