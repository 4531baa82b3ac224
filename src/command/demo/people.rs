//! The people, companies and shops of the demonstration, with their names, accounts, cards and
//! devices. They follow from a seed and a number.
//!
//! Must never name an existing person or an assigned address: the networks are reserved for
//! documentation.

use serde_json::{Value, json};

use super::accounts::{BankCountry, COUNTRIES, iban};
use super::random::Random;

const FIRST_NAMES: [&str; 40] = [
    "Ada",
    "Amélie",
    "Anna",
    "Beatriz",
    "Björn",
    "Carla",
    "Chloé",
    "Daan",
    "Elif",
    "Emma",
    "Finn",
    "Giulia",
    "Hannah",
    "Ines",
    "Jakub",
    "Jana",
    "João",
    "Jonas",
    "Karol",
    "Laura",
    "Leon",
    "Lotte",
    "Luca",
    "Léa",
    "Maja",
    "Marek",
    "Mia",
    "Noah",
    "Nora",
    "Olivia",
    "Oskar",
    "Pablo",
    "Pieter",
    "Ruben",
    "Sofia",
    "Sven",
    "Theo",
    "Valentina",
    "Yara",
    "Zoë",
];
const LAST_NAMES: [&str; 40] = [
    "Almeida",
    "Bakker",
    "Bauer",
    "Bianchi",
    "Castillo",
    "Dupont",
    "Eder",
    "Fischer",
    "Fontaine",
    "García",
    "Gruber",
    "Hoffmann",
    "Huber",
    "Jansen",
    "Kowalska",
    "Kowalski",
    "Lefèvre",
    "Lindqvist",
    "Maes",
    "Moreau",
    "Moretti",
    "Müller",
    "Navarro",
    "Nowak",
    "Ortega",
    "Peeters",
    "Pereira",
    "Ricci",
    "Rossi",
    "Schmid",
    "Schneider",
    "Silva",
    "Smit",
    "Taylor",
    "Vermeer",
    "Visser",
    "Wagner",
    "Walker",
    "Wójcik",
    "Zimmermann",
];
const TRADES: [&str; 12] = [
    "Logistik",
    "Instruments",
    "Textiles",
    "Foods",
    "Timber",
    "Software",
    "Optik",
    "Ceramics",
    "Energy",
    "Printing",
    "Machines",
    "Pharma",
];
const FORMS: [&str; 6] = ["GmbH", "B.V.", "SARL", "S.L.", "Ltd", "S.p.A."];
const SHOPS: [(&str, &str); 14] = [
    ("Blue Bikes", "m-bikes"),
    ("Corner Books", "m-books"),
    ("Daily Greens", "m-greens"),
    ("Kaffee & Kuchen", "m-kaffee"),
    ("Lumen Lamps", "m-lamps"),
    ("Mode Maison", "m-mode"),
    ("North Outdoor", "m-outdoor"),
    ("Pixel Games", "m-games"),
    ("Rail Tickets", "m-rail"),
    ("Sonic Audio", "m-audio"),
    ("Tapas Bar Sol", "m-tapas"),
    ("Toy Attic", "m-toys"),
    ("Vintage Vinyl", "m-vinyl"),
    ("Wine Cellar", "m-wine"),
];
const BINS: [&str; 6] = ["411111", "450875", "516732", "528093", "370012", "601100"];

#[derive(Debug, Clone)]
pub struct Person {
    pub name: String,
    pub country: BankCountry,
    pub iban: String,
    pub customer: String,
    pub fingerprint: String,
    pub bin: &'static str,
    pub device: String,
    pub ip: String,
}

impl Person {
    pub fn number(seed: u64, number: u64) -> Self {
        let mut random = Random::of(seed ^ 0x0070_6572_736f_6e00, number);
        let country = random.pick(&COUNTRIES);
        Self {
            name: format!("{} {}", random.pick(&FIRST_NAMES), random.pick(&LAST_NAMES)),
            country,
            iban: iban(country, &mut random),
            customer: format!("c-{number:06}"),
            fingerprint: format!("card-{}", random.letters(16)),
            bin: random.pick(&BINS),
            device: format!("dev-{}", random.letters(12)),
            ip: address(&mut random),
        }
    }

    /// This person as a party with an account.
    pub fn party(&self) -> Value {
        json!({"name": self.name, "account": {"iban": self.iban}, "country": self.country.code})
    }

    /// This person as a party that pays by card.
    pub fn holder(&self) -> Value {
        json!({"name": self.name, "country": self.country.code})
    }

    pub fn card(&self) -> Value {
        json!({"fingerprint": self.fingerprint, "bin": self.bin, "country": self.country.code})
    }
}

#[derive(Debug, Clone)]
pub struct Firm {
    pub name: String,
    pub country: BankCountry,
    pub iban: String,
    pub customer: String,
}

impl Firm {
    pub fn number(seed: u64, number: u64) -> Self {
        let mut random = Random::of(seed ^ 0x6669_726d, number);
        let country = random.pick(&COUNTRIES);
        Self {
            name: format!("{} {} {}", random.pick(&LAST_NAMES), random.pick(&TRADES), random.pick(&FORMS)),
            country,
            iban: iban(country, &mut random),
            customer: format!("b-{number:05}"),
        }
    }

    pub fn party(&self) -> Value {
        json!({
            "name": self.name, "account": {"iban": self.iban},
            "bank": self.country.bic, "country": self.country.code,
        })
    }
}

/// A shop as a party, and its merchant id.
pub fn shop(random: &mut Random) -> (Value, &'static str) {
    let (name, merchant) = random.pick(&SHOPS);
    (json!({"name": name}), merchant)
}

/// An address from the networks of RFC 5737 and RFC 3849, which are reserved for documentation.
pub fn address(random: &mut Random) -> String {
    if random.chance(300) {
        return format!(
            "2001:db8:{:x}:{:x}::{:x}",
            random.below(65_536),
            random.below(65_536),
            random.between(1, 65_535)
        );
    }
    let network = random.pick(&["192.0.2", "198.51.100", "203.0.113"]);
    format!("{network}.{}", random.between(1, 254))
}
