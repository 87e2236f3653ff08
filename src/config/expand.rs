//! Variables within the text of a file: `${NAME}`, `${NAME:-otherwise}`, and `$$` for a dollar.

use super::fault::Fault;
use super::place::Place;
use super::tree::{Tree, Value};

/// Looks a variable up.
pub(super) type Find<'f> = &'f dyn Fn(&str) -> Option<String>;

/// Puts the values of variables into every text of the tree.
pub(super) fn expand(tree: &mut Tree, find: Find<'_>) -> Result<(), Fault> {
    match &mut tree.value {
        Value::Text(text) if text.contains('$') => {
            let (filled, from_variable) =
                fill(text, find).map_err(|what| Fault::new(what).at(&tree.place))?;
            tree.value = if from_variable { Value::Loose(filled) } else { Value::Text(filled) };
            Ok(())
        }
        Value::List(list) => list.iter_mut().enumerate().try_for_each(|(index, tree)| {
            let here = |fault: Fault| fault.element(index, &Place::Code);
            expand(tree, find).map_err(here)
        }),
        Value::Map(map) => map.iter_mut().try_for_each(|field| {
            let here = |fault: Fault| fault.under(&field.name, &field.place);
            expand(&mut field.value, find).map_err(here)
        }),
        _ => Ok(()),
    }
}

/// The text with its variables, and whether there were any.
fn fill(text: &str, find: Find<'_>) -> Result<(String, bool), String> {
    let (mut filled, mut rest, mut any) = (String::new(), text, false);
    while let Some((before, behind)) = rest.split_once('$') {
        filled += before;
        rest = if let Some(behind) = behind.strip_prefix('$') {
            filled.push('$');
            behind
        } else if let Some(behind) = behind.strip_prefix('{') {
            let closed =
                behind.split_once('}').ok_or("${ is not closed; a dollar is written $$")?;
            filled += &value(closed.0, find)?;
            any = true;
            closed.1
        } else {
            filled.push('$');
            behind
        };
    }
    filled += rest;
    Ok((filled, any))
}

fn value(inner: &str, find: Find<'_>) -> Result<String, String> {
    let (name, otherwise) = match inner.split_once(":-") {
        Some((name, otherwise)) => (name, Some(otherwise)),
        None => (inner, None),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(plain) || name.as_bytes()[0].is_ascii_digit() {
        return Err("between ${ and } stands the name of a variable; a dollar is written $$".into());
    }
    let found = find(name).filter(|value| otherwise.is_none() || !value.is_empty());
    found.or(otherwise.map(str::to_owned)).ok_or_else(|| format!("the variable {name} is not set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let find = |name: &str| match name {
            "HOST" => Some("h".to_owned()),
            "EMPTY" => Some(String::new()),
            "ODD" => Some("${HOST}$$".to_owned()),
            _ => None,
        };
        for (text, filled) in [
            ("plain", "plain"),
            ("${HOST}", "h"),
            ("redis://${HOST}:1/${HOST}", "redis://h:1/h"),
            ("${NONE:-other}", "other"),
            ("${EMPTY:-other}", "other"),
            ("${NONE:-}", ""),
            ("${EMPTY}", ""),
            ("$${HOST}", "${HOST}"),
            ("a$b$", "a$b$"),
            ("${ODD}", "${HOST}$$"),
        ] {
            assert_eq!(fill(text, &find).unwrap().0, filled, "{text}");
        }
        for text in ["${NONE}", "${HOST", "${}", "${1A}", "${A B}", "${:-x}"] {
            fill(text, &find).unwrap_err();
        }
    }
}
