//! TLS in front of a server that speaks none.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::certs::write_certs;
use super::{Process, free_port};

/// A port of 127.0.0.1 that speaks TLS. Dropping it ends its connections and threads.
pub struct TlsFront {
    addr: SocketAddr,
    dir: PathBuf,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    to: SocketAddr,
    config: Arc<ServerConfig>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: bool,
    streams: Vec<Arc<TcpStream>>,
}

impl TlsFront {
    pub fn to(addr: &str) -> TlsFront {
        let dir = Process::new_dir();
        write_certs(&dir);
        let chain = vec![CertificateDer::from_pem_file(dir.join("server.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = loop {
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", free_port())) {
                break listener;
            }
        };
        let front_addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to: addr.parse().unwrap(),
            config: Arc::new(config),
            state: Mutex::default(),
        });
        let acceptor = thread::spawn({
            let shared = shared.clone();
            move || shared.accept_all(&listener)
        });
        TlsFront { addr: front_addr, dir, shared, acceptor: Some(acceptor) }
    }

    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// The certificate of the authority that signed the server's.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// An authority that has nothing to do with this server.
    pub fn other_ca(&self) -> PathBuf {
        self.dir.join("other-ca.pem")
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        for stream in state.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.addr);
        let _ = self.acceptor.take().unwrap().join();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_all(&self, listener: &TcpListener) {
        // The scope waits for the threads of all connections.
        thread::scope(|scope| {
            loop {
                let Ok((client, _)) = listener.accept() else { continue };
                if self.lock().closed {
                    return;
                }
                scope.spawn(move || self.serve(client));
            }
        });
    }

    fn serve(&self, client: TcpStream) {
        let Ok(server) = TcpStream::connect_timeout(&self.to, Duration::from_secs(5)) else {
            return;
        };
        let (client, server) = (Arc::new(client), Arc::new(server));
        let mut state = self.lock();
        if state.closed {
            return;
        }
        // Those that only this list still holds are over.
        state.streams.retain(|stream| Arc::strong_count(stream) > 1);
        state.streams.extend([client.clone(), server.clone()]);
        drop(state);
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let mut tls = ServerConnection::new(self.config.clone()).unwrap();
        tls.set_buffer_limit(None);
        let tls = Mutex::new(tls);
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = pump_requests(&tls, &client, &server);
                let _ = server.shutdown(Shutdown::Both);
            });
            let _ = pump_replies(&tls, &client, &server);
            let _ = client.shutdown(Shutdown::Both);
        });
    }
}

fn pump_requests(
    tls: &Mutex<ServerConnection>,
    mut client: &TcpStream,
    mut server: &TcpStream,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let len = client.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        let mut sealed = &buffer[..len];
        let mut plain = Vec::new();
        let mut tls = tls.lock().unwrap();
        while !sealed.is_empty() {
            tls.read_tls(&mut sealed)?;
            let state = tls.process_new_packets();
            // Be it an alert.
            while tls.wants_write() {
                tls.write_tls(&mut client)?;
            }
            let here = state.map_err(io::Error::other)?.plaintext_bytes_to_read();
            let start = plain.len();
            plain.resize(start + here, 0);
            tls.reader().read_exact(&mut plain[start..])?;
        }
        drop(tls);
        server.write_all(&plain)?;
    }
}

fn pump_replies(
    tls: &Mutex<ServerConnection>,
    mut client: &TcpStream,
    mut server: &TcpStream,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let len = server.read(&mut buffer)?;
        let mut tls = tls.lock().unwrap();
        if len == 0 {
            tls.send_close_notify();
        }
        tls.writer().write_all(&buffer[..len])?;
        while tls.wants_write() {
            tls.write_tls(&mut client)?;
        }
        if len == 0 {
            return Ok(());
        }
    }
}
