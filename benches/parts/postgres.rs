//! The Postgres under test: a private one that waits for the disk.

use std::path::Path;

use tollgate::storage::private_server::{PrivateServer, PrivateServerSettings};

pub async fn start(folder: &Path) -> PrivateServer {
    let settings = PrivateServerSettings {
        data_dir: folder.join("postgres"),
        shim_exe: env!("CARGO_BIN_EXE_tollgate").into(),
        durable: true,
    };
    PrivateServer::start(settings).await.unwrap()
}
