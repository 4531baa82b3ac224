//! The server: the door, and Rocket behind it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rocket::local::asynchronous::Client;
use rocket::{Ignite, Rocket};
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::auth::token::TokenIssuer;
use crate::config::NodeSettings;
use crate::door::tls::{TlsError, TlsTerminator};
use crate::door::{Door, DoorSettings};
use crate::http::hand_over::RocketReception;
use crate::world::system;

/// A server that can begin to listen.
#[derive(Debug)]
pub struct Server {
    pub(super) rocket: Rocket<Ignite>,
    pub(super) issuer: TokenIssuer,
    pub(super) door: DoorSettings,
}

/// A server whose address is bound. Connections wait until it serves.
#[derive(Debug)]
pub struct ListeningServer {
    door: Door,
    scheme: &'static str,
    reception: RocketReception,
    stopping: CancellationToken,
    grace: Duration,
}

pub(super) fn door_settings(settings: &NodeSettings) -> Result<DoorSettings, TlsError> {
    let tls = settings.tls.as_ref().map(|tls| TlsTerminator::open(tls, system())).transpose()?;
    let (bounds, proxies) = (settings.listener.bounds(), settings.proxies.proxies());
    Ok(DoorSettings { bounds, proxies, tls: tls.map(Arc::new) })
}

impl Server {
    /// How long requests in progress may take after the server was asked to stop.
    pub fn grace(&self) -> Duration {
        let shutdown = &self.rocket.config().shutdown;
        Duration::from_secs(u64::from(shutdown.grace) + u64::from(shutdown.mercy))
    }

    pub async fn listen(self) -> Result<ListeningServer, StartError> {
        let grace = self.grace();
        let Self { rocket, issuer, door } = self;
        let scheme = if door.tls.is_some() { "https" } else { "http" };
        let address = SocketAddr::new(rocket.config().address, rocket.config().port);
        let not_bound = |source: io::Error| StartError::Address { address, source };
        let door = Door::open(address, door).map_err(not_bound)?;
        issuer.listens_at(scheme, door.address());
        let client = Client::untracked(rocket).await;
        let client = client.map_err(|error| StartError::Rocket(error.kind().to_string()))?;
        let reception = RocketReception::new(client);
        Ok(ListeningServer { door, scheme, reception, stopping: CancellationToken::new(), grace })
    }
}

impl ListeningServer {
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// The address as a URL.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address())
    }

    /// Cancel this to stop the server.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Serves until `stopping` is cancelled and the requests in progress have their answers.
    pub async fn serve(self) {
        let Self { door, reception, stopping, grace, .. } = self;
        door.serve(reception.clone(), stopping, grace).await;
        reception.stop();
    }
}
