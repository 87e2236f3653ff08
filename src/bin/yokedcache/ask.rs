//! Questions to the person at the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::exit::{Failure, Outcome};

/// Whether there is somebody to ask.
pub fn is_somebody_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a yes; anything else is a no.
pub fn yes(question: &str) -> Outcome<bool> {
    write!(io::stderr(), "{question} [y/N] ")?;
    Ok(matches!(first_line()?.trim(), "y" | "Y" | "yes"))
}

/// The first line of the standard input. A person is asked for it, and nobody who looks on sees it.
pub fn password() -> Outcome<String> {
    if !is_somebody_there() {
        return first_line();
    }
    let _hidden = Hidden::new().map_err(|error| Failure::file("the terminal", &error))?;
    write!(io::stderr(), "password: ")?;
    first_line()
}

/// A terminal that does not show what is typed, but for the end of the line, until this is dropped.
struct Hidden {
    before: Termios,
}

impl Hidden {
    /// What was typed before the question is thrown away: it was on the screen.
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs no mending.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The first line of the standard input, which stays open for more.
fn first_line() -> Outcome<String> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::file("the standard input", &error))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
