//! A redis-server of an example's own, which ends with it.

// Each example uses a part.
#![allow(dead_code)]

use std::env;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Shows something on the server that the variable `REDIS_URL` names, or on one of its own.
pub fn with_server(
    show: impl FnOnce(&str) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    match env::var("REDIS_URL") {
        Ok(url) => show(&url),
        Err(_) => show(&Server::start()?.url()),
    }
}

/// A server that does not answer for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts one on a free port of this machine.
    pub fn start() -> Result<Self, Box<dyn Error>> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let server = Self { process: spawn(address)?, address };
        server.wait()?;
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Lets it hang.
    pub fn pause(&self) -> io::Result<()> {
        self.signal("-STOP")
    }

    /// Lets it go on.
    pub fn resume(&self) -> io::Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> io::Result<()> {
        let done = Command::new("kill").args([signal, &self.process.id().to_string()]).status()?;
        if done.success() { Ok(()) } else { Err(io::Error::other("no such process")) }
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }

    /// Starts it at the same place again, empty.
    pub fn start_again(&mut self) -> Result<(), Box<dyn Error>> {
        self.process = spawn(self.address)?;
        self.wait()
    }

    fn wait(&self) -> Result<(), Box<dyn Error>> {
        let started = Instant::now();
        while let Err(error) = self.answers() {
            if started.elapsed() > PATIENCE {
                return Err(error.into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn answers(&self) -> io::Result<()> {
        let mut connection = TcpStream::connect(self.address)?;
        connection.write_all(b"PING\r\n")?;
        connection.read_exact(&mut [0; 7])
    }
}

fn spawn(address: SocketAddr) -> Result<Child, Box<dyn Error>> {
    let process = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
        .args(["--save", "", "--appendonly", "no"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    process.map_err(|error| format!("redis-server does not start: {error}").into())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
