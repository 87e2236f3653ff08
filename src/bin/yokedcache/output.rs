//! What goes to the standard output: tables for people, JSON for programs.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, Color as Paint, ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;

use crate::args::{Color, Global};
use crate::exit::Outcome;
use crate::words::escaped;

/// How to write.
#[derive(Clone, Copy)]
pub struct Out {
    pub json: bool,
    pub quiet: bool,
    /// The standard output is a terminal.
    pub terminal: bool,
    colour: bool,
    elsewhere: bool,
}

/// What a cell's colour tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Doubtful,
    Bad,
}

/// A cell of a table.
pub struct Cell {
    text: String,
    tone: Tone,
    right: bool,
}

impl Cell {
    pub fn toned(text: impl Display, tone: Tone) -> Self {
        Self { text: escaped(&text.to_string()), tone, right: false }
    }

    /// A number.
    pub fn right(text: impl Display) -> Self {
        Self { right: true, ..text.to_string().into() }
    }
}

impl<S: AsRef<str>> From<S> for Cell {
    fn from(text: S) -> Self {
        Self::toned(text.as_ref(), Tone::Plain)
    }
}

impl Out {
    pub fn new(global: &Global) -> Self {
        let terminal = io::stdout().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let colour = match global.color {
            Color::Auto => terminal && wanted && !global.json,
            Color::Always => !global.json,
            Color::Never => false,
        };
        Self { json: global.json, quiet: global.quiet, terminal, colour, elsewhere: false }
    }

    /// The same for people who read the standard error, as something else has the standard output.
    pub fn elsewhere(self) -> Self {
        Self { elsewhere: true, json: false, ..self }
    }

    /// A line for people.
    pub fn say(&self, line: impl Display) -> Outcome<()> {
        if self.elsewhere {
            return self.aside(line);
        }
        if !self.json {
            writeln!(io::stdout(), "{line}")?;
        }
        Ok(())
    }

    /// A line that is no answer: left out with `--quiet`, and never where a program reads.
    pub fn aside(&self, line: impl Display) -> Outcome<()> {
        if !self.json && !self.quiet {
            writeln!(io::stderr(), "{line}")?;
        }
        Ok(())
    }

    /// The answer of a command in JSON; spread over lines on a terminal.
    pub fn document(&self, document: &impl Serialize) -> Outcome<()> {
        if !self.json {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        if self.terminal {
            serde_json::to_writer_pretty(&mut out, document)?;
        } else {
            serde_json::to_writer(&mut out, document)?;
        }
        writeln!(out)?;
        Ok(())
    }

    /// One of many answers, on a line of its own.
    pub fn record(&self, record: &impl Serialize) -> Outcome<()> {
        if self.json {
            let mut line = serde_json::to_vec(record)?;
            line.push(b'\n');
            io::stdout().write_all(&line)?;
        }
        Ok(())
    }

    /// Bytes as they are.
    pub fn raw(&self, bytes: &[u8]) -> Outcome<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        Ok(())
    }

    /// A table without lines, its columns aligned; wrapped at a terminal's width and nowhere else.
    pub fn table(&self, head: &[&str], rows: Vec<Vec<Cell>>) -> Outcome<()> {
        if self.json {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(NOTHING);
        if !head.is_empty() {
            table.set_header(head.to_vec());
        }
        for row in rows {
            table.add_row(row.into_iter().map(|cell| self.painted(cell)).collect::<Vec<_>>());
        }
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 3));
        });
        if self.terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        if self.colour {
            table.enforce_styling();
        }
        if self.elsewhere {
            return table.lines().try_for_each(|line| self.aside(line.trim_end()));
        }
        let mut out = io::stdout().lock();
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn painted(&self, cell: Cell) -> comfy_table::Cell {
        let mut painted = comfy_table::Cell::new(&cell.text);
        if cell.right {
            painted = painted.set_alignment(CellAlignment::Right);
        }
        let paint = match cell.tone {
            Tone::Good => Paint::Green,
            Tone::Doubtful => Paint::Yellow,
            Tone::Bad => Paint::Red,
            Tone::Plain => return painted,
        };
        if self.colour { painted.fg(paint) } else { painted }
    }
}

/// A line of a name and what belongs to it.
pub fn fact(name: &str, value: impl Display) -> Vec<Cell> {
    vec![name.into(), value.to_string().into()]
}
