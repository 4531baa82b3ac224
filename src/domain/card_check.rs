//! The fields for which an operator may switch off the check for card numbers.
//!
//! These are identifiers that other systems assign, and texts that contain them. Fields of cards
//! and people, and notes, must never be added.

/// A field whose check can be switched off for a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckedField {
    Reference,
    AccountOther,
    Bank,
    Customer,
    Merchant,
    Device,
    Remittance,
    Metadata,
    IdempotencyKey,
    ListValue,
    TableValue,
}

impl CheckedField {
    pub const ALL: [Self; 11] = [
        Self::Reference,
        Self::AccountOther,
        Self::Bank,
        Self::Customer,
        Self::Merchant,
        Self::Device,
        Self::Remittance,
        Self::Metadata,
        Self::IdempotencyKey,
        Self::ListValue,
        Self::TableValue,
    ];

    /// The name in the database and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::AccountOther => "account.other",
            Self::Bank => "bank",
            Self::Customer => "customer",
            Self::Merchant => "merchant",
            Self::Device => "device",
            Self::Remittance => "remittance",
            Self::Metadata => "metadata",
            Self::IdempotencyKey => "idempotency_key",
            Self::ListValue => "list.value",
            Self::TableValue => "table.value",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// The fields of one tenant that are not checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UncheckedFields(u16);

impl UncheckedFields {
    pub const NONE: Self = Self(0);

    pub fn contains(self, field: CheckedField) -> bool {
        self.0 & (1 << field as u16) != 0
    }

    #[must_use]
    pub fn with(self, field: CheckedField) -> Self {
        Self(self.0 | 1 << field as u16)
    }
}

impl FromIterator<CheckedField> for UncheckedFields {
    fn from_iter<I: IntoIterator<Item = CheckedField>>(fields: I) -> Self {
        fields.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read_back_from_its_name_and_stands_for_itself_alone() {
        for field in CheckedField::ALL {
            assert_eq!(CheckedField::parse(field.name()), Some(field));
            let unchecked = UncheckedFields::NONE.with(field);
            let contained = CheckedField::ALL.into_iter().filter(|other| unchecked.contains(*other));
            assert_eq!(contained.collect::<Vec<_>>(), [field]);
        }
    }
}
