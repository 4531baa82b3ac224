//! The kinds of payers of the demonstration's traffic.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PayerKind {
    Shopper,
    Subscription,
    Salary,
    Rent,
    Invoice,
    Traveller,
    CardTester,
    Mule,
    TypingError,
    Listed,
}

impl PayerKind {
    pub const ALL: [Self; 10] = [
        Self::Shopper,
        Self::Subscription,
        Self::Salary,
        Self::Rent,
        Self::Invoice,
        Self::Traveller,
        Self::CardTester,
        Self::Mule,
        Self::TypingError,
        Self::Listed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Shopper => "shopper",
            Self::Subscription => "subscription",
            Self::Salary => "salary",
            Self::Rent => "rent",
            Self::Invoice => "invoice",
            Self::Traveller => "traveller",
            Self::CardTester => "card tester",
            Self::Mule => "mule",
            Self::TypingError => "typing error",
            Self::Listed => "listed",
        }
    }

    /// Whether its payments come in bursts.
    pub fn bursts(self) -> bool {
        matches!(self, Self::Salary | Self::CardTester | Self::Mule)
    }

    /// Its share of the traffic. A burst counts once.
    pub fn weight(self) -> u64 {
        match self {
            Self::Shopper => 470,
            Self::Subscription => 130,
            Self::Invoice => 90,
            Self::Traveller => 80,
            Self::Rent => 70,
            Self::Listed => 40,
            Self::TypingError => 30,
            Self::Salary => 12,
            Self::Mule => 8,
            Self::CardTester => 6,
        }
    }
}
