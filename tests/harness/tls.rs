//! A server that speaks TLS, with a certificate of an authority of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::RedisServer;
use crate::harness::redis_server::free_port;

pub(crate) struct Tls {
    server: RedisServer,
    folder: TempDir,
    port: u16,
}

impl Tls {
    pub(crate) async fn start() -> Self {
        Self::start_with("no").await
    }

    /// A server that asks its clients for a certificate of the same authority, or not.
    pub(crate) async fn start_with(asks_clients: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificates(folder.path(), "IP:127.0.0.1", 1);
        Self::serve(folder, asks_clients).await
    }

    /// A server whose certificate is for another name, or is valid for so many days from now.
    pub(crate) async fn start_named(names: &str, days: i32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificates(folder.path(), names, days);
        Self::serve(folder, "no").await
    }

    /// A server whose certificate signs itself, is for these names, and is valid for so many days from now.
    pub(crate) async fn start_self_signed(names: &str, days: i32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        openssl(folder.path(), "req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr");
        std::fs::write(folder.path().join("names"), format!("basicConstraints=CA:TRUE\nsubjectAltName={names}"))
            .unwrap();
        let sign = "x509 -req -in server.csr -signkey server.key -extfile names -out server.pem";
        openssl(folder.path(), &format!("{sign} -days {days}"));
        std::fs::copy(folder.path().join("server.pem"), folder.path().join("ca.pem")).unwrap();
        Self::serve(folder, "no").await
    }

    async fn serve(folder: TempDir, asks_clients: &str) -> Self {
        let port = free_port();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let settings = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", path("server.pem")),
            ("--tls-key-file", path("server.key")),
            ("--tls-ca-cert-file", path("ca.pem")),
            ("--tls-auth-clients", asks_clients.to_owned()),
        ];
        let settings: Vec<String> = settings.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        let server = RedisServer::start_with(|_| settings.clone()).await;
        Self { server, folder, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.port)
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate of the authority, and its key.
    pub(crate) fn certificate(&self) -> [PathBuf; 2] {
        ["server.pem", "server.key"].map(|name| self.folder.path().join(name))
    }

    /// The same server without TLS.
    pub(crate) fn plain(&self) -> &RedisServer {
        &self.server
    }
}

fn make_certificates(folder: &Path, names: &str, days: i32) {
    openssl(
        folder,
        "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=authority -addext subjectAltName=IP:127.0.0.1 -keyout ca.key -out ca.pem",
    );
    openssl(folder, "req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr");
    std::fs::write(folder.join("names"), format!("subjectAltName={names}")).unwrap();
    let sign = format!(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile names -out server.pem"
    );
    openssl(folder, &sign);
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    let output = output.expect("openssl is needed; tests/setup installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
