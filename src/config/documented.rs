//! Whether the documentation has every field, its variable, and a test that there is.

use std::fs;
use std::path::Path;

use super::fields::fields;
use super::kind::Kind;
use super::names::names;
use super::sections::CacheSettings;

const PAGE: &str = include_str!("../../docs/configuration.md");

/// A row of a table: a field, its variable, and its test.
struct Row {
    section: String,
    field: String,
    variable: Option<String>,
    test: String,
}

fn rows() -> Vec<Row> {
    let (mut rows, mut section) = (Vec::new(), String::new());
    let (_, tables) = PAGE.split_once("# All fields").unwrap();
    for line in tables.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim_matches('`').to_owned();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", field, _, _, variable, test, ""] = cells[..] {
            let code = |cell: &str| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned());
            let Some(field) = code(field) else { continue };
            let (variable, test) = (code(variable), code(test).unwrap());
            rows.push(Row { section: section.clone(), field, variable, test });
        }
    }
    rows
}

#[test]
fn every_field_has_a_row_and_every_row_a_field() {
    let documented = rows();
    let of = |section: &str| -> Vec<String> {
        let rows = documented.iter().filter(|row| row.section == section);
        rows.map(|row| row.field.clone()).collect()
    };
    assert_eq!(of("The cache"), fields::<CacheSettings>());
    for kind in Kind::ALL {
        assert_eq!(of(kind.name()), kind.fields(), "{}", kind.name());
    }
}

#[test]
fn every_row_names_the_variable_that_is_read() {
    let read = names();
    for Row { section, field, variable, .. } in rows() {
        let name = if section == "The cache" { field } else { format!("{section}_{field}") };
        let expected = read.contains(&name).then(|| format!("YOKEDCACHE_{}", name.to_uppercase()));
        assert_eq!(variable, expected, "{name}");
    }
}

#[test]
fn every_row_names_a_test_that_there_is_and_that_sets_the_field() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/config", "src/config"].map(|folder| fs::read_dir(root.join(folder)));
    let files = folders.into_iter().flat_map(Result::unwrap).map(|file| file.unwrap().path());
    let sources = files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap());
    let sources: Vec<String> = sources.collect();
    for Row { field, test, .. } in rows() {
        let head = format!("fn {test}()");
        let with: Vec<&String> = sources.iter().filter(|text| text.contains(&head)).collect();
        assert!(!with.is_empty(), "{test} of {field}");
        assert!(
            with.iter().any(|text| text.contains(&field)) || test.contains("all_servers"),
            "{field}"
        );
    }
}
