//! A payment as names and values, from which the input of each engine is made.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use tollgate::domain::party::{Account, Party};
use tollgate::domain::payment::Payment;

/// The fields of the payment that an engine gets. Tollgate always gets all fields.
#[derive(Debug, Clone, Copy)]
pub enum InputFields {
    UsedFields,
    Everything,
}

impl InputFields {
    pub fn name(self) -> &'static str {
        match self {
            Self::UsedFields => "three fields",
            Self::Everything => "all fields",
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
pub enum Value<'a> {
    Number(i64),
    Text(Cow<'a, str>),
}

pub struct Fields<'a>(pub Vec<(&'static str, Value<'a>)>);

impl<'a> Fields<'a> {
    pub fn of(payment: &'a Payment, given: InputFields) -> Self {
        let order = &payment.order;
        let mut fields = Self(Vec::with_capacity(24));
        // Copied, since the text is borrowed from a temporary value.
        fields.0.push(("currency", Value::Text(order.amount.currency().code().to_owned().into())));
        fields.0.push(("amount_minor", Value::Number(order.amount.minor())));
        fields.text("method", Some(order.method.name()));
        if let InputFields::Everything = given {
            fields.add_the_rest(payment);
        }
        fields
    }

    fn add_the_rest(&mut self, payment: &'a Payment) {
        let order = &payment.order;
        self.0.push(("id", Value::Text(payment.id.to_string().into())));
        self.text("reference", Some(&order.reference));
        self.party(["debtor_name", "debtor_account", "debtor_bank", "debtor_country"], &order.debtor);
        self.party(
            ["creditor_name", "creditor_account", "creditor_bank", "creditor_country"],
            &order.creditor,
        );
        self.text("customer", order.customer.as_deref());
        self.text("merchant", order.merchant.as_deref());
        self.text("device", order.device.as_deref());
        if let Some(ip) = order.ip {
            self.0.push(("ip", Value::Text(ip.to_string().into())));
        }
        // Milliseconds of this century are far below the largest number.
        self.0.push(("received_at_ms", Value::Number(payment.received_at_ms as i64)));
        self.text("purpose", order.purpose.as_deref());
        self.text("remittance", order.remittance.as_deref());
        self.text("metadata_order", order.metadata.first().map(|(_, value)| value.as_str()));
    }

    fn party(&mut self, names: [&'static str; 4], party: &'a Party) {
        self.text(names[0], Some(&party.name));
        self.text(names[1], party.account.as_ref().map(Account::as_str));
        self.text(names[2], party.bank.as_deref());
        self.text(names[3], party.country.as_ref().map(|country| country.as_str()));
    }

    fn text(&mut self, name: &'static str, text: Option<&'a str>) {
        if let Some(text) = text {
            self.0.push((name, Value::Text(text.into())));
        }
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
