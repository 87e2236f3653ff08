//! How far a long command is: a bar at a terminal, else a line every few seconds.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::output::Out;
use crate::words::count;

const EVERY: Duration = Duration::from_secs(5);

/// Shows progress on the standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    told: Instant,
    silent: bool,
}

impl Progress {
    pub fn new(out: Out) -> Self {
        let silent = out.quiet || out.json;
        let bar = (!silent && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style(false));
            bar
        });
        Self { bar, told: Instant::now(), silent }
    }

    /// So many are done, of so many if that is known.
    pub fn at(&mut self, verb: &'static str, done: u64, total: Option<u64>) {
        if let Some(bar) = &self.bar {
            bar.set_message(verb);
            match total {
                Some(total) if bar.length() != Some(total.max(done)) => {
                    bar.set_style(style(true));
                    bar.set_length(total.max(done));
                }
                _ => {}
            }
            bar.set_position(done);
        } else if !self.silent && self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            let of = total.map(|total| format!(" of about {}", count(total))).unwrap_or_default();
            // Progress nobody sees is no reason to stop.
            let _ = writeln!(io::stderr(), "{verb} {}{of}", count(done));
        }
    }

    /// Makes room for the result.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(with_total: bool) -> ProgressStyle {
    let template = match with_total {
        true => "{msg} {bar:30} {human_pos} of about {human_len}, {rate}, {eta} left",
        false => "{msg} {spinner} {human_pos}, {rate}, {elapsed}",
    };
    let style = ProgressStyle::with_template(template);
    let rate = |state: &ProgressState, to: &mut dyn fmt::Write| {
        // Only a formatter that is out of memory fails.
        let _ = write!(to, "{}/s", count(state.per_sec().round() as u64));
    };
    style
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .with_key("rate", rate)
        .progress_chars("=> ")
}
