//! Values of one column in wire form, as an array parameter takes them.

use std::error::Error as StdError;
use std::sync::OnceLock;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::postgres::calendar::{days, micros};
use crate::postgres::cell::{Cell, Kind};

/// Values of one column, each as an element of an array on the wire: its length, then its bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cells {
    count: usize,
    nulls: bool,
    bytes: Vec<u8>,
    /// Why they cannot be sent, if one of them is none that Postgres can hold.
    unfit: Option<&'static str>,
    /// Where each element begins: made when one is asked for, after the last was added.
    starts: OnceLock<Vec<usize>>,
}

impl Cells {
    /// An element in wire form, by its number. Nothing may be added afterwards.
    pub(crate) fn element(&self, number: usize) -> Option<&[u8]> {
        // For all at once: when one row is refused, the others are picked by the thousand.
        let starts = self.starts.get_or_init(|| {
            let mut next = 0;
            let begin = |element: &[u8]| {
                let begin = next;
                next += element.len();
                begin
            };
            elements(&self.bytes).map(begin).collect()
        });
        let begin = self.bytes.get(*starts.get(number)?..)?;
        begin.get(..element_length(begin)?)
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a value. One that [`Cell::check`] refuses, and that comes here all the same, keeps all of them from being
    /// sent: it is never written as another one.
    pub(crate) fn push(&mut self, cell: &Cell<'_>) {
        match cell {
            Cell::Null => self.push_null(),
            Cell::Text(text) => self.push_bytes(text.as_bytes()),
            Cell::BigInt(number) => self.push_bytes(&number.to_be_bytes()),
            Cell::Int(number) => self.push_bytes(&number.to_be_bytes()),
            Cell::Bool(truth) => self.push_bytes(&[u8::from(*truth)]),
            Cell::Double(number) => self.push_bytes(&number.to_be_bytes()),
            Cell::Timestamp(time) => match micros(*time) {
                Some(micros) => self.push_bytes(&micros.to_be_bytes()),
                None => self.push_unfit("a time is outside the calendar of Postgres"),
            },
            Cell::Date(date) => match days(*date) {
                Some(days) => self.push_bytes(&days.to_be_bytes()),
                None => self.push_unfit("a date is outside the calendar of Postgres"),
            },
        }
    }

    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        match i32::try_from(bytes.len()) {
            Ok(length) => {
                self.count += 1;
                self.bytes.put_i32(length);
                self.bytes.put_slice(bytes);
            }
            Err(_) => self.push_unfit("a value has more than 2 GiB"),
        }
    }

    fn push_null(&mut self) {
        self.nulls = true;
        self.count += 1;
        self.bytes.put_i32(-1);
    }

    /// Keeps the place of a value that cannot be sent, so that the others keep theirs.
    fn push_unfit(&mut self, why: &'static str) {
        self.unfit.get_or_insert(why);
        self.push_null();
    }

    /// Whether all of them can be sent.
    pub(crate) fn check(&self) -> Result<(), Box<dyn StdError + Sync + Send>> {
        self.unfit.map_or(Ok(()), |why| Err(why.into()))
    }

    /// Adds an element that is in wire form already.
    pub(crate) fn push_element(&mut self, element: &[u8]) {
        const NULL: &[u8] = &(-1_i32).to_be_bytes();
        self.nulls |= element == NULL;
        self.count += 1;
        self.bytes.put_slice(element);
    }
}

/// Elements in wire form one behind the other, each with its length.
pub(crate) fn elements(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (element, rest) = bytes.split_at_checked(element_length(bytes)?)?;
        bytes = rest;
        Some(element)
    })
}

fn element_length(bytes: &[u8]) -> Option<usize> {
    let length = i32::from_be_bytes(*bytes.first_chunk::<4>()?);
    // A null has no bytes behind its length, which is -1; behind the last element there is no length at all.
    usize::try_from(length.max(0)).ok()?.checked_add(4)
}

/// An array parameter made of the cells of several batches.
#[derive(Debug)]
pub(crate) struct Array<'a> {
    kind: Kind,
    parts: Vec<&'a Cells>,
}

impl<'a> Array<'a> {
    pub(crate) fn new(kind: Kind, parts: impl IntoIterator<Item = &'a Cells>) -> Self {
        Self { kind, parts: parts.into_iter().collect() }
    }

    /// Writes the array in wire form: how many dimensions it has, whether there are nulls, the type, how many
    /// elements and where they are numbered from, then the elements. One without elements has no dimension.
    pub(crate) fn write(
        kind: Kind,
        parts: &[&Cells],
        out: &mut BytesMut,
    ) -> Result<(), Box<dyn StdError + Sync + Send>> {
        parts.iter().try_for_each(|cells| cells.check())?;
        let count: usize = parts.iter().map(|cells| cells.count).sum();
        out.put_i32(i32::from(count > 0));
        out.put_i32(i32::from(parts.iter().any(|cells| cells.nulls)));
        out.put_u32(kind.scalar().oid());
        if count > 0 {
            // Far beyond what a statement carries.
            out.put_i32(i32::try_from(count)?);
            out.put_i32(1);
        }
        for cells in parts {
            out.extend_from_slice(&cells.bytes);
        }
        Ok(())
    }
}

impl ToSql for Array<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        Array::write(self.kind, &self.parts, out)?;
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use rtbflow::Timestamp;

    use super::*;
    use crate::postgres::date::Date;

    #[test]
    fn a_value_that_postgres_cannot_hold_is_never_sent_as_another_one() {
        let far = Timestamp::from_millis(i64::MAX - 1);
        for cell in [Cell::Timestamp(far), Cell::Date(Date::from_days(i32::MAX))] {
            let mut cells = Cells::default();
            cells.push(&Cell::Null);
            cells.push(&cell);
            let error = Array::write(Kind::Timestamp, &[&cells], &mut BytesMut::new()).unwrap_err();
            assert!(error.to_string().contains("calendar"), "{error}");
        }
    }
}
