//! Signs of life, at a server that says only what the test says.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::far::LONG;
use crate::server::Process;
use crate::support::{in_time, wait_until};

/// Lets itself be listened to, and tells of nothing by itself.
struct Stub {
    url: String,
    ear: Arc<Mutex<Option<TcpStream>>>,
    /// The signs of life it was given.
    signs: mpsc::Receiver<String>,
}

impl Stub {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let ear: Arc<Mutex<Option<TcpStream>>> = Arc::default();
        let (given, signs) = mpsc::channel();
        let hears = ear.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (hears, given) = (hears.clone(), given.clone());
                thread::spawn(move || serve(stream, &hears, &given));
            }
        });
        Self { url, ear, signs }
    }

    fn next_sign(&self) -> String {
        self.signs.recv_timeout(LONG).expect("a sign of life")
    }

    /// Tells of a change to this name.
    fn tell(&self, name: &str) {
        let ear = self.ear.lock().unwrap();
        let message = format!(
            "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n${}\r\n{name}\r\n",
            name.len()
        );
        // A listener that waited too long for its signs has hung up, and comes again.
        let _ = ear.as_ref().unwrap().write_all(message.as_bytes());
    }
}

fn serve(stream: TcpStream, ear: &Mutex<Option<TcpStream>>, given: &mpsc::Sender<String>) {
    let mut asked = BufReader::new(stream.try_clone().unwrap());
    while let Some(words) = command(&mut asked) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let reply = match words[..] {
            ["CLIENT", "ID"] => ":7\r\n",
            ["SUBSCRIBE", _] => {
                *ear.lock().unwrap() = Some(stream.try_clone().unwrap());
                "*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n"
            }
            ["SET", name, ..] => {
                let _ = given.send(name.to_owned());
                "+OK\r\n"
            }
            _ => "+OK\r\n",
        };
        if (&stream).write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

/// The words of the next command; none at the end.
fn command(asked: &mut impl BufRead) -> Option<Vec<String>> {
    let number = |asked: &mut dyn BufRead| {
        let mut line = String::new();
        asked.read_line(&mut line).ok()?;
        line.get(1..)?.trim_end().parse::<usize>().ok()
    };
    let count = number(asked)?;
    let mut word = || {
        let mut word = vec![0; number(asked)? + 2];
        asked.read_exact(&mut word).ok()?;
        word.truncate(word.len() - 2);
        String::from_utf8(word).ok()
    };
    (0..count).map(|_| word()).collect()
}

#[test]
fn a_sign_that_is_not_heard_of_proves_nothing() {
    let stub = Stub::start();
    let here = Process::start_off(&stub.url, |tiers| tiers.bound(Duration::from_millis(300)));
    let first = stub.next_sign();
    stub.next_sign();
    stub.next_sign();
    assert!(!here.tiers.is_near_on());
    // Nor does what looks like one.
    stub.tell(&first.replace(".1.", ".99."));
    stub.tell("p:k");
    stub.next_sign();
    assert!(!here.tiers.is_near_on());
    // By the next one it has heard of this one, unless it is late: then by the one after that.
    wait_until("it is on", || {
        stub.tell(&stub.next_sign());
        stub.next_sign();
        here.tiers.is_near_on()
    });
}

#[test]
fn a_sign_counts_from_when_it_was_given() {
    in_time(|| {
        let bound = Duration::from_secs(2);
        let stub = Stub::start();
        let here = Process::start_off(&stub.url, |tiers| tiers.bound(bound));
        let sign = stub.next_sign();
        let given = Instant::now();
        thread::sleep(bound / 2);
        stub.tell(&sign);
        while !here.tiers.is_near_on() {
            if given.elapsed() >= bound {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep((given + bound).saturating_duration_since(Instant::now()));
        assert!(!here.tiers.is_near_on());
        Some(())
    });
}
