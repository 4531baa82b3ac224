//! The command line: arguments and output.
//!
//! Must never contain logic that the API needs as well.

mod administration;
mod demo;
mod health;
mod import;
mod list;
mod output;
mod plugin;
mod progress;
mod replay;
mod serve;
mod table;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use administration::RetentionSetting;

use crate::app::tenants::ClientLimits;
use crate::config::{Config, Role as ProcessRole};
use crate::domain::card_check::CheckedField;
use crate::domain::client_certificate::{BoundDnsName, BoundUri, CertificateBinding, CertificateThumbprint};
use crate::domain::user::{EmailAddress, Role};
use crate::http::openapi;
use crate::rules::compile;
use crate::storage::private_server::{SHIM_COMMAND, become_program};
use crate::telemetry;

/// Payment decisions by rules that run as sandboxed plugins.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default).
    Serve {
        /// What this process does, separated by commas. Default: the setting `tollgate.roles`, or all.
        #[arg(long, value_delimiter = ',', value_name = "ROLES")]
        roles: Option<Vec<ProcessRole>>,
    },
    /// Ask the running server of the same configuration how it is. Fails if it is not well.
    Health {
        /// Check whether the server can make decisions. Without this, only whether it is running.
        #[arg(long)]
        ready: bool,
    },
    /// Create the database roles and apply pending migrations, then exit.
    Migrate,
    /// Manage tenants, the customers of the platform.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Manage clients, the programs that call the API for a tenant.
    #[command(subcommand)]
    Client(ClientCommand),
    /// Manage users, the people who sign in to the page.
    #[command(subcommand)]
    User(UserCommand),
    /// Replay stored decisions and compare the results.
    ///
    /// Shows, for example after an upgrade, that the same evidence still leads to the same decisions.
    Replay {
        /// How far back to go, for example 90m, 24h or 7d. Default: all decisions.
        #[arg(long, value_parser = replay::parse_age)]
        since: Option<Duration>,
        /// Name of a tenant. Default: all tenants.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Erase the personal data of a payment. Its decision stays, so that the journal still verifies.
    Erase {
        /// Name of the tenant.
        #[arg(long)]
        tenant: String,
        /// Id of the payment.
        id: uuid::Uuid,
        /// Why, for the audit log, which is never changed: without personal data.
        #[arg(long)]
        reason: String,
    },
    /// Verify the journal: find decisions that were changed, removed, swapped or cut off.
    Verify {
        /// Checkpoints as JSON lines, kept outside the database. Default: the file in the data folder.
        #[arg(long, value_name = "FILE")]
        checkpoints: Vec<PathBuf>,
    },
    /// Import the payment history of another system.
    ///
    /// The input has one JSON object per line: a payment with its outcome and events.
    Import(import::ImportOrder),
    /// Import entries into a list, or export them.
    #[command(subcommand)]
    List(list::ListCommand),
    /// Import the rows of a table as a new version, export them, compare versions, or roll back.
    #[command(subcommand)]
    Table(table::TableCommand),
    /// Send realistic traffic to the demonstration tenant, or generate a history for import.
    Demo(demo::DemoOptions),
    /// Print the OpenAPI document of the API.
    Openapi,
    /// Build, check and run plugins, without a server.
    #[command(subcommand)]
    Plugin(PluginCommand),
}

