//! The service of `benches/peers/by-hand`, on a database of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use sqlx::ConnectOptions;
use tollgate::storage::private_server::PrivateServer;
use uuid::Uuid;

use super::load::Endpoint;
use super::processor_time::ProcessTree;

const SECRET: &str = "a secret that only this benchmark uses";

/// Builds the program with its release profile, below Tollgate's own build.
pub fn build() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_tollgate")).ancestors().nth(2).unwrap().join("by-hand");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--package", "by-hand"])
        .args(["--manifest-path", "benches/peers/Cargo.toml", "--target-dir"])
        .arg(&target)
        // Cargo reads the allocator's settings from here.
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success(), "by-hand could not be built");
    target.join("release/by-hand")
}

/// Killed when dropped.
pub struct ByHand {
    process: Child,
    pub endpoint: Endpoint,
}

impl ByHand {
    /// Starts the program on a new database.
    pub async fn start(
        program: &Path,
        postgres: &PrivateServer,
        database: &'static str,
        asks_velocity: bool,
    ) -> Self {
        let mut superuser = postgres.connect_options().connect().await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("create database {database}"));
        sqlx::raw_sql(create).execute(&mut superuser).await.unwrap();
        let mut process = Command::new(program)
            .env("BY_HAND_DATABASE", postgres.url().replace("/tollgate?", &format!("/{database}?")))
            .env("BY_HAND_SECRET", SECRET)
            .env("BY_HAND_VELOCITY", if asks_velocity { "on" } else { "off" })
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let endpoint = Endpoint { address: address.trim().to_owned(), token: token() };
        Self { process, endpoint }
    }

    pub fn tree(&self) -> ProcessTree {
        ProcessTree::of(self.process.id())
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn token() -> String {
    let expires =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 86_400;
    let claims = json!({"sub": Uuid::now_v7(), "scope": "payments:read payments:write", "exp": expires});
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}
