//! What is read of Postgres's answers and of its URL, for tests on any bytes: nothing of it is an interface.

use rtbflow::Result;
use tokio_postgres::types::{FromSql, Type};

use crate::postgres::address::{Address, name, shown};
use crate::postgres::cell::{Cell, Kind};
use crate::postgres::cells::{Cells, elements};
use crate::postgres::row::Found;
use crate::postgres::settings::{Version, own_settings};
use crate::postgres::transaction::{first_word, statement_is_plain};
use crate::postgres::value::sealed::Typed;

/// The types of columns that are read.
const TYPES: [Type; 11] = [
    Type::TEXT,
    Type::NAME,
    Type::UNKNOWN,
    Type::INT8,
    Type::INT4,
    Type::INT2,
    Type::BOOL,
    Type::FLOAT8,
    Type::FLOAT4,
    Type::TIMESTAMPTZ,
    Type::DATE,
];

/// A value as a server sends it in a column of the type with this number, as it is shown, and what is sent of it; `None`
/// if it is none of the type, or if Postgres itself could not hold it.
#[must_use]
pub fn reread_column(number: usize, raw: &[u8]) -> Option<(String, Vec<u8>)> {
    let kind = TYPES.iter().cycle().nth(number % TYPES.len())?;
    let Found(Typed(of, cell)) = Found::from_sql(kind, raw).ok()?;
    cell.check("column").ok()?;
    let mut cells = Cells::default();
    cells.push(&cell);
    let element = cells.element(0)?;
    let read = Cell::read(of, element).ok()?;
    let same = read == cell || matches!((of, &cell), (Kind::Double, Cell::Double(n)) if n.is_nan());
    same.then(|| (cell.to_string(), element.split_at_checked(4).unwrap_or_default().1.to_vec()))
}

/// How many elements there are in wire form, and how many bytes they have.
#[must_use]
pub fn count_elements(bytes: &[u8]) -> (usize, usize) {
    elements(bytes).fold((0, 0), |(count, sum), element| (count + 1, sum + element.len()))
}

/// A URL, as it is shown.
///
/// # Errors
/// If it cannot be used.
pub fn address(url: &str) -> Result<[String; 2]> {
    let address = Address::parse(url)?;
    own_settings(&address.options)?;
    Ok([name(&address.config), shown(&address.config)])
}

/// A server's version, as it is shown.
#[must_use]
pub fn version(text: &str) -> String {
    Version::read(text).to_string()
}

/// The first word of a statement, and whether it leaves its transaction as it is.
#[must_use]
pub fn statement(sql: &str) -> (&str, bool) {
    (first_word(sql), statement_is_plain(sql).is_ok())
}
