//! Who answers, and in which protocol.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::report::Report;
use crate::server::address::{Address, Place, System};
use crate::server::socket::{self, Stream, is_late};
use crate::server::tls;
use crate::words::measured;

/// A harmless question, and what the answers to it begin with.
fn question(system: System) -> (&'static [u8], &'static [&'static [u8]]) {
    match system {
        System::Redis => (b"PING\r\n", &[b"+PONG", b"-"]),
        System::Memcached => (b"version\r\n", &[b"VERSION", b"ERROR", b"CLIENT_ERROR"]),
    }
}

fn ask(stream: &mut (impl Read + Write), system: System) -> io::Result<Vec<u8>> {
    stream.write_all(question(system).0)?;
    stream.flush()?;
    let mut buffer = [0; 256];
    let read = stream.read(&mut buffer)?;
    Ok(buffer[..read].to_vec())
}

fn is_answer(system: System, answer: &[u8]) -> bool {
    question(system).1.iter().any(|begin| answer.starts_with(begin))
}

/// Whether a server speaks its protocol without TLS.
pub fn is_spoken(address: &Address, place: &Place, within: Duration) -> bool {
    let answer = socket::open(place, within).and_then(|mut plain| ask(&mut plain, address.system));
    answer.is_ok_and(|answer| is_answer(address.system, &answer))
}

/// Whether what listens there speaks the right protocol.
pub fn answers(
    address: &Address,
    place: &Place,
    mut stream: Stream,
    within: Duration,
    report: &mut Report,
) -> Option<Stream> {
    if address.is_binary() {
        report.pass("protocol", "memcached's binary one: the rest is asked through the cache");
        return Some(stream);
    }
    match ask(&mut stream, address.system) {
        Ok(answer) if answer.starts_with(b"-ERR max number of clients") => {
            let advice = "use smaller pools, or raise maxclients at the server";
            report.fail("protocol", "the server has as many clients as it takes", advice);
        }
        Ok(answer) if is_answer(address.system, &answer) => {
            report.pass("protocol", crate::stats::name(address.system));
            return Some(stream);
        }
        Err(error) if is_late(&error) => {
            let advice =
                "the server hangs or is overloaded, or something on the way swallows answers";
            report.fail("protocol", format!("no answer within {}", measured(within)), advice);
        }
        answer => stranger(address, place, within, answer, report),
    }
    None
}

fn stranger(
    address: &Address,
    place: &Place,
    within: Duration,
    answer: io::Result<Vec<u8>>,
    report: &mut Report,
) {
    let again = if address.tls { None } else { socket::open(place, within).ok() };
    if again.is_some_and(|plain| tls::is_spoken(place, plain)) {
        let advice = "use the scheme with an s: rediss:// or memcacheds://";
        report.fail("protocol", "the server speaks TLS, and the address does not", advice);
        return;
    }
    let name = crate::stats::name(address.system);
    let found = match answer {
        Ok(answer) if answer.is_empty() => "the server closes the connection at once".into(),
        Ok(_) => format!("what listens there is no {name} server"),
        Err(error) => error.to_string(),
    };
    report.fail("protocol", found, "is the port right?");
}
