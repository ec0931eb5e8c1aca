//! TLS with one server, and certificates that are named.
//!
//! A certificate of `openssl req -x509` is its own authority. webpki refuses the certificate of an authority for a server, even if it
//! is trusted explicitly; other clients of Redis accept it.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, RedisError, RedisFuture, RedisResult, Value};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::client::Client;
use super::network::Credentials;

/// What webpki says of a server that shows the certificate of an authority. It has checked the date before.
const IS_AUTHORITY: &str = "CaUsedAsEndEntity";

/// A connection that ends when it is dropped, even if a server that hangs owes it answers.
pub(super) struct TlsConnection {
    connection: MultiplexedConnection,
    _driver: AbortOnDropHandle<()>,
}

impl Client for TlsConnection {
    fn send<'a>(&'a self, command: &'a Cmd, slot: Option<u16>) -> RedisFuture<'a, Value> {
        Client::send(&self.connection, command, slot)
    }

    fn subscribe<'a>(&'a self, channel: &'a str) -> RedisFuture<'a, ()> {
        Client::subscribe(&self.connection, channel)
    }

    fn unsubscribe<'a>(&'a self, channel: &'a str) -> RedisFuture<'a, ()> {
        Client::unsubscribe(&self.connection, channel)
    }
}

/// Connects to a server. Its certificate is accepted if one of the trusted ones has signed it or is this very certificate, for this host,
/// and valid now.
pub(super) async fn connect(
    info: &ConnectionInfo,
    credentials: &Credentials,
    config: AsyncConnectionConfig,
) -> RedisResult<TlsConnection> {
    let ConnectionAddr::TcpTls { host, port, .. } = info.addr() else {
        return Err(invalid("this server has no TLS"));
    };
    let name = ServerName::try_from(host.clone()).map_err(invalid)?;
    let tls = TlsConnector::from(Arc::new(client_config(credentials)?));
    let stream = TcpStream::connect((&**host, *port)).await?;
    stream.set_nodelay(true)?;
    let stream = tls.connect(name, stream).await?;
    let (connection, driver) = MultiplexedConnection::new_with_config(info.redis_settings(), stream, config).await?;
    Ok(TlsConnection { connection, _driver: AbortOnDropHandle::new(tokio::spawn(driver)) })
}

fn client_config(credentials: &Credentials) -> RedisResult<ClientConfig> {
    let trusted = certificates(credentials.root_certificates.as_deref().unwrap_or_default())?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let authorities = WebPkiServerVerifier::builder(Arc::new(roots)).build().map_err(invalid)?;
    let verifier = Arc::new(Verifier { authorities, trusted });
    let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier);
    match &credentials.client_certificate {
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key).map_err(invalid)?;
            config.with_client_auth_cert(certificates(certificate)?, key).map_err(invalid)
        }
        None => Ok(config.with_no_client_auth()),
    }
}

fn certificates(pem: &[u8]) -> RedisResult<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(invalid)
}

fn invalid(error: impl ToString) -> RedisError {
    (redis::ErrorKind::InvalidClientConfig, "TLS cannot be used", error.to_string()).into()
}

/// Trusts what webpki trusts, and the trusted certificates themselves.
#[derive(Debug)]
struct Verifier {
    authorities: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.authorities.verify_server_cert(certificate, intermediates, name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
                if other.to_string().contains(IS_AUTHORITY) && self.trusted.contains(certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}
