//! The commands `migrate`, those of tenants, `erase`, `client create`, `client new-secret` and those
//! of users, which operators run on the database
//! itself.
//!
//! A server may run at the same time. A secret must be printed only once and never be logged.

use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use uuid::Uuid;

use super::Failure;
use super::output::print_result;
use crate::app::database::Database;
use crate::app::tenants::{self, ClientLimits, ClientRequest};
use crate::app::users::{self, UserRequest};
use crate::auth::scope::ScopeSet;
use crate::config::Config;
use crate::domain::card_check::CheckedField;
use crate::domain::client_certificate::CertificateBinding;
use crate::domain::payment::PaymentId;
use crate::domain::retention::RetentionMonths;
use crate::domain::tenant::{ClientId, Scope};
use crate::domain::user::{EmailAddress, Role};
use crate::storage::databases::Databases;

/// The actor in the audit log.
pub(super) const ACTOR: &str = "command line";

pub async fn migrate(config: Config) -> Result<ExitCode, Failure> {
    on_database(config, async |_| {
        print_result!("The database is up to date.");
        Ok(())
    })
    .await
}

pub async fn create_tenant(config: Config, name: String) -> Result<ExitCode, Failure> {
    on_database(config, async |pools| {
        let tenant = tenants::create_tenant(&pools.system, &name, ACTOR).await?;
        print_result!("tenant {name}: {tenant}");
        Ok(())
    })
    .await
}

/// Parses the name of a field.
pub(super) fn checked_fields() -> impl TypedValueParser<Value = CheckedField> {
    PossibleValuesParser::new(CheckedField::ALL.map(CheckedField::name))
        .try_map(|name| CheckedField::parse(&name).ok_or("no such field"))
}

/// Changes the check of one field. `None` prints the current settings instead.
pub async fn card_check(
    config: Config,
    tenant: String,
    change: Option<(CheckedField, bool)>,
) -> Result<ExitCode, Failure> {
    let word = |checked: bool| if checked { "on" } else { "off" };
    on_database(config, async |pools| {
        let Some((field, checked)) = change else {
            let unchecked = tenants::unchecked(&pools.system, &tenant).await?;
            for field in CheckedField::ALL {
                print_result!("{}: {}", field.name(), word(!unchecked.contains(field)));
            }
            return Ok(());
        };
        let changed = tenants::set_card_check(&pools.system, &tenant, field, checked, ACTOR).await?;
        let since = if changed { "" } else { " already" };
        print_result!("The card number check of {} is {}{since}.", field.name(), word(checked));
        Ok(())
    })
    .await
}

pub async fn erase(config: Config, tenant: String, id: Uuid, reason: String) -> Result<ExitCode, Failure> {
    on_database(config, async |pools| {
        let erasure = tenants::erase(pools, &tenant, PaymentId(id), reason, ACTOR).await?;
        print_result!("The personal data of the payment {id} is erased, since {} ms.", erasure.erased_at_ms);
        Ok(())
    })
    .await
}

/// A retention as it is written on the command line. `None` keeps everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetentionSetting(Option<RetentionMonths>);

pub(super) fn retention_setting(text: &str) -> Result<RetentionSetting, String> {
    if text == "all" {
        return Ok(RetentionSetting(None));
    }
    let months = text.parse().ok().and_then(RetentionMonths::new);
    let expected = || format!("expected a number of months from 1 to {}, or all", RetentionMonths::MAX);
    months.map(|months| RetentionSetting(Some(months))).ok_or_else(expected)
}

/// Changes the retention. `None` prints the current setting instead.
pub async fn retention(
    config: Config,
    tenant: String,
    change: Option<RetentionSetting>,
) -> Result<ExitCode, Failure> {
    on_database(config, async |pools| {
        let kept = match change {
            None => tenants::retention(pools, &tenant).await?,
            Some(RetentionSetting(retention)) => {
                tenants::set_retention(&pools.system, &tenant, retention, ACTOR).await?;
                retention
            }
        };
        match kept {
            Some(months) => {
                print_result!("Decisions of {tenant} are kept for {months}, and the current month.")
            }
            None => print_result!("All decisions of {tenant} are kept."),
        }
        Ok(())
    })
    .await
}

/// Ends the need for a second person.
pub async fn one_person(config: Config, tenant: String) -> Result<ExitCode, Failure> {
    on_database(config, async |pools| {
        match tenants::need_no_second_person(&pools.system, &tenant, ACTOR).await? {
            true => print_result!("From now on, changes of {tenant} need one person."),
            false => print_result!("Changes of {tenant} needed one person before, too."),
        }
        Ok(())
    })
    .await
}

