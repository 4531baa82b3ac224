//! The payments of each kind of payer: amounts, methods and texts.
//!
//! `traffic` adds the reference and the time.

use serde_json::{Value, json};

use super::accounts::mistyped;
use super::payer_kind::PayerKind;
use super::people::{Firm, Person, address, shop};
use super::random::Random;

/// Enough that ordinary payers do not exceed velocity limits.
const PEOPLE: u64 = 8_000;
const FIRMS: u64 = 1_500;
const LANDLORDS: u64 = 120;
const MULES: u64 = 9;

const SERVICES: [(&str, &str, u64); 8] = [
    ("Streamly", "m-streamly", 1_299),
    ("Tonwelle Radio", "m-tonwelle", 999),
    ("Cloudbox", "m-cloudbox", 299),
    ("Fit & Froh", "m-fit", 2_990),
    ("Daily Gazette", "m-gazette", 1_799),
    ("Stadtwerke", "m-stadtwerke", 8_400),
    ("Mobilo", "m-mobilo", 1_499),
    ("Hausrat Plus", "m-hausrat", 1_150),
];
/// Currency, and its usual range in minor units.
const ABROAD: [(&str, u64, u64); 6] = [
    ("USD", 400, 90_000),
    ("USD", 400, 90_000),
    ("JPY", 500, 80_000),
    ("JPY", 500, 80_000),
    ("CHF", 500, 60_000),
    ("GBP", 300, 50_000),
];
const PLACES: [(&str, &str); 6] = [
    ("Harbour Hotel", "m-harbour"),
    ("Airport Taxi", "m-taxi"),
    ("Sakura Ramen", "m-sakura"),
    ("Museum Shop", "m-museum"),
    ("Island Ferries", "m-ferries"),
    ("City Bikes", "m-citybikes"),
];

#[derive(Debug)]
pub struct Payers {
    seed: u64,
}

impl Payers {
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Returns one payment, or the payments of a burst.
    pub fn payments(&self, payer: PayerKind, random: &mut Random) -> Vec<Value> {
        match payer {
            PayerKind::Shopper => vec![self.shopper(random)],
            PayerKind::Subscription => vec![self.subscription(random)],
            PayerKind::Salary => self.salaries(random),
            PayerKind::Rent => vec![self.rent(random)],
            PayerKind::Invoice => vec![self.invoice(random)],
            PayerKind::Traveller => vec![self.traveller(random)],
            PayerKind::CardTester => self.card_tester(random),
            PayerKind::Mule => self.mule(random),
            PayerKind::TypingError => vec![self.typing_error(random)],
            PayerKind::Listed => vec![self.listed(random)],
        }
    }

    fn person(&self, random: &mut Random) -> Person {
        Person::number(self.seed, random.below(PEOPLE))
    }

    fn firm(&self, random: &mut Random) -> Firm {
        Firm::number(self.seed, random.below(FIRMS))
    }

    fn shopper(&self, random: &mut Random) -> Value {
        let (person, (creditor, merchant)) = (self.person(random), shop(random));
        let dear = random.chance(20);
        let amount = if dear { random.between(150_000, 450_000) } else { random.skewed(290, 60_000) };
        json!({
            "amount_minor": amount, "currency": "EUR",
            "method": random.pick(&["card", "card", "card", "wallet"]),
            "debtor": person.holder(), "creditor": creditor,
            "customer": person.customer, "merchant": merchant, "card": person.card(),
            "device": person.device, "ip": person.ip,
            "metadata": {"channel": random.pick(&["web", "web", "app", "till"]), "basket": random.between(1, 9).to_string()},
        })
    }

    fn subscription(&self, random: &mut Random) -> Value {
        let (person, (name, merchant, amount)) = (self.person(random), random.pick(&SERVICES));
        json!({
            "amount_minor": amount, "currency": "EUR", "method": "direct_debit",
            "debtor": person.party(), "creditor": {"name": name},
            "customer": person.customer, "merchant": merchant, "purpose": "SUBS",
            "remittance": format!("{name}, monthly"),
            "metadata": {"mandate": format!("mnd-{}", random.letters(8))},
        })
    }

    /// A company pays its employees one after the other.
    fn salaries(&self, random: &mut Random) -> Vec<Value> {
        let (firm, count) = (self.firm(random), random.between(6, 28));
        let run = random.letters(5);
        let salary = |random: &mut Random| {
            json!({
                "amount_minor": random.between(190_000, 520_000), "currency": "EUR", "method": "credit_transfer",
                "debtor": firm.party(), "creditor": self.person(random).party(),
                "customer": firm.customer, "purpose": "SALA", "remittance": "Salary",
                "metadata": {"channel": "file", "run": run},
            })
        };
        (0..count).map(|_| salary(random)).collect()
    }

    fn rent(&self, random: &mut Random) -> Value {
        let person = self.person(random);
        let landlord = Person::number(self.seed, PEOPLE + random.below(LANDLORDS));
        json!({
            "amount_minor": random.skewed(1_100, 4_800) * 50, "currency": "EUR", "method": "credit_transfer",
            "debtor": person.party(), "creditor": landlord.party(), "customer": person.customer,
            "device": person.device, "ip": person.ip, "purpose": "RENT", "remittance": "Rent",
            "metadata": {"channel": "standing-order"},
        })
    }

