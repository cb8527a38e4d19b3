//! Rows as JSON objects, for dead letters of results.

use rtbflow::epoch::RefusedResult;
use serde_json::{Map, Value};

use crate::postgres::cell::{Cell, Kind};

/// A row as a JSON object, of its columns' names and their values.
pub(crate) fn row<'a>(columns: impl IntoIterator<Item = (&'a str, Cell<'a>)>) -> RefusedResult {
    let members = columns.into_iter().map(|(name, cell)| (name.to_owned(), value(cell)));
    RefusedResult::new(Value::Object(members.collect::<Map<_, _>>()).to_string())
}

/// A row whose elements are in wire form.
pub(crate) fn wire_row<'a>(
    columns: impl IntoIterator<Item = (&'a str, Kind)>,
    elements: impl IntoIterator<Item = &'a [u8]>,
) -> RefusedResult {
    let cells = columns.into_iter().zip(elements);
    // It is only shown: a value that cannot be read back ends the job where it is written, and not here.
    let read = |kind, element| Cell::read(kind, element).unwrap_or(Cell::Null);
    row(cells.map(|((name, kind), element)| (name, read(kind, element))))
}

fn value(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Text(text) => Value::String(text.into_owned()),
        Cell::BigInt(number) => number.into(),
        Cell::Int(number) => number.into(),
        Cell::Bool(truth) => truth.into(),
        // What is no number in JSON is text.
        Cell::Double(number) if !number.is_finite() => Value::String(number.to_string()),
        Cell::Double(number) => number.into(),
        Cell::Timestamp(time) => Value::String(time.to_string()),
        Cell::Date(date) => Value::String(date.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rtbflow::Timestamp;

    use super::*;
    use crate::postgres::cells::{Cells, elements};
    use crate::postgres::date::Date;

    #[test]
    fn a_row_in_wire_form_is_read_as_it_was() {
        let cells = [
            ("a", Kind::Text, Cell::Text("한\"".into())),
            ("b", Kind::BigInt, Cell::BigInt(i64::MIN)),
            ("c", Kind::Int, Cell::Null),
            ("d", Kind::Bool, Cell::Bool(true)),
            ("e", Kind::Double, Cell::Double(-0.5)),
            ("f", Kind::Timestamp, Cell::Timestamp(Timestamp::from_millis(1_705_314_600_042))),
            ("g", Kind::Date, Cell::Date(Date::from_days(19_737))),
            ("h", Kind::Double, Cell::Double(f64::INFINITY)),
        ];
        let mut wire = Cells::default();
        cells.iter().for_each(|(_, _, cell)| wire.push(cell));
        for ((_, kind, cell), element) in cells.iter().zip(elements(wire.bytes())) {
            assert_eq!(Cell::read(*kind, element).unwrap(), *cell);
        }
        let columns = cells.iter().map(|(name, kind, _)| (*name, *kind));
        let json = wire_row(columns, elements(wire.bytes())).value.unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"a":"한\"","b":-9223372036854775808,"c":null,"d":true,"e":-0.5,"#.to_owned()
                + r#""f":"2024-01-15T10:30:00.042Z","g":"2024-01-15","h":"inf"}"#
        );
    }
}
