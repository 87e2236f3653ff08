//! TLS by rustls.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};

use super::net::Bounded;
use crate::error::{Error, ErrorKind, Result};

/// How a server is to prove itself, and we to it.
///
/// ```
/// use yokedcache::TlsSettings;
///
/// let tls = TlsSettings::new().ca_file("/etc/ssl/private-ca.pem");
/// ```
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    ca_file: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
    trust: Trust,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    #[default]
    Full,
    AnyName,
    Anybody,
}

impl TlsSettings {
    /// The system's certificate authorities, names checked, no client certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file of certificate authorities (PEM) to trust instead of the system's.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Our own certificate chain and its key, two files in PEM. Default: none.
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.client = Some((certificate.into(), key.into()));
        self
    }

    /// Whether the certificate must be for the host named. Default: yes. Without, whoever has any
    /// certificate of the trusted authorities can pretend to be the server.
    pub fn check_hostname(mut self, check: bool) -> Self {
        if self.trust != Trust::Anybody {
            self.trust = if check { Trust::Full } else { Trust::AnyName };
        }
        self
    }

    /// Accepts any certificate at all: encrypted, but anybody can pretend to be the server.
    pub fn danger_accept_any_certificate(mut self) -> Self {
        self.trust = Trust::Anybody;
        self
    }

    /// Whether the certificate must be the server's own.
    pub(crate) fn verifies(&self) -> bool {
        self.trust == Trust::Full
    }

    /// What rustls is told: for the program of this crate, and not for others.
    #[cfg(feature = "cli")]
    #[doc(hidden)]
    pub fn client_config(&self) -> Result<Arc<ClientConfig>> {
        self.build().map(|tls| tls.0)
    }

    /// Reads the files.
    pub(crate) fn build(&self) -> Result<Tls> {
        let provider = Arc::new(ring::default_provider());
        let roots = match (&self.ca_file, self.trust) {
            (_, Trust::Anybody) => RootCertStore::empty(),
            (Some(path), _) => trusted(path)?,
            (None, _) => system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| refused("no protocol version", error))?;
        let builder = match self.trust {
            Trust::Full => builder.with_root_certificates(roots),
            trust => builder.dangerous().with_custom_certificate_verifier(Arc::new(Lenient {
                provider,
                roots: (trust == Trust::AnyName).then_some(roots),
            })),
        };
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| refused(&format!("no key in {}", key.display()), error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| refused("the client certificate cannot be used", error))?
            }
        };
        Ok(Tls(Arc::new(config)))
    }
}

fn refused(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::with_source(ErrorKind::InvalidArgument, format!("TLS: {what}"), error)
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let read: Vec<_> =
        read.map_err(|error| refused(&format!("no certificate in {}", path.display()), error))?;
    if read.is_empty() {
        let what = format!("TLS: no certificate in {}", path.display());
        return Err(Error::new(ErrorKind::InvalidArgument, what));
    }
    Ok(read)
}

fn trusted(path: &PathBuf) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| refused("no certificate authority", error))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let what = "TLS: the system has no certificate authorities; name a file of them";
        return Err(Error::new(ErrorKind::InvalidArgument, what));
    }
    Ok(roots)
}

/// Settings ready for use.
#[derive(Clone, Debug)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    pub(super) fn shake_hands(
        &self,
        host: &str,
        mut socket: Bounded,
    ) -> io::Result<StreamOwned<ClientConnection, Bounded>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut connection =
            ClientConnection::new(self.0.clone(), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }
}

/// Checks less of a certificate than it should, as asked.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    /// `None`: anybody is trusted.
    roots: Option<RootCertStore>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(certificate)?,
                roots,
                chain,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
