//! `tollgate health`: asks the server of the same configuration on this machine how it is.
//!
//! For container images, which have no other program. It sends nothing but a path, so it need not
//! know who answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use super::Failure;
use super::output::print_result;
use crate::config::Config;

/// Longer than the checks of `/ready` take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

pub fn health(is_ready: bool) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(is_ready))
}

async fn ask(is_ready: bool) -> Result<ExitCode, Failure> {
    let (rocket, settings) = Config::load_for_probe()?;
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let address = SocketAddr::new(from_here(rocket.address), rocket.port);
    let path = if is_ready { "ready" } else { "health" };
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(ANSWERS_WITHIN)
        // The certificate is for the name that clients use, not for this address.
        .tls_danger_accept_invalid_certs(true)
        .build()?;
    let answer = client.get(format!("{scheme}://{address}/{path}")).send().await?;
    let is_well = answer.status().is_success();
    print_result!("{}", answer.text().await?);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The address by which this machine reaches a server that listens at another one.
fn from_here(listens_at: IpAddr) -> IpAddr {
    match listens_at {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}