pub async fn allow_passwords(config: Config, tenant: String) -> Result<ExitCode, Failure> {
    on_database(config, async |pools| {
        if tenants::allow_passwords(pools, &tenant, ACTOR).await? {
            print_result!("The people of {tenant} may sign in with passwords again.");
            print_result!("For whoever has none: tollgate user password-link");
        } else {
            print_result!("The people of {tenant} may sign in with passwords already.");
        }
        Ok(())
    })
    .await
}

pub async fn create_client(
    config: Config,
    tenant: String,
    name: String,
    scopes: Option<String>,
    limits: ClientLimits,
) -> Result<ExitCode, Failure> {
    let scopes = match scopes {
        Some(text) => ScopeSet::parse(&text).ok_or_else(|| {
            let known: Vec<&str> = Scope::ALL.into_iter().map(Scope::name).collect();
            format!("--scopes: expected one or more of: {}", known.join(" "))
        })?,
        None => Scope::of_clients_by_default().collect(),
    };
    let order = ClientRequest { tenant, name, scopes, created_by: ACTOR.to_owned() };
    on_database(config, async |pools| {
        let created = tenants::create_client_with(&pools.system, order, limits).await?;
        print_result!("client_id={}", created.id);
        print_result!("client_secret={}", created.secret.expose());
        print_result!("The secret is shown only once.");
        Ok(())
    })
    .await
}

/// Changes which certificate a client must show. `None` means none.
pub async fn bind_client(
    config: Config,
    tenant: String,
    client: Uuid,
    certificate: Option<CertificateBinding>,
) -> Result<ExitCode, Failure> {
    let needs = certificate.is_some();
    on_database(config, async |pools| {
        users::bind_client(pools, &tenant, ClientId(client), certificate, ACTOR).await?;
        match needs {
            true => print_result!("From now on, the client needs both its secret and its certificate."),
            false => print_result!("From now on, the client needs no certificate."),
        }
        print_result!("If that is a change, the tokens that it has are refused within a second.");
        Ok(())
    })
    .await
}

/// Replaces a client's secret, and ends the one before at once or after the overlap.
pub async fn new_client_secret(
    config: Config,
    tenant: String,
    client: Uuid,
    overlap_s: u64,
) -> Result<ExitCode, Failure> {
    on_database(config, async |pools| {
        let client = ClientId(client);
        let secret = users::replace_client_secret(pools, &tenant, client, overlap_s, ACTOR).await?;
        print_result!("client_secret={}", secret.expose());
        match overlap_s {
            0 => print_result!("The secret before is refused from now on, and so are its tokens."),
            seconds => print_result!("The secret before is accepted for {seconds} more seconds."),
        }
        Ok(())
    })
    .await
}

pub async fn create_user(
    config: Config,
    tenant: String,
    email: EmailAddress,
    display_name: String,
    roles: Vec<Role>,
) -> Result<ExitCode, Failure> {
    let page = users::page_address(&config);
    let order = UserRequest { tenant, email, display_name, roles, created_by: ACTOR };
    on_database(config, async |pools| {
        let link = users::create_user(pools, &page, order).await?;
        print_result!("{}", link.address.as_str());
        print_result!("With this link, the person chooses a password. It works once, within three days.");
        Ok(())
    })
    .await
}

pub async fn new_password_link(
    config: Config,
    tenant: String,
    email: EmailAddress,
) -> Result<ExitCode, Failure> {
    let page = users::page_address(&config);
    on_database(config, async |pools| {
        let link = users::new_password_link(pools, &page, &tenant, email, ACTOR).await?;
        print_result!("{}", link.address.as_str());
        print_result!("With this link, the person chooses a password. It works once, within three days.");
        Ok(())
    })
    .await
}

pub async fn remove_second_factor(
    config: Config,
    tenant: String,
    email: EmailAddress,
) -> Result<ExitCode, Failure> {
    on_database(config, async |pools| {
        users::remove_second_factor(pools, &tenant, email, ACTOR).await?;
        print_result!("The second factor is removed. All sessions of the user have ended.");
        Ok(())
    })
    .await
}

/// Does the work and then closes the database even after an error: a private server that this
/// command started must not outlive it.
pub(super) async fn on_database(
    config: Config,
    work: impl AsyncFnOnce(&Databases) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    let database = Database::open_or_join(&config).await?;
    let pools = Databases::connect_lazily(&database.settings)?;
    let worked = work(&pools).await;
    pools.close().await;
    let closed = database.close().await;
    worked?;
    closed?;
    Ok(ExitCode::SUCCESS)
}
