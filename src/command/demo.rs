//! `tollgate demo`: sends realistic traffic to a running server, or writes a history to import.
//!
//! The same seed produces the same payments. Must never use a tenant other than the
//! demonstration's.

mod accounts;
mod aftermath;
mod connection;
mod drive;
mod history;
mod payer_kind;
mod payers;
mod people;
mod random;
mod tally;
mod traffic;

use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use super::Failure;
use super::administration::{ACTOR, on_database};
use super::output::print_result;
use crate::app::demo::TENANT;
use crate::app::tenants::{self, ClientRequest};
use crate::auth::token::TokenIssuer;
use crate::config::{Config, ConfigError};
use crate::domain::tenant::Scope;
use crate::domain::time::Clock;
use crate::world::SystemClock;
use connection::{ApiClient, check_server};
use drive::{Pace, drive};
use history::History;

const CLIENT_NAME: &str = "demonstration traffic";

#[derive(Debug, clap::Args)]
pub struct DemoOptions {
    /// Address of the server. Default: $TOLLGATE, otherwise the address in the configuration.
    #[arg(long)]
    url: Option<String>,
    /// Payments per second.
    #[arg(long, default_value = "20", value_parser = parse_rate)]
    rate: f64,
    /// Stop after this many payments. Default: run until Ctrl-C.
    #[arg(long)]
    count: Option<u64>,
    /// Stop after this many seconds.
    #[arg(long, conflicts_with = "count")]
    seconds: Option<u64>,
    /// Seed of the generator: the same seed produces the same payments. Default: the current time.
    #[arg(long)]
    seed: Option<u64>,
    /// Print this many lines for `tollgate import` instead of sending payments.
    #[arg(long, conflicts_with_all = ["url", "rate", "count", "seconds"])]
    history: Option<u64>,
    /// Number of days that the history covers.
    #[arg(long, default_value = "90", requires = "history", value_parser = clap::value_parser!(u64).range(1..=3_650))]
    days: u64,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok().filter(|rate| (0.01..=10_000.0).contains(rate));
    rate.ok_or_else(|| "expected a number from 0.01 to 10000".to_owned())
}

pub fn demo(options: DemoOptions) -> Result<ExitCode, Failure> {
    let seed = options.seed.unwrap_or_else(|| SystemClock.now_ms());
    if let Some(count) = options.history {
        return write_history(History { seed, count, days: options.days, until_ms: SystemClock.now_ms() });
    }
    let url = url_of(&options)?;
    // With credentials in the environment, no client must be created in the database.
    match (std::env::var("CLIENT_ID"), std::env::var("CLIENT_SECRET")) {
        (Ok(id), Ok(secret)) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async {
                check_server(&url).await?;
                send(&options, &url, seed, id, secret).await
            })
        }
        _ => super::with_config(|config| with_own_client(config, options, url, seed)),
    }
}

fn url_of(options: &DemoOptions) -> Result<String, Failure> {
    if let Some(url) = options.url.clone().or_else(|| std::env::var("TOLLGATE").ok()) {
        return Ok(url);
    }
    let config = Config::load()?;
    let rocket: rocket::Config = config.figment.extract().map_err(ConfigError::from)?;
    let issuer = TokenIssuer::default();
    let scheme = if config.settings.tls.is_some() { "https" } else { "http" };
    issuer.listens_at(scheme, SocketAddr::new(rocket.address, rocket.port));
    Ok(issuer.as_str().to_owned())
}

fn write_history(history: History) -> Result<ExitCode, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    match history.write(&mut out).and_then(|()| out.flush()) {
        // The reader, for example `head`, has closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => Ok(written.map(|()| ExitCode::SUCCESS)?),
    }
}

async fn with_own_client(
    config: Config,
    options: DemoOptions,
    url: String,
    seed: u64,
) -> Result<ExitCode, Failure> {
    // Checked first: without a server, no client is needed.
    check_server(&url).await?;
    let order = ClientRequest {
        tenant: TENANT.to_owned(),
        name: CLIENT_NAME.to_owned(),
        scopes: Scope::of_clients_by_default().collect(),
        created_by: ACTOR.to_owned(),
    };
    let mut created = None;
    on_database(config, async |pools| {
        created = Some(tenants::create_client(&pools.system, order).await?);
        Ok(())
    })
    .await?;
    let client = created.ok_or("the client was not created")?;
    send(&options, &url, seed, client.id.to_string(), client.secret.expose().to_owned()).await
}

async fn send(
    options: &DemoOptions,
    url: &str,
    seed: u64,
    id: String,
    secret: String,
) -> Result<ExitCode, Failure> {
    print_result!("{} payments per second to {url} (seed {seed}); press Ctrl-C to stop", options.rate);
    let pace = Pace { per_second: options.rate, count: options.count, seconds: options.seconds };
    match drive(ApiClient::new(url, id, secret)?, seed, pace).await? {
        0 => Ok(ExitCode::SUCCESS),
        undecided => Err(format!("{undecided} payments did not get a decision").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_positive_number_within_reason() {
        assert_eq!((parse_rate("20"), parse_rate("0.5")), (Ok(20.0), Ok(0.5)));
        for text in ["0", "-1", "NaN", "inf", "1e9", "fast"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
