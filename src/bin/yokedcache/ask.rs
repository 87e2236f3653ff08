//! Questions to the person at the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use console::Term;

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
    write!(io::stderr(), "password: ")?;
    let line = Term::stderr().read_secure_line();
    line.map_err(|error| Failure::file("the terminal", &error))
}

/// The first line of the standard input, which stays open for more.
fn first_line() -> Outcome<String> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::file("the standard input", &error))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
