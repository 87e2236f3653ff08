//! From a name to a server that answers in the right protocol.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use super::plain;
use super::report::Report;
use crate::server::address::{Address, Place};
use crate::server::certificate;
use crate::server::reach::said;
use crate::server::socket::{self, Plain, Stream, is_late};
use crate::server::tls::{self, Fault};
use crate::words::{lasting, measured};

/// A certificate that ends so soon is to be renewed now.
const SOON: Duration = Duration::from_secs(30 * 86_400);

/// Looks the name up, connects, shakes hands and sees who answers.
pub fn reach(
    address: &Address,
    place: &Place,
    within: Duration,
    report: &mut Report,
) -> Option<Stream> {
    let addresses = resolve(place, within, report)?;
    let plain = connect(place, &addresses, within, report)?;
    let stream = if address.tls {
        encrypt(address, place, plain, within, report)?
    } else {
        unencrypted(place, report);
        Stream::Plain(plain)
    };
    plain::answers(address, place, stream, within, report)
}

fn resolve(place: &Place, within: Duration, report: &mut Report) -> Option<Vec<SocketAddr>> {
    let Place::Tcp { host, port } = place else {
        report.pass("dns", "not needed: a socket on this machine");
        return Some(Vec::new());
    };
    if let Ok(ip) = host.parse() {
        report.pass("dns", "not needed: the address is a number");
        return Some(vec![SocketAddr::new(ip, *port)]);
    }
    let started = Instant::now();
    match socket::resolve(host, *port, within) {
        Ok(found) if !found.is_empty() => {
            let more = if found.len() > 1 { " and others" } else { "" };
            let took = measured(started.elapsed());
            report.pass("dns", format!("{host} is {}{more}, {took}", found[0].ip()));
            Some(found)
        }
        other => {
            let why = other.err().map_or("it has no address".into(), |error| said(&error));
            let advice =
                "is the host's name right, and does this machine ask the right name server?";
            report.fail("dns", format!("{host}: {why}"), advice);
            None
        }
    }
}

fn connect(
    place: &Place,
    addresses: &[SocketAddr],
    within: Duration,
    report: &mut Report,
) -> Option<Plain> {
    let started = Instant::now();
    let opened = match place {
        Place::Unix(_) => socket::open(place, within),
        Place::Tcp { .. } => socket::connect(addresses, within),
    };
    match opened {
        Ok(plain) => {
            report.pass("tcp", format!("connected to {place}, {}", measured(started.elapsed())));
            Some(plain)
        }
        Err(error) => {
            report.fail("tcp", format!("{place}: {}", said(&error)), no_connection(&error));
            None
        }
    }
}

fn no_connection(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there: start the server, or correct host and port"
        }
        io::ErrorKind::NotFound => "there is no such socket: is the server running?",
        io::ErrorKind::PermissionDenied => "this user may not use the socket",
        _ if is_late(error) => {
            "something swallows the packets: look at firewalls and security groups for this port"
        }
        _ => "look at the network between here and there",
    }
}

fn unencrypted(place: &Place, report: &mut Report) {
    if place.is_local() {
        report.pass("tls", "not used, and nothing leaves this machine");
    } else {
        let advice = "whoever is on the way can read and change it: use the scheme with an s";
        report.warn("tls", "not used, and the server is on another machine", advice);
    }
}

fn encrypt(
    address: &Address,
    place: &Place,
    plain: Plain,
    within: Duration,
    report: &mut Report,
) -> Option<Stream> {
    let started = Instant::now();
    match tls::shake_hands(address, place, plain) {
        Ok(stream) => {
            let chain = stream.conn.peer_certificates();
            let end = chain.and_then(|chain| certificate::end(chain.first()?));
            judge(address, end, &measured(started.elapsed()), report);
            return Some(Stream::Tls(Box::new(stream)));
        }
        Err(Fault::Settings(what)) => {
            report.fail("tls", what, "correct the TLS settings of the address");
        }
        Err(Fault::Distrust(what)) => report.fail("tls", what.clone(), distrust(&what)),
        Err(Fault::NotTls | Fault::Io(_)) if plain::is_spoken(address, place, within) => {
            let advice = "use the scheme without an s, or turn TLS on at the server";
            report.fail("tls", "the server does not speak TLS, and the address wants it", advice);
        }
        Err(Fault::NotTls) => {
            report.fail("tls", "what listens there does not speak TLS", "is the port right?");
        }
        Err(Fault::Io(error)) => {
            let advice = "the server hangs, or something on the way swallows its answers";
            report.fail("tls", format!("no handshake: {}", said(&error)), advice);
        }
    }
    None
}

fn judge(address: &Address, end: Option<SystemTime>, took: &str, report: &mut Report) {
    if address.parameter("ssl_cert_reqs") == Some("none") {
        let advice = "anybody can pretend to be the server: name its authority in ssl_ca_certs";
        report.warn("tls", format!("any certificate is taken, {took}"), advice);
        return;
    }
    match end.map(|end| end.duration_since(SystemTime::now())) {
        Some(Ok(left)) if left < SOON => {
            report.warn("tls", format!("the certificate ends in {}", lasting(left)), "renew it");
        }
        Some(Ok(left)) => {
            report.pass("tls", format!("the certificate is good for {}, {took}", lasting(left)));
        }
        // The handshake has judged it.
        _ => report.pass("tls", format!("the certificate is trusted, {took}")),
    }
}

fn distrust(what: &str) -> &'static str {
    let advice = [
        ("UnknownIssuer", "its authority is not trusted here: name the file of it in ssl_ca_certs"),
        ("xpired", "renew it"),
        ("NotValidYet", "is the clock of this machine right?"),
        (
            "not valid for name",
            "use the name the certificate is for, or have one made for this name",
        ),
        ("CertificateRequired", "the server wants to see one: ssl_certfile and ssl_keyfile"),
    ];
    let found = advice.into_iter().find(|(part, _)| what.contains(part));
    found.map_or("the server's log may say more", |(_, advice)| advice)
}
