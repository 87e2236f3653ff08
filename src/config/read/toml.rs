//! TOML.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{MOST_LEVELS, unquoted};
use crate::config::fault::Fault;
use crate::config::place::Place;
use crate::config::tree::{Field, Map, Tree, Value};

pub(super) fn read(text: &str, file: &Arc<str>) -> Result<Tree, Fault> {
    let lines = Lines { file, starts: text.match_indices('\n').map(|(at, _)| at + 1).collect() };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().unwrap_or_default();
        Fault::new(unquoted(error.message())).at(&lines.place(&at))
    })?;
    let span = table.span();
    lines.table(table.get_ref(), &span, 0)
}

/// Where the lines of a file begin, but for the first.
struct Lines<'t> {
    file: &'t Arc<str>,
    starts: Vec<usize>,
}

impl Lines<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        let line = self.starts.partition_point(|start| *start <= span.start) as u64 + 1;
        Place::Line(self.file.clone(), line)
    }

    fn table(&self, table: &DeTable<'_>, span: &Range<usize>, level: usize) -> Result<Tree, Fault> {
        let mut map = Map::default();
        for (name, value) in table {
            let place = self.place(&name.span());
            let value = self
                .value(value, level + 1)
                .map_err(|fault| fault.under(name.get_ref(), &place))?;
            map.add(Field { name: name.get_ref().to_string(), place, value })?;
        }
        Ok(Tree::map(&self.place(span), map))
    }

    fn value(&self, spanned: &Spanned<DeValue<'_>>, level: usize) -> Result<Tree, Fault> {
        let span = spanned.span();
        if level > MOST_LEVELS {
            return Err(Fault::new("too many levels").at(&self.place(&span)));
        }
        let value = match spanned.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Integer(number) => {
                let (digits, radix) = (number.as_str(), number.radix());
                let whole = u64::from_str_radix(digits, radix).map(Value::Unsigned);
                let whole =
                    whole.or_else(|_| i64::from_str_radix(digits, radix).map(Value::Signed));
                let too_large = |_| Fault::new("the number is too large").at(&self.place(&span));
                whole.map_err(too_large)?
            }
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Datetime(date) => Value::Text(date.to_string()),
            DeValue::Array(array) => {
                let elements = array.iter().map(|element| self.value(element, level + 1));
                Value::List(elements.collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => return self.table(table, &span, level),
        };
        Ok(Tree::new(self.place(&span), value))
    }
}
