//! The demonstration: a tenant with a client, lists and an active ruleset of the four shipped
//! rules.
//!
//! It is created once, and later changes are kept. Must only be created if the configuration
//! asks for it.

use serde_json::{Value, json};
use thiserror::Error;
use uuid::Uuid;

use super::tenants::{ClientRequest, CreatedClient, TenantError, create_client, create_tenant};
use super::users::{UserError, UserRequest, create_user};
use crate::decisions::plugins::Plugins;
use crate::decisions::rulesets::{RevisionError, Rulesets};
use crate::domain::comparison::ValueKind;
use crate::domain::list::{EntryValueError, ListKinds};
use crate::domain::plugin::Plugin;
use crate::domain::ruleset::{DecisionPoint, Mode, RuleEntry};
use crate::domain::tenant::{Scope, TenantId};
use crate::domain::time::Randomness;
use crate::domain::user::{EmailAddress, EmailAddressError, Role};
use crate::domain::verdict::FailureOutcome;
use crate::people::users::PasswordLink;
use crate::storage::lists::{self, AddEntryError, CreateListError, NewEntry, NewList};
use crate::storage::rulesets::{ActivateError, ActivationRequest, ExpectedActivation};
use crate::storage::{StorageError, databases::Databases, tenants};
use crate::world::OsRandomness;

pub const TENANT: &str = "demo";
/// The user who may do everything.
const EMAIL: &str = "ann@demo.example";
const ACTOR: &str = "demonstration";

