//! TLS as the library does it: with the settings of an address.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
};

use super::address::{Address, Place};
use super::socket::Plain;

/// What went wrong in a handshake.
pub enum Fault {
    /// The files and settings are no good.
    Settings(String),
    /// The server's certificate is not one to trust, or ours is not to it.
    Distrust(String),
    /// What came is not TLS, or nothing came.
    NotTls,
    Io(io::Error),
}

/// A connection with TLS, and whether the certificate was checked in full.
pub fn shake_hands(
    address: &Address,
    place: &Place,
    mut plain: Plain,
) -> Result<StreamOwned<ClientConnection, Plain>, Fault> {
    let config = config(address).map_err(Fault::Settings)?;
    let host = match place {
        Place::Tcp { host, .. } => host.clone(),
        Place::Unix(_) => "localhost".to_owned(),
    };
    let bad_name = |_| Fault::Settings(format!("{host} is no name that certificates have"));
    let name = ServerName::try_from(host.clone()).map_err(bad_name)?;
    let no_client = |error: Error| Fault::Settings(error.to_string());
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(no_client)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut plain).map_err(fault)?;
    }
    Ok(StreamOwned::new(connection, plain))
}

fn fault(error: io::Error) -> Fault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidMessage(_)) => Fault::NotTls,
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => {
            Fault::Distrust(error.to_string())
        }
        Some(Error::AlertReceived(_)) => Fault::Distrust(format!("the server refused: {error}")),
        Some(other) => Fault::Distrust(other.to_string()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Fault::NotTls,
        None if error.kind() == io::ErrorKind::ConnectionReset => Fault::NotTls,
        None => Fault::Io(error),
    }
}

/// Whether a server speaks TLS: it answers our greeting with a certificate, trusted or not.
pub fn is_spoken(place: &Place, plain: Plain) -> bool {
    let address = Address::parse("rediss://h?ssl_cert_reqs=none");
    let answer = address.map(|address| shake_hands(&address, place, plain));
    matches!(answer, Some(Ok(_) | Err(Fault::Distrust(_))))
}

fn config(address: &Address) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let anybody = address.parameter("ssl_cert_reqs") == Some("none");
    let any_name = address.switch("ssl_check_hostname") == Some(false);
    let roots = match address.parameter("ssl_ca_certs") {
        _ if anybody => RootCertStore::empty(),
        Some(path) => trusted(path)?,
        None => of_the_system(),
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if anybody || any_name {
        let roots = (!anybody).then_some(roots);
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Lenient { provider, roots }))
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let none = |_| "no certificate authorities: name a file of them (ssl_ca_certs)".to_owned();
        builder.with_webpki_verifier(verifier.build().map_err(none)?)
    };
    let ours = address.parameter("ssl_certfile").zip(address.parameter("ssl_keyfile"));
    let Some((certificate, key)) = ours else { return Ok(builder.with_no_client_auth()) };
    let unreadable = |error| format!("{key}: {error}");
    let private = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
    builder
        .with_client_auth_cert(certificates(certificate)?, private)
        .map_err(|error| format!("{certificate}: {error}"))
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|error| format!("{path}: {error}"))
}

fn trusted(path: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(roots)
}

fn of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
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
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let algorithms = self.provider.signature_verification_algorithms.all;
            let certificate = ParsedCertificate::try_from(certificate)?;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, chain, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