#[derive(Debug, Subcommand)]
enum TenantCommand {
    /// Create a tenant.
    Create {
        /// Name of the tenant: lower-case words joined by hyphens.
        name: String,
    },
    /// Show which fields are checked for card numbers, or change the check of one field.
    ///
    /// Switch the check off only for fields whose values look like card numbers but are not.
    CardCheck {
        /// Name of the tenant.
        #[arg(long)]
        tenant: String,
        /// The field to change. Default: show all fields.
        #[arg(long, requires = "state", value_parser = administration::checked_fields())]
        field: Option<CheckedField>,
        /// Whether the field is checked.
        #[arg(requires = "field")]
        state: Option<Switch>,
    },
    /// Show how long the decisions of a tenant are kept, or change it.
    ///
    /// Older decisions are removed in the background, month by month, and cannot be recovered.
    Retention {
        /// Name of the tenant.
        #[arg(long)]
        tenant: String,
        /// Whole months to keep before the current one, or `all` to keep everything. Default: show the
        /// setting.
        #[arg(value_parser = administration::retention_setting)]
        months: Option<RetentionSetting>,
    },
    /// Let one administrator be enough for changes, if no second one is left to approve them.
    OnePerson {
        /// Name of the tenant.
        #[arg(long)]
        tenant: String,
    },
    /// Let the people of a tenant sign in with passwords again.
    ///
    /// For a tenant that had switched passwords off and whose provider of OpenID Connect lets nobody
    /// in any more.
    AllowPasswords {
        /// Name of the tenant.
        #[arg(long)]
        tenant: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Create a client. Its secret is printed once.
    Create {
        /// Name of the tenant.
        #[arg(long)]
        tenant: String,
        /// A descriptive name for people.
        #[arg(long)]
        name: String,
        /// Scopes of the client, separated by spaces. Default: all, except those that give others access.
        #[arg(long)]
        scopes: Option<String>,
        /// Requests per second that the client may send to each node; 0 for no limit. Default: the
        /// node's setting.
        #[arg(long, value_name = "N")]
        requests_per_s: Option<u32>,
        #[command(flatten)]
        certificate: CertificateChoice,
    },
    /// Change which certificate a client must show beside its secret. Its tokens end.
    Certificate {
        /// Name of the tenant.
        #[arg(long)]
        tenant: String,
        /// Id of the client.
        id: uuid::Uuid,
        #[command(flatten)]
        certificate: CertificateChoice,
        /// The secret alone is enough.
        #[arg(long, conflicts_with = "CertificateChoice", required_unless_present = "CertificateChoice")]
        no_certificate: bool,
    },
    /// Replace the secret of a client. The new one is printed once.
    ///
    /// This is the way out if a secret has leaked: without an overlap, the secret before and every token
    /// that was requested with it are refused on all nodes within a second.
    NewSecret {
        /// Name of the tenant.
        #[arg(long)]
        tenant: String,
        /// Id of the client.
        id: uuid::Uuid,
        /// For how many seconds the secret before is accepted beside the new one.
        #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=604_800))]
        overlap_s: u64,
    },
}

/// The certificate that a client must show, by at most one of these.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct CertificateChoice {
    /// The certificate must have this DNS name.
    #[arg(long, value_name = "NAME", value_parser = BoundDnsName::parse)]
    certificate_dns: Option<BoundDnsName>,
    /// The certificate must have this URI.
    #[arg(long, value_name = "URI", value_parser = BoundUri::parse)]
    certificate_uri: Option<BoundUri>,
    /// It must be this very certificate: its SHA-256 in base64url.
    #[arg(long, value_name = "HASH", value_parser = CertificateThumbprint::parse)]
    certificate_sha256: Option<CertificateThumbprint>,
}

impl CertificateChoice {
    fn binding(self) -> Option<CertificateBinding> {
        let by_dns = self.certificate_dns.map(CertificateBinding::SanDns);
        let by_uri = self.certificate_uri.map(CertificateBinding::SanUri);
        by_dns.or(by_uri).or(self.certificate_sha256.map(CertificateBinding::Sha256))
    }
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Create a user, and print the link with which the person chooses a password.
    ///
    /// Operators are the users of the tenant `operators`, with the role `operator`.
    Create {
        /// Name of the tenant.
        #[arg(long)]
        tenant: String,
        #[arg(long, value_parser = EmailAddress::parse)]
        email: EmailAddress,
        /// The person's name.
        #[arg(long)]
        name: String,
        /// What the person may do. Can be given several times.
        #[arg(long, required = true, value_parser = role())]
        role: Vec<Role>,
    },
    /// Print a new link for a user who has lost the password.
    PasswordLink {
        /// Name of the tenant.
        #[arg(long)]
        tenant: String,
        #[arg(long, value_parser = EmailAddress::parse)]
        email: EmailAddress,
    },
    /// Remove the second factor of a user who has lost it.
    RemoveSecondFactor {
        /// Name of the tenant.
        #[arg(long)]
        tenant: String,
        #[arg(long, value_parser = EmailAddress::parse)]
        email: EmailAddress,
    },
}

fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::name))
        .try_map(|name| Role::parse(&name).ok_or("no such role"))
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Build a component from a core module for wasm32-unknown-unknown.
    Build {
        core: PathBuf,
        /// Where to write the component. Default: beside the core module.
        #[arg(long, short)]
        output: Option<PathBuf>,
        /// Keep names and debug information, so that `run` can show functions and lines of a failure.
        #[arg(long)]
        keep_names: bool,
    },
    /// Describe a component and check whether a server with this configuration would accept it.
    Check {
        component: PathBuf,
        /// Print everything as JSON, including the settings schema and all limits.
        #[arg(long)]
        json: bool,
    },
    /// Run case files against a component, and show why a rule failed.
    Run {
        component: PathBuf,
        #[arg(required = true)]
        cases: Vec<PathBuf>,
        /// Print all cases as JSON, with the fuel used.
        #[arg(long)]
        json: bool,
    },
}

/// Why a command failed, as a text for people.
type Failure = Box<dyn std::error::Error + Send + Sync>;

