//! The rule `account-check`: finds accounts, banks and currencies that cannot be
//! valid.

mod bic;
mod iban;
mod notation;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_rule::{Account, Evaluation, Fact, Findings, Party, Payment, Prepared, Reason, Rule, currency};

struct AccountCheck;

tollgate_rule::export_rule!(AccountCheck);
tollgate_rule::cases!(AccountCheck, "cases");

/// What happens to a payment that fails a check. Every setting is optional.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// For an IBAN with a wrong length, structure or check digits.
    #[serde(default = "reject")]
    iban: FailureAction,
    /// For an IBAN that begins with letters that no country uses for IBANs.
    #[serde(default = "review")]
    iban_country: FailureAction,
    /// For an IBAN of a country that uses IBANs but is not in the registry.
    #[serde(default = "review")]
    iban_unregistered: FailureAction,
    /// For a bank that is not a well-formed BIC.
    #[serde(default = "review")]
    bic: FailureAction,
    /// For a currency that is not active in ISO 4217, or an amount with another exponent.
    #[serde(default = "reject")]
    currency: FailureAction,
    /// For a payment whose debtor and creditor have the same account.
    #[serde(default = "reject")]
    same_account: FailureAction,
}

/// What happens to a payment that fails a check.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FailureAction {
    /// The check is switched off.
    Off,
    /// A person should review the payment.
    Review,
    /// The payment should not be made.
    Reject,
}

fn reject() -> FailureAction {
    FailureAction::Reject
}

fn review() -> FailureAction {
    FailureAction::Review
}

impl FailureAction {
    fn apply(self, findings: &mut Findings, reason: Option<Reason>) {
        match (self, reason) {
            (FailureAction::Review, Some(reason)) => findings.review(reason),
            (FailureAction::Reject, Some(reason)) => findings.reject(reason),
            (FailureAction::Off, _) | (_, None) => {}
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
    fn action_for(&self, flaw: &iban::Flaw) -> FailureAction {
        match flaw {
            iban::Flaw::UnknownCountry => self.iban_country,
            iban::Flaw::Unregistered => self.iban_unregistered,
            iban::Flaw::Length { .. } | iban::Flaw::Structure | iban::Flaw::CheckDigits => self.iban,
        }
    }
}

/// Reports the first flaw whose check is not switched off.
fn check_iban(side: &str, party: &Party, settings: &Settings, findings: &mut Findings) {
    let Some(account @ Account::Iban(number)) = &party.account else { return };
    let flaws = iban::flaws_of(number).into_iter().flatten();
    let mut candidates = flaws.map(|flaw| (settings.action_for(&flaw), flaw));
    if let Some((action, flaw)) = candidates.find(|(action, _)| *action != FailureAction::Off) {
        action.apply(findings, Some(iban_reason(side, account, &flaw)));
    }
}

fn iban_reason(side: &str, account: &Account, flaw: &iban::Flaw) -> Reason {
    let (masked, number) = (account.masked(), account.number());
    let country = number.get(..2).unwrap_or("?");
    let (code, finding) = match flaw {
        iban::Flaw::UnknownCountry if bic::is_country(country.as_bytes()) => {
            ("iban-country-unknown", format!("begins with {country}, a country that does not use IBANs"))
        }
        iban::Flaw::UnknownCountry => {
            ("iban-country-unknown", format!("begins with {country}, which is not a country code"))
        }
        iban::Flaw::Unregistered => {
            let finding = format!(
                "begins with {country}, a country that is not in the IBAN registry (ISO 13616), so only \
                 its check digits can be verified"
            );
            ("iban-country-unregistered", finding)
        }
        iban::Flaw::Length { expected } => {
            let length = number.chars().count();
            let finding = format!("has {length} characters, but an IBAN of {country} has {expected}");
            ("iban-wrong-length", finding)
        }
        iban::Flaw::Structure => {
            let finding = format!("does not have the structure of an IBAN of {country}");
            ("iban-wrong-structure", finding)
        }
        iban::Flaw::CheckDigits => {
            ("iban-wrong-check-digits", "has wrong check digits, so it is probably mistyped".to_owned())
        }
    };
    let message = format!("The {side}'s IBAN {masked} {finding}.");
    Reason::new(code, message).at(format!("/{side}/account/iban"))
}

fn check_bic(side: &str, party: &Party) -> Option<Reason> {
    let bank = party.bank.as_deref()?;
    if bic::is_well_formed(bank) {
        return None;
    }
    let message = format!(
        "The {side}'s bank is not a valid BIC. A BIC has 8 or 11 letters and digits, and the fifth \
         and sixth are a country code."
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
                "An amount in {currency} has {exponent} decimals, but this amount was read with {}.",
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
    let same =
        notation::letters_and_digits(debtor.number()).eq(notation::letters_and_digits(creditor.number()));
    same.then(|| {
        let message = format!("The debtor and the creditor have the same account {}.", debtor.masked());
        let field = format!("/creditor/account/{}", creditor.kind());
        Reason::new("same-account", message).at(field)
    })
}