#[derive(Debug, Error)]
pub enum DemoError {
    #[error("the demonstration needs the plugin {0}, which is not in the plugins folder")]
    PluginMissing(&'static str),
    #[error("the demonstration tenant could not be created")]
    Tenant(#[from] TenantError),
    #[error("the demonstration ruleset was refused: {0:?}")]
    Revision(#[from] RevisionError),
    #[error("the demonstration ruleset could not be activated")]
    Activate(#[from] ActivateError),
    #[error("the demonstration lists could not be created")]
    List(#[from] CreateListError),
    #[error("an entry of the demonstration does not fit its list")]
    Value(#[from] EntryValueError),
    #[error("the demonstration lists could not be filled")]
    Entry(#[from] AddEntryError),
    #[error("the demonstration user could not be created")]
    User(#[from] UserError),
    #[error("the address of the demonstration user is wrong")]
    Email(#[from] EmailAddressError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What was created for the demonstration. Both secrets are shown once.
#[derive(Debug)]
pub struct DemoAccess {
    client: CreatedClient,
    link: PasswordLink,
}

/// Returns the new client and user, or `None` if the tenant exists already.
pub async fn seed(
    databases: &Databases,
    plugins: &Plugins,
    rulesets: &Rulesets,
    shared: &[Plugin],
    now_ms: u64,
) -> Result<Option<DemoAccess>, DemoError> {
    if tenants::tenant_by_name(&databases.system, TENANT).await?.is_some() {
        return Ok(None);
    }
    let entries = ruleset(shared)?;
    for entry in &entries {
        plugins.ensure_loaded(entry.plugin).await?;
    }
    let tenant = create_tenant(&databases.system, TENANT, ACTOR).await?;
    fill_lists(databases, tenant, now_ms).await?;
    let note = "Demonstration rules".to_owned();
    let revision = rulesets.create_revision(tenant, ACTOR, entries, note).await?;
    let request = ActivationRequest::Activate { revision: revision.number, guard_backtest: None };
    rulesets
        .activate(tenant, DecisionPoint::Payment, request, ACTOR.into(), ExpectedActivation::default())
        .await?;
    let user = UserRequest {
        tenant: TENANT.to_owned(),
        email: EmailAddress::parse(EMAIL)?,
        display_name: "Ann Admin".to_owned(),
        roles: vec![Role::Admin],
        created_by: ACTOR,
    };
    // The address of the server is not known yet.
    let link = create_user(databases, "", user).await?;
    // The client is created last: if it exists, so does everything else.
    let order = ClientRequest {
        tenant: TENANT.to_owned(),
        name: "demonstration".to_owned(),
        scopes: Scope::of_clients_by_default().collect(),
        created_by: ACTOR.to_owned(),
    };
    let client = create_client(&databases.system, order).await?;
    Ok(Some(DemoAccess { client, link }))
}

fn ruleset(shared: &[Plugin]) -> Result<Vec<RuleEntry>, DemoError> {
    let entry = |name: &'static str, overridable: bool, settings: Value| -> Result<RuleEntry, DemoError> {
        let plugin = shared.iter().find(|plugin| plugin.description.name == name);
        let plugin = plugin.ok_or(DemoError::PluginMissing(name))?.digest;
        Ok(RuleEntry {
            name: name.to_owned(),
            plugin,
            settings: settings.to_string(),
            on_failure: FailureOutcome::Review,
            overridable,
            mode: Mode::Live,
        })
    };
    Ok(vec![
        entry("account-check", false, json!({}))?,
        entry(
            "amount-limits",
            true,
            json!({
                "limits": [
                    {"currency": "EUR", "review_above_minor": 1_000_000, "maximum_minor": 5_000_000},
                    {"currency": "EUR", "method": "card", "review_above_minor": 200_000, "maximum_minor": 1_000_000},
                    {"currency": "USD", "review_above_minor": 1_100_000, "maximum_minor": 5_500_000},
                    {"currency": "JPY", "review_above_minor": 1_500_000, "maximum_minor": 7_500_000}
                ],
                "without_limit": "review"
            }),
        )?,
        entry(
            "party-lists",
            false,
            json!({
                "lists": [
                    {"list": "blocked-accounts", "selector": "creditor_account", "verdict": "reject"},
                    {"list": "watched-names", "selector": "creditor_name", "matching": "normalized_name", "verdict": "review"},
                    {"list": "trusted-accounts", "selector": "creditor_account", "verdict": "allow"}
                ]
            }),
        )?,
        entry(
            "velocity",
            true,
            json!({
                "limits": [
                    {"selector": "debtor_account", "window_seconds": 3_600, "max_count": 20, "verdict": "review"},
                    {"selector": "debtor_account", "window_seconds": 86_400, "currency": "EUR",
                     "max_total_minor": 10_000_000, "verdict": "reject"}
                ]
            }),
        )?,
    ])
}

/// Name, kind, description, and the value and reason of the only entry.
const LISTS: [(&str, ValueKind, &str, &str, &str); 3] = [
    (
        "blocked-accounts",
        ValueKind::Account,
        "Blocked accounts",
        "GB33BUKB20201555555555",
        "Reported as a mule account",
    ),
    (
        "watched-names",
        ValueKind::Name,
        "Names that require a review",
        "John Q. Sample",
        "Resembles a sanctioned person",
    ),
    (
        "trusted-accounts",
        ValueKind::Account,
        "Accounts whose payments need no review",
        "FR1420041010050500013M02606",
        "The tax office",
    ),
];

async fn fill_lists(databases: &Databases, tenant: TenantId, now_ms: u64) -> Result<(), DemoError> {
    for (list, kind, description, value, reason) in LISTS {
        let new = NewList {
            name: list.to_owned(),
            description: description.to_owned(),
            kind,
            created_by: ACTOR.to_owned(),
            created_at_ms: now_ms,
        };
        lists::create(&databases.app, tenant, new, u32::MAX).await?;
        let id: Uuid = OsRandomness.uuid_v7(now_ms);
        let entry = NewEntry {
            id,
            value: value.to_owned(),
            forms: ListKinds::one(kind).forms(value)?,
            reason: reason.to_owned(),
            valid_from_ms: now_ms,
            valid_to_ms: None,
            added_by: ACTOR.to_owned(),
        };
        lists::add_entry(&databases.app, tenant, list, entry, u32::MAX, ACTOR.into(), now_ms).await?;
    }
    Ok(())
}

/// The text that is printed once the server is ready.
pub fn welcome(address: &str, created: Option<&DemoAccess>) -> String {
    let credentials = match created {
        Some(DemoAccess { client, link }) => format!(
            "The tenant \"{TENANT}\" has been created. The secret of its client is shown only once:\n\n  \
             export TOLLGATE={address}\n  export CLIENT_ID={}\n  export CLIENT_SECRET={}\n\n\
             To sign in to the page as {EMAIL}, choose a password first. This link works once:\n\n  \
             {address}{}\n",
            client.id,
            client.secret.expose(),
            link.address.as_str()
        ),
        None => format!(
            "The tenant \"{TENANT}\" already exists. If you lost its client's secret, create a new \
             client:\n\n  tollgate client create --tenant {TENANT} --name mine\n  export \
             TOLLGATE={address}\n"
        ),
    };
    format!(
        "\n{credentials}\n{}\n  Page: {address}/admin   API: {address}/docs\n",
        include_str!("demo_session.txt")
    )
}
