//! TLS as the library does it: with the settings of an address.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Error, StreamOwned};
use yokedcache::TlsSettings;

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
    let mut connection = ClientConnection::new(config, name).map_err(no_client)?;
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

fn config(address: &Address) -> Result<Arc<ClientConfig>, String> {
    let check_hostname = address.switch("ssl_check_hostname") != Some(false);
    let mut settings = TlsSettings::new().check_hostname(check_hostname);
    if let Some(path) = address.parameter("ssl_ca_certs") {
        settings = settings.ca_file(path);
    }
    let ours = address.parameter("ssl_certfile").zip(address.parameter("ssl_keyfile"));
    if let Some((certificate, key)) = ours {
        settings = settings.client_certificate(certificate, key);
    }
    if address.parameter("ssl_cert_reqs") == Some("none") {
        settings = settings.danger_accept_any_certificate();
    }
    settings.client_config().map_err(|error| match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}
