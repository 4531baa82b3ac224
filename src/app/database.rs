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
    pub pools: Databases,
    private: Option<PrivateServer>,
}

impl Database {
    /// Starts the private server where none is configured, brings the database
    /// up to date and connects.
    pub async fn open(config: &Config) -> Result<Self, DatabaseError> {
        if let Some(settings) = &config.database {
            return Ok(Self { pools: Databases::open(settings).await?, private: None });
        }
        let data_dir = config.settings.data_dir.join("postgres");
        let shim_exe = std::env::current_exe()?;
        let settings = PrivateServerSettings { data_dir, shim_exe, durable: true };
        let (private, url) = match PrivateServer::start(settings).await {
            Ok(server) => {
                let url = server.url();
                (Some(server), url)
            }
            Err(error) => return Err(error.into()),
        };
        match Databases::open(&DatabaseSettings::for_url(url)).await {
            Ok(pools) => Ok(Self { pools, private }),
            Err(error) => {
                if let Some(server) = private {
                    let _ = server.stop().await;
                }
                Err(error.into())
            }
        }
    }

    /// Returns once the private server, if there is one, has stopped.
    pub async fn close(self) -> Result<(), DatabaseError> {
        self.pools.close().await;
        if let Some(server) = self.private {
            server.stop().await?;
        }
        Ok(())
    }
}
