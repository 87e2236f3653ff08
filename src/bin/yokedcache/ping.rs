//! Whether the cache answers, and how quickly.

use std::time::Duration;

use serde_json::json;

use crate::args::Ping;
use crate::exit::{Exit, Failure, Outcome, name};
use crate::open::Target;
use crate::output::Out;
use crate::stop::Stop;
use crate::words::{escaped, measured};

pub fn run(ping: &Ping, target: &Target, out: Out) -> Outcome {
    if ping.count == 1 {
        let took = target.cache.health_check()?;
        out.document(&json!({"ok": true, "ms": ms(took)}))?;
        out.say(format!("ok, {}", measured(took)))?;
        return Ok(Exit::Done);
    }
    many(ping, target, out)
}

/// Goes on after a failure: what comes and goes is what one looks for.
fn many(ping: &Ping, target: &Target, out: Out) -> Outcome {
    let stop = Stop::on_ctrl_c();
    let mut times = Vec::new();
    let mut last = None;
    let mut sent = 0;
    while sent < ping.count {
        sent += 1;
        match target.cache.health_check() {
            Ok(took) => {
                out.record(&json!({"seq": sent, "ok": true, "ms": ms(took)}))?;
                out.say(format!("{sent}: ok, {}", measured(took)))?;
                times.push(took);
            }
            Err(error) => {
                let (kind, message) = (name(error.kind()), error.to_string());
                let error_json = json!({"kind": kind, "message": message});
                out.record(&json!({"seq": sent, "ok": false, "error": error_json}))?;
                out.say(format!("{sent}: failed: {}", escaped(&message)))?;
                last = Some(error);
            }
        }
        if sent < ping.count && !stop.sleep(ping.interval) {
            break;
        }
    }
    out.aside(summary(sent, &mut times))?;
    match last {
        Some(error) if times.is_empty() => Err(Failure::from(error)),
        Some(_) => Ok(Exit::No),
        None => Ok(Exit::Done),
    }
}

fn summary(sent: u64, times: &mut [Duration]) -> String {
    times.sort_unstable();
    let answered = format!("{} of {sent} answered", times.len());
    match (times.first(), times.last()) {
        (Some(least), Some(most)) => {
            let median = measured(times[times.len() / 2]);
            format!("{answered}; {} to {}, median {median}", measured(*least), measured(*most))
        }
        _ => answered,
    }
}

/// Milliseconds to the microsecond.
pub fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
