//! The name somebody meant.

/// Names less alike than this are not what was meant.
const ALIKE: f64 = 0.72;

/// Shorter words are a part of too much.
const SHORTEST_PART: usize = 4;

/// That of the names which is this one but for its case, has it as a part or is most like it, unless
/// none is.
pub(crate) fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let names: Vec<&str> = names.into_iter().collect();
    let same = names.iter().find(|known| known.eq_ignore_ascii_case(&name));
    same.copied().or_else(|| shortest_with(&name, &names)).or_else(|| most_alike(&name, &names))
}

fn most_alike<'n>(name: &str, names: &[&'n str]) -> Option<&'n str> {
    let alike =
        |known: &str| strsim::normalized_damerau_levenshtein(name, &known.to_ascii_lowercase());
    let scored = names.iter().map(|known| (alike(known), *known));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 >= ALIKE).then_some(best.1)
}

/// The shortest name that begins or ends with these words.
fn shortest_with<'n>(words: &str, names: &[&'n str]) -> Option<&'n str> {
    let (beginning, end) = (format!("{words}_"), format!("_{words}"));
    let has_it = |known: &&&str| known.starts_with(&beginning) || known.ends_with(&end);
    let long_enough = words.len() >= SHORTEST_PART;
    names.iter().filter(has_it).min_by_key(|known| known.len()).copied().filter(|_| long_enough)
}

/// `; did you mean pool_size?`, or nothing.
pub(crate) fn did_you_mean<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    nearest(name, names).map_or_else(String::new, |known| format!("; did you mean {known}?"))
}

/// Whether text looks like a name, and may be shown: else it may be an address with a password in it.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_understood_and_other_words_are_not() {
        let names = [
            "pool_size",
            "socket_connect_timeout",
            "socket_timeout",
            "url",
            "db",
            "username",
            "sentinel_username",
        ];
        for (name, meant) in [
            ("pool_sise", Some("pool_size")),
            ("poolsize", Some("pool_size")),
            ("sokcet_timeout", Some("socket_timeout")),
            ("Pool-Size", Some("pool_size")),
            ("SOCKET_TIMEOUT", Some("socket_timeout")),
            ("USERNAME", Some("username")),
            ("timeout", Some("socket_timeout")),
            ("connect_timeout", Some("socket_connect_timeout")),
            ("out", None),
            ("ulr", None),
            ("frobnicate", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names), meant, "{name}");
        }
    }
}
