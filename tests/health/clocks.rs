//! Clocks: a server whose time is another one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use yokedcache::HealthStatus;

use crate::redis::{cache, server_of};
use crate::{codes, warning};

/// One command of the Redis protocol; nothing at the end.
fn command(from: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let number = |from: &mut BufReader<TcpStream>| -> Option<usize> {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        line.trim_end().get(1..)?.parse().ok()
    };
    let words = number(from)?;
    (0..words)
        .map(|_| {
            let mut word = vec![0; number(from)? + 2];
            from.read_exact(&mut word).ok()?;
            Some(String::from_utf8(word).ok()?.trim_end().to_owned())
        })
        .collect()
}

/// A Redis server whose clock is so many seconds ahead, and that says nothing else of itself.
fn redis_ahead(seconds: i64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream, seconds));
        }
    });
    format!("redis://{address}")
}

fn serve(stream: TcpStream, seconds: i64) {
    let mut answers = stream.try_clone().unwrap();
    let mut from = BufReader::new(stream);
    while let Some(words) = command(&mut from) {
        let answer = match words[0].as_str() {
            "SET" => "+OK\r\n".to_owned(),
            "GET" => "$-1\r\n".to_owned(),
            "UNLINK" => ":1\r\n".to_owned(),
            "TIME" => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                let told = (now.as_secs() as i64 + seconds).to_string();
                let micros = now.subsec_micros().to_string();
                format!("*2\r\n${}\r\n{told}\r\n${}\r\n{micros}\r\n", told.len(), micros.len())
            }
            _ => "-ERR unknown command\r\n".to_owned(),
        };
        if answers.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn a_clock_that_is_off_by_seconds_is_told_with_its_side() {
    for (seconds, side) in [(30, "s ahead of"), (-5, "s behind")] {
        let health = cache(&redis_ahead(seconds)).detailed_health_check();
        assert_eq!((health.status(), codes(&health)), (HealthStatus::Up, vec!["clock-skew"]));
        let text = &warning(&health, "clock-skew").text;
        assert!(text.contains(side) && text.contains("NTP"), "{text}");
        let clock = server_of(&health).server.as_deref().unwrap().clock.unwrap();
        let off = (clock.ahead_ms - seconds as f64 * 1000.0).abs();
        assert!(off <= clock.error_ms + 1.0, "{clock:?}");
    }
}

#[test]
fn a_clock_that_is_right_or_nearly_is_not_worth_a_word() {
    for seconds in [0, 1] {
        let health = cache(&redis_ahead(seconds)).detailed_health_check();
        assert!(codes(&health).is_empty(), "{seconds}");
    }
}
