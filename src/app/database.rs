//! The database of this process: the configured one, or a private server.
//!
//! Owns the choice between the two and their end. Must never start a private
//! server where a database is configured.

use thiserror::Error;

use crate::config::Config;
use crate::storage::pool::{DatabaseSettings, Databases, OpenError};
use crate::storage::private_server::{PrivateServer, PrivateServerError, PrivateServerSettings};

#[derive(Debug, Error)]
pub enum DatabaseError {
    #[error("the private Postgres cannot be used")]
    Private(#[from] PrivateServerError),
    #[error("the database cannot be used")]
    Open(#[from] OpenError),
    #[error("this program's own path is not known")]
    OwnPath(#[from] std::io::Error),
}

#[derive(Debug)]
pub struct Database {
    /// Where it is, and how to connect.
    pub settings: DatabaseSettings,
    private: Option<PrivateServer>,
}

impl Database {
    /// Starts the private server where none is configured, and brings the
    /// database up to date.
    pub async fn open(config: &Config) -> Result<Self, DatabaseError> {
        let (settings, private) = match &config.database {
            Some(settings) => (settings.clone(), None),
            None => {
                let data_dir = config.settings.data_dir.join("postgres");
                let shim_exe = std::env::current_exe()?;
                let private =
                    PrivateServer::start(PrivateServerSettings { data_dir, shim_exe, durable: true }).await?;
                (DatabaseSettings::for_url(private.url()), Some(private))
            }
        };
        let database = Self { settings, private };
        match Databases::open(&database.settings).await {
            Ok(pools) => pools.close().await,
            Err(error) => {
                let _ = database.close().await;
                return Err(error.into());
            }
        }
        Ok(database)
    }

    /// Returns once the private server, if there is one, has stopped.
    pub async fn close(self) -> Result<(), DatabaseError> {
        if let Some(server) = self.private {
            server.stop().await?;
        }
        Ok(())
    }
}