    fn invoice(&self, random: &mut Random) -> Value {
        let (payer, payee) = (self.firm(random), self.firm(random));
        let huge = random.chance(25);
        let amount =
            if huge { random.between(5_000_100, 9_000_000) } else { random.skewed(12_000, 4_500_000) };
        let number = random.between(10_000, 99_999);
        json!({
            "amount_minor": amount, "currency": "EUR",
            "method": random.pick(&["credit_transfer", "credit_transfer", "instant"]),
            "debtor": payer.party(), "creditor": payee.party(), "customer": payer.customer, "purpose": "SUPP",
            "remittance": format!("Invoice {number}"),
            "metadata": {"channel": "banking", "invoice": number.to_string()},
        })
    }

    fn traveller(&self, random: &mut Random) -> Value {
        let person = self.person(random);
        let ((currency, least, most), (name, merchant)) = (random.pick(&ABROAD), random.pick(&PLACES));
        json!({
            "amount_minor": random.skewed(least, most), "currency": currency,
            "method": random.pick(&["card", "wallet"]),
            "debtor": person.holder(), "creditor": {"name": name},
            "customer": person.customer, "merchant": merchant, "card": person.card(),
            "device": person.device, "ip": address(random),
            "metadata": {"channel": "till", "trip": "abroad"},
        })
    }

    /// Small amounts test which of many stolen cards still work.
    fn card_tester(&self, random: &mut Random) -> Vec<Value> {
        let (creditor, merchant) = shop(random);
        let (device, ip) = (format!("dev-{}", random.letters(12)), address(random));
        let count = random.between(8, 20);
        let attempt = |random: &mut Random| {
            let holder = self.person(random);
            let fingerprint = format!("card-{}", random.letters(16));
            json!({
                "amount_minor": random.between(100, 499), "currency": "EUR", "method": "card",
                "debtor": holder.holder(), "creditor": creditor,
                "merchant": merchant, "card": {"fingerprint": fingerprint, "bin": holder.bin},
                "device": device, "ip": ip, "metadata": {"channel": "web", "guest": "yes"},
            })
        };
        (0..count).map(|_| attempt(random)).collect()
    }

    /// Victims pay into an account, and then the money is sent to an account abroad.
    fn mule(&self, random: &mut Random) -> Vec<Value> {
        let mule = Person::number(self.seed, PEOPLE + LANDLORDS + random.below(MULES));
        let count = random.between(3, 7);
        let pays_in = |random: &mut Random| {
            let victim = self.person(random);
            json!({
                "amount_minor": random.skewed(25_000, 480_000), "currency": "EUR", "method": "instant",
                "debtor": victim.party(), "creditor": mule.party(), "customer": victim.customer,
                "device": victim.device, "ip": victim.ip, "remittance": "Safe account",
                "metadata": {"channel": "app", "payee": "new"},
            })
        };
        let mut payments: Vec<Value> = (0..count).map(|_| pays_in(random)).collect();
        payments.push(json!({
            "amount_minor": random.between(90_000, 990_000), "currency": "EUR", "method": "credit_transfer",
            "debtor": mule.party(),
            "creditor": {"name": "Bright Trading", "account": {"other": format!("HK{}", random.digits(10))}, "country": "HK"},
            "customer": mule.customer, "device": mule.device, "ip": mule.ip, "metadata": {"channel": "app"},
        }));
        payments
    }

    fn typing_error(&self, random: &mut Random) -> Value {
        let (person, payee) = (self.person(random), self.person(random));
        json!({
            "amount_minor": random.skewed(1_000, 90_000), "currency": "EUR", "method": "credit_transfer",
            "debtor": person.party(),
            "creditor": {"name": payee.name, "account": {"iban": mistyped(&payee.iban)}},
            "customer": person.customer, "device": person.device, "ip": person.ip,
            "remittance": "Thank you", "metadata": {"channel": "web"},
        })
    }

    /// Payees that are on the demonstration's lists.
    fn listed(&self, random: &mut Random) -> Value {
        let person = self.person(random);
        let tax_office = json!({"name": "Tax office", "account": {"iban": "FR1420041010050500013M02606"}});
        let (creditor, amount) = match random.below(5) {
            0 => (
                json!({"name": "Quick Cash", "account": {"iban": "GB33BUKB20201555555555"}}),
                random.skewed(5_000, 200_000),
            ),
            1 => {
                let name = random.pick(&["John Q. Sample", "JOHN Q SAMPLE", "John  Q. Sámple"]);
                (json!({"name": name, "country": "US"}), random.skewed(2_000, 150_000))
            }
            // Above the review limit, so that the effect of a trusted account shows.
            _ => (tax_office, random.between(40_000, 2_400_000)),
        };
        json!({
            "amount_minor": amount, "currency": "EUR", "method": "credit_transfer",
            "debtor": person.party(), "creditor": creditor, "customer": person.customer,
            "device": person.device, "ip": person.ip, "metadata": {"channel": "web"},
        })
    }
}
