//! Owns the rule `account-check`: whether accounts, banks and the currency of
//! a payment can be right at all. Must never ask anyone whether they exist.

mod bic;
mod iban;
mod written;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_rule::{Account, Evaluation, Fact, Findings, Party, Payment, Prepared, Reason, Rule, currency};

struct AccountCheck;

tollgate_rule::export_rule!(AccountCheck);
tollgate_rule::cases!(AccountCheck, "cases");

/// What becomes of a payment that fails a check. All may be left out.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// An IBAN of the wrong length or structure, or with wrong check digits.
    #[serde(default = "reject")]
    iban: Treatment,
    /// An IBAN that begins with letters which no country uses for one.
    #[serde(default = "review")]
    iban_country: Treatment,
    /// An IBAN of a country that uses the form without being in the registry.
    #[serde(default = "review")]
    iban_unregistered: Treatment,
    /// A bank that is not named by a well-formed BIC.
    #[serde(default = "review")]
    bic: Treatment,
    /// A currency that is not active in ISO 4217, or another exponent than there.
    #[serde(default = "reject")]
    currency: Treatment,
    /// The debtor's account is the creditor's account.
    #[serde(default = "reject")]
    same_account: Treatment,
}

/// What becomes of a payment that fails a check.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Treatment {
    /// The check is not made.
    Off,
    /// A person should look at it.
    Review,
    /// The payment should not be made.
    Reject,
}

fn reject() -> Treatment {
    Treatment::Reject
}

fn review() -> Treatment {
    Treatment::Review
}

impl Treatment {
    fn apply(self, findings: &mut Findings, reason: Option<Reason>) {
        match (self, reason) {
            (Treatment::Review, Some(reason)) => findings.review(reason),
            (Treatment::Reject, Some(reason)) => findings.reject(reason),
            (Treatment::Off, _) | (_, None) => {}
        }
    }
}

impl Rule for AccountCheck {
    type Settings = Settings;
    type State = Settings;

    fn prepare(settings: Settings) -> Result<Prepared<Settings>, Vec<Reason>> {
        Ok(Prepared::without_facts(settings))
    }

    fn evaluate(payment: &Payment, _: &[Fact], state: &Settings) -> Result<Evaluation, String> {
        let mut findings = Findings::new();
        for (side, party) in [("debtor", &payment.debtor), ("creditor", &payment.creditor)] {
            check_iban(side, party, state, &mut findings);
            state.bic.apply(&mut findings, check_bic(side, party));
        }
        state.currency.apply(&mut findings, check_currency(payment));
        state.same_account.apply(&mut findings, check_same_account(payment));
        Ok(findings.into_evaluation())
    }
}

impl Settings {
    fn treatment_of(&self, flaw: &iban::Flaw) -> Treatment {
        match flaw {
            iban::Flaw::UnknownCountry => self.iban_country,
            iban::Flaw::Unregistered => self.iban_unregistered,
            iban::Flaw::Length { .. } | iban::Flaw::Structure | iban::Flaw::CheckDigits => self.iban,
        }
    }
}

/// Names the first flaw whose check is not off.
fn check_iban(side: &str, party: &Party, settings: &Settings, findings: &mut Findings) {
    let Some(account @ Account::Iban(number)) = &party.account else { return };
    let flaws = iban::flaws_of(number).into_iter().flatten();
    let mut treated = flaws.map(|flaw| (settings.treatment_of(&flaw), flaw));
    if let Some((treatment, flaw)) = treated.find(|(treatment, _)| *treatment != Treatment::Off) {
        treatment.apply(findings, Some(flaw_in_words(side, account, &flaw)));
    }
}

fn flaw_in_words(side: &str, account: &Account, flaw: &iban::Flaw) -> Reason {
    let (masked, number) = (account.masked(), account.number());
    let country = number.get(..2).unwrap_or("?");
    let (code, what) = match flaw {
        iban::Flaw::UnknownCountry if bic::is_country(country.as_bytes()) => {
            ("iban-country-unknown", format!("begins with {country}, a country without IBANs"))
        }
        iban::Flaw::UnknownCountry => {
            ("iban-country-unknown", format!("begins with {country}, which is no country"))
        }
        iban::Flaw::Unregistered => {
            let what = format!(
                "begins with {country}, a country that uses IBANs but is not in the registry of ISO 13616: \
                 only its check digits can be checked"
            );
            ("iban-country-unregistered", what)
        }
        iban::Flaw::Length { expected } => {
            let length = number.chars().count();
            let what = format!("has {length} characters, but one of {country} has {expected}");
            ("iban-wrong-length", what)
        }
        iban::Flaw::Structure => {
            let what = format!("has letters or digits where one of {country} has none");
            ("iban-wrong-structure", what)
        }
        iban::Flaw::CheckDigits => {
            ("iban-wrong-check-digits", "has check digits that do not fit: it is mistyped".to_owned())
        }
    };
    let message = format!("The {side}'s IBAN {masked} {what}.");
    Reason::new(code, message).at(format!("/{side}/account/iban"))
}

fn check_bic(side: &str, party: &Party) -> Option<Reason> {
    let bank = party.bank.as_deref()?;
    if bic::is_well_formed(bank) {
        return None;
    }
    let message = format!(
        "The {side}'s bank is not named by a BIC, which has 8 or 11 letters and digits \
         with the country in the fifth and sixth place."
    );
    Some(Reason::new("bic-malformed", message).at(format!("/{side}/bank")))
}

fn check_currency(payment: &Payment) -> Option<Reason> {
    let amount = &payment.amount;
    let currency = &amount.currency;
    match currency::exponent_of(currency) {
        None => {
            let message = format!("{currency} is not an active currency of ISO 4217.");
            Some(Reason::new("currency-unknown", message).at("/currency"))
        }
        Some(exponent) if exponent != amount.exponent => {
            let message = format!(
                "An amount in {currency} has {exponent} decimals, but this one was read with {}.",
                amount.exponent
            );
            Some(Reason::new("currency-wrong-exponent", message).at("/currency"))
        }
        Some(_) => None,
    }
}

fn check_same_account(payment: &Payment) -> Option<Reason> {
    let debtor = payment.debtor.account.as_ref()?;
    let creditor = payment.creditor.account.as_ref()?;
    let same = written::significant(debtor.number()).eq(written::significant(creditor.number()));
    same.then(|| {
        let message = format!("Debtor and creditor have the same account {}.", debtor.masked());
        let field = format!("/creditor/account/{}", creditor.kind());
        Reason::new("same-account", message).at(field)
    })
}
