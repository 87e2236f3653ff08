//! Redis globs, read and matched.

use crate::error::{Error, ErrorKind, Result};

/// A parsed glob.
#[derive(Debug)]
pub(super) struct Glob {
    pub(super) text: Box<str>,
    tokens: Vec<Token>,
}

#[derive(Debug)]
enum Token {
    Byte(u8),
    AnyByte,
    AnyRun,
    Class(Box<[bool; 256]>),
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(wanted) => *wanted == byte,
            Self::AnyByte => true,
            Self::AnyRun => false,
            Self::Class(members) => members[usize::from(byte)],
        }
    }
}

impl Glob {
    pub(super) fn parse(glob: &str) -> Result<Self> {
        let mut left = glob.as_bytes();
        let mut tokens = Vec::with_capacity(left.len());
        while let Some((&byte, rest)) = left.split_first() {
            left = rest;
            match byte {
                b'*' if matches!(tokens.last(), Some(Token::AnyRun)) => {}
                b'*' => tokens.push(Token::AnyRun),
                b'?' => tokens.push(Token::AnyByte),
                b'[' => tokens.push(Token::Class(class(&mut left, glob)?)),
                b'\\' => tokens.push(Token::Byte(next(&mut left, glob, "ends in a backslash")?)),
                byte => tokens.push(Token::Byte(byte)),
            }
        }
        if tokens.is_empty() {
            return Err(malformed(glob, "is empty"));
        }
        Ok(Self { text: glob.into(), tokens })
    }

    /// Linear but for the last star seen: only that one ever needs to take one byte more.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let tokens = &self.tokens;
        let (mut token, mut at) = (0, 0);
        let mut star = None;
        while at < text.len() {
            match tokens.get(token) {
                Some(Token::AnyRun) => {
                    star = Some((token, at));
                    token += 1;
                }
                Some(wanted) if wanted.takes(text[at]) => {
                    token += 1;
                    at += 1;
                }
                _ => {
                    let Some((star_token, taken)) = star else { return false };
                    star = Some((star_token, taken + 1));
                    token = star_token + 1;
                    at = taken + 1;
                }
            }
        }
        tokens[token..].iter().all(|token| matches!(token, Token::AnyRun))
    }
}

/// Reads a class after its opening bracket.
fn class(left: &mut &[u8], glob: &str) -> Result<Box<[bool; 256]>> {
    let unclosed = "has a class that is not closed";
    let mut members = Box::new([false; 256]);
    let negated = left.first() == Some(&b'^');
    if negated {
        *left = &left[1..];
    }
    loop {
        match next(left, glob, unclosed)? {
            b']' => break,
            b'\\' => members[usize::from(next(left, glob, unclosed)?)] = true,
            // As in Redis: what follows `x-` ends the range, whatever it is.
            low if left.len() >= 2 && left[0] == b'-' => {
                let (low, high) = (low.min(left[1]), low.max(left[1]));
                members[usize::from(low)..=usize::from(high)].fill(true);
                *left = &left[2..];
            }
            byte => members[usize::from(byte)] = true,
        }
    }
    if negated {
        members.iter_mut().for_each(|member| *member = !*member);
    }
    Ok(members)
}

fn next(left: &mut &[u8], glob: &str, otherwise: &str) -> Result<u8> {
    let (&byte, rest) = left.split_first().ok_or_else(|| malformed(glob, otherwise))?;
    *left = rest;
    Ok(byte)
}

fn malformed(glob: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidPattern, format!("the pattern {glob:?} {why}"))
}