pub fn run() -> ExitCode {
    if let Some(code) = hidden_command() {
        return code;
    }
    let line = Arguments::parse();
    let result = match line.command.unwrap_or(Command::Serve { roles: None }) {
        Command::Plugin(PluginCommand::Build { core, output, keep_names }) => {
            plugin::build(&core, output, keep_names)
        }
        Command::Plugin(PluginCommand::Check { component, json }) => plugin::check(&component, json),
        Command::Plugin(PluginCommand::Run { component, cases, json }) => {
            plugin::run(&component, &cases, json)
        }
        Command::Openapi => {
            output::print_result!("{}", openapi::text());
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve { roles } => {
            let config = Config::load_with_roles(roles).map_err(Failure::from);
            config.and_then(|config| run_with(config, serve::serve))
        }
        Command::Health { ready } => health::health(ready),
        Command::Migrate => with_config(administration::migrate),
        Command::Replay { since, tenant } => with_config(|config| replay::replay(config, since, tenant)),
        Command::Verify { checkpoints } => with_config(|config| verify::verify(config, checkpoints)),
        Command::Erase { tenant, id, reason } => {
            with_config(|config| administration::erase(config, tenant, id, reason))
        }
        Command::Demo(options) => demo::demo(options),
        Command::List(command) => with_config(|config| list::run(config, command)),
        Command::Table(command) => with_config(|config| table::run(config, command)),
        Command::Import(order) => with_config(|config| import::import(config, order)),
        Command::Tenant(TenantCommand::Create { name }) => {
            with_config(|config| administration::create_tenant(config, name))
        }
        Command::Tenant(TenantCommand::CardCheck { tenant, field, state }) => {
            let change = field.zip(state.map(|state| state == Switch::On));
            with_config(|config| administration::card_check(config, tenant, change))
        }
        Command::Tenant(TenantCommand::Retention { tenant, months }) => {
            with_config(|config| administration::retention(config, tenant, months))
        }
        Command::Tenant(TenantCommand::OnePerson { tenant }) => {
            with_config(|config| administration::one_person(config, tenant))
        }
        Command::Tenant(TenantCommand::AllowPasswords { tenant }) => {
            with_config(|config| administration::allow_passwords(config, tenant))
        }
        Command::Client(ClientCommand::Create { tenant, name, scopes, requests_per_s, certificate }) => {
            let limits = ClientLimits { requests_per_s, certificate: certificate.binding() };
            with_config(|config| administration::create_client(config, tenant, name, scopes, limits))
        }
        Command::Client(ClientCommand::Certificate { tenant, id, certificate, .. }) => {
            with_config(|config| administration::bind_client(config, tenant, id, certificate.binding()))
        }
        Command::Client(ClientCommand::NewSecret { tenant, id, overlap_s }) => {
            with_config(|config| administration::new_client_secret(config, tenant, id, overlap_s))
        }
        Command::User(UserCommand::Create { tenant, email, name, role }) => {
            with_config(|config| administration::create_user(config, tenant, email, name, role))
        }
        Command::User(UserCommand::PasswordLink { tenant, email }) => {
            with_config(|config| administration::new_password_link(config, tenant, email))
        }
        Command::User(UserCommand::RemoveSecondFactor { tenant, email }) => {
            with_config(|config| administration::remove_second_factor(config, tenant, email))
        }
    };
    match result {
        Ok(code) => match output::output_error() {
            None => code,
            Some(error) => ended_by(&*Failure::from(format!("cannot write to standard output: {error}"))),
        },
        Err(error) => ended_by(&*error),
    }
}

/// Prints the error and all its causes.
fn ended_by(error: &(dyn std::error::Error + Send + Sync)) -> ExitCode {
    let mut text = format!("tollgate: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("\n  caused by: {cause}"));
        source = cause.source();
    }
    output::print_last_lines(text);
    ExitCode::FAILURE
}

/// The program also runs itself with hidden commands: as the compiler of plugins under limits,
/// and as the last step before a private Postgres.
fn hidden_command() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next()?;
    if first == compile::COMMAND {
        Some(compile::child_main())
    } else if first == SHIM_COMMAND {
        Some(ended_by(&*Failure::from(become_program(arguments))))
    } else {
        None
    }
}

/// How long the end of a command waits for remaining threads.
const THREADS_MAX: Duration = Duration::from_secs(2);

fn with_config<F, W>(work: W) -> Result<ExitCode, Failure>
where
    W: FnOnce(Config) -> F,
    F: Future<Output = Result<ExitCode, Failure>>,
{
    run_with(Config::load()?, work)
}

fn run_with<F, W>(config: Config, work: W) -> Result<ExitCode, Failure>
where
    W: FnOnce(Config) -> F,
    F: Future<Output = Result<ExitCode, Failure>>,
{
    let _log = telemetry::start_log(config.settings.log_format, &config.settings.log_filter)?;
    let workers: usize = config.figment.extract_inner("workers")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("tollgate")
        .enable_all()
        .build()?;
    let result = runtime.block_on(work(config));
    // Limited, since a thread may hang in a name look-up or on a disk and cannot be cancelled.
    runtime.shutdown_timeout(THREADS_MAX);
    result
}
