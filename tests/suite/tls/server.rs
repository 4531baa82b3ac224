//! A server that answers each request with what it saw of the connection, and its clients.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use reqwest::Client;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollgate::door::tls::{TlsSettings, TlsTerminator};
use tollgate::world::system;

use crate::support::certificates::{Authority, Issued};

/// A folder with the files of TLS.
pub struct Files(pub tempfile::TempDir);

impl Files {
    pub fn of(server: &Issued) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.replace(server);
        files
    }

    pub fn replace(&self, server: &Issued) {
        let at = |name| self.0.path().join(name);
        server.write(&at("crt"), &at("key"));
    }

    pub fn settings(&self) -> TlsSettings {
        TlsSettings {
            certificates: self.0.path().join("crt"),
            key: self.0.path().join("key"),
            client_authorities: None,
            client_certificates: Default::default(),
        }
    }

    pub fn settings_with_clients(&self, authority: &Authority) -> TlsSettings {
        TlsSettings { client_authorities: Some(authority.path()), ..self.settings() }
    }
}

pub fn open(settings: &TlsSettings) -> Arc<TlsTerminator> {
    Arc::new(TlsTerminator::open(settings, system()).unwrap())
}

/// Serves until the test ends.
pub async fn serve(terminator: Arc<TlsTerminator>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer_all(terminator.clone(), socket));
        }
    });
    address
}

async fn answer_all(terminator: Arc<TlsTerminator>, socket: TcpStream) {
    let Ok((mut stream, certificate)) = terminator.accept(socket).await else { return };
    let protocol = stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    let certificate = certificate.map(
        |shown| json!({"thumbprint": shown.thumbprint, "dns_names": shown.dns_names, "uris": shown.uris}),
    );
    let body = json!({"protocol": protocol, "certificate": certificate}).to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }
}

/// A client that believes one authority only.
pub fn client(authority: &Authority) -> reqwest::ClientBuilder {
    let root = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    Client::builder().tls_certs_only([root]).no_proxy()
}

/// What the server saw of the client's connection.
pub async fn seen(client: &Client, address: SocketAddr) -> reqwest::Result<serde_json::Value> {
    client.get(format!("https://localhost:{}/", address.port())).send().await?.json().await
}

/// Replaces a symbolic link, as orchestrators do with mounted secrets.
pub fn link(target: &Path, at: &Path) {
    let new = at.with_extension("new");
    std::os::unix::fs::symlink(target, &new).unwrap();
    std::fs::rename(new, at).unwrap();
}
