//! Files, read into trees.

mod toml;
mod yaml;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::fault::Fault;
use super::place::Place;
use super::tree::Tree;

/// How deep values may stand in one another: readers need some stack for each level.
const MOST_LEVELS: usize = 20;

/// Reads a file in the format that its name says.
pub(super) fn file(path: &Path) -> Result<Tree, Fault> {
    let name: Arc<str> = path.display().to_string().into();
    let whole = Place::Line(name.clone(), 0);
    let here = |fault: Fault| fault.at(&whole);
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let read = match extension.to_ascii_lowercase().as_str() {
        "yaml" | "yml" | "json" => yaml::read,
        "toml" => toml::read,
        _ => {
            return Err(here(Fault::new("the name of a file ends in .yaml, .yml, .toml or .json")));
        }
    };
    let bytes =
        fs::read(path).map_err(|error| here(Fault::new(format!("cannot be read: {error}"))))?;
    let text = String::from_utf8(bytes).map_err(|_| here(Fault::new("is not UTF-8")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    read(text, &name).map_err(here)
}

/// What a parser says, without what it quotes: that may be a part of a password.
fn unquoted(what: &str) -> String {
    let mut shown = String::new();
    let mut rest = what;
    while let Some(at) = rest.find(['`', '"', '\'']) {
        let (before, quoted) = rest.split_at(at);
        let end = quoted[1..].find(&quoted[..1]).map_or(quoted.len(), |end| end + 2);
        let (quoted, behind) = quoted.split_at(end);
        let short = quoted.chars().count() <= 3;
        shown.extend([before, if short { quoted } else { "(...)" }]);
        rest = behind;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_parser_quotes_is_not_shown() {
        for (what, shown) in [
            ("unclosed bracket '{'", "unclosed bracket '{'"),
            ("unsupported tag `!hunter2`", "unsupported tag (...)"),
            ("found \"ab\" and 'cd', not `e`", "found (...) and (...), not `e`"),
            ("an open `quote", "an open (...)"),
            ("", ""),
        ] {
            assert_eq!(unquoted(what), shown);
        }
    }
}
