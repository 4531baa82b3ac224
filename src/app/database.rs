//! The database of this process: the configured one, or a private server if none is configured.

use std::path::PathBuf;

use thiserror::Error;

use crate::config::Config;
use crate::storage::databases::{Databases, OpenError};
use crate::storage::pool::DatabaseSettings;
use crate::storage::private_server::{PrivateServer, PrivateServerError, PrivateServerSettings};

#[derive(Debug, Error)]
pub enum DatabaseError {
    #[error("the private Postgres cannot be used")]
    Private(#[from] PrivateServerError),
    #[error("the database cannot be used")]
    Open(#[from] OpenError),
    #[error("the path of this program cannot be determined")]
    OwnPath(#[from] std::io::Error),
}

#[derive(Debug)]
pub struct Database {
    /// Its URLs and connection limits.
    pub settings: DatabaseSettings,
    private: Option<PrivateServer>,
}

impl Database {
    /// Starts the private server if no database is configured, and migrates the database.
    pub async fn open(config: &Config) -> Result<Self, DatabaseError> {
        let database = match &config.database {
            Some(settings) => Self { settings: settings.clone(), private: None },
            None => Self::private(config).await?,
        };
        database.up_to_date().await
    }

    /// As [`Database::open`], but uses a private server that another process has started
    /// and leaves it running.
    pub async fn open_or_join(config: &Config) -> Result<Self, DatabaseError> {
        if config.database.is_none()
            && let Some(url) = PrivateServer::running(&private_data_dir(config)).await?
        {
            let settings = PrivateServer::settings_at(&url).await?;
            return Self { settings, private: None }.up_to_date().await;
        }
        Self::open(config).await
    }

    async fn private(config: &Config) -> Result<Self, DatabaseError> {
        let (data_dir, shim_exe) = (private_data_dir(config), std::env::current_exe()?);
        let private =
            PrivateServer::start(PrivateServerSettings { data_dir, shim_exe, durable: true }).await?;
        Ok(Self { settings: private.settings().await?, private: Some(private) })
    }

    async fn up_to_date(mut self) -> Result<Self, DatabaseError> {
        match Databases::open(&self.settings).await {
            Ok(pools) => {
                self.settings = pools.settings().clone();
                pools.close().await;
            }
            Err(error) => {
                let _ = self.close().await;
                return Err(error.into());
            }
        }
        Ok(self)
    }

    /// Stops the private server, if there is one.
    pub async fn close(self) -> Result<(), DatabaseError> {
        if let Some(server) = self.private {
            server.stop().await?;
        }
        Ok(())
    }
}

fn private_data_dir(config: &Config) -> PathBuf {
    config.settings.data_dir.join("postgres")
}
