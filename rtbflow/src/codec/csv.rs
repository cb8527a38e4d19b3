//! Rows of comma-separated values.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use csv::StringRecord;
use serde::de::DeserializeOwned;

use crate::codec::Decoder;
use crate::error::BadRecord;
use crate::raw_record::RawRecord;

/// Decodes a row of comma-separated values into an owned `T`; see [`csv()`].
pub struct Csv<T> {
    columns: Arc<StringRecord>,
    row: PhantomData<fn() -> T>,
}

impl<T> Clone for Csv<T> {
    fn clone(&self) -> Self {
        Self { columns: Arc::clone(&self.columns), row: PhantomData }
    }
}

impl<T> fmt::Debug for Csv<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Csv<{}>({:?})", std::any::type_name::<T>(), self.columns)
    }
}

/// A decoder of rows of comma-separated values, as [RFC 4180](https://www.rfc-editor.org/rfc/rfc4180) has
/// them, with these columns: a struct's fields are found by their names, those of a tuple by their
/// places.
///
/// What does not decode: a row with another number of fields, text that is not UTF-8, and whatever `T`
/// refuses. Quotes are as the standard wants them: around a whole field, doubled within. Files that have a header are read by
/// [`FileSource::csv`](crate::source::FileSource::csv).
///
/// ```
/// use rtbflow::codec::{Decoder, csv};
/// use rtbflow::source::RawRecord;
/// use rtbflow::Timestamp;
///
/// #[derive(serde::Deserialize)]
/// struct Click { price: Option<i64>, campaign: String }
///
/// let record = |value| RawRecord::new(0, Timestamp::MIN, None, Some(value));
/// let clicks = csv::<Click>(["campaign", "price"]);
/// let click = clicks.decode(&record(b"\"spring, late\",7"))?;
/// assert_eq!((click.campaign.as_str(), click.price), ("spring, late", Some(7)));
/// assert_eq!(clicks.decode(&record(b"autumn,"))?.price, None);
/// assert!(clicks.decode(&record(b"autumn,7,8")).is_err());
/// # Ok::<(), rtbflow::BadRecord>(())
/// ```
#[must_use]
pub fn csv<T>(columns: impl IntoIterator<Item = impl AsRef<str>>) -> Csv<T>
where
    T: DeserializeOwned + Send + 'static,
{
    Csv::new(columns.into_iter().collect())
}

impl<T> Csv<T> {
    fn new(columns: StringRecord) -> Self {
        Self { columns: Arc::new(columns), row: PhantomData }
    }

    /// The decoder of what stands under a header.
    pub(crate) fn of_header(header: &[u8]) -> Result<Self, BadRecord> {
        Ok(Self::new(fields(header)?))
    }
}

/// The fields of a row, whose end is not part of it.
fn fields(row: &[u8]) -> Result<StringRecord, BadRecord> {
    let row = std::str::from_utf8(row);
    let row = row.map_err(|error| BadRecord::new(format!("not UTF-8: {error}")))?;
    let mut fields = StringRecord::new();
    let mut rest = Some(row);
    while let Some(text) = rest {
        let (field, after) = match text.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => plain_field(text)?,
        };
        fields.push_field(&field);
        rest = after;
    }
    Ok(fields)
}

/// A field, and what stands behind the comma that ends it; `None` at the end of the row.
type Split<'a> = (Cow<'a, str>, Option<&'a str>);

fn plain_field(text: &str) -> Result<Split<'_>, BadRecord> {
    let (field, after) =
        text.split_once(',').map_or((text, None), |(field, after)| (field, Some(after)));
    match field.find(['"', '\r', '\n']) {
        None => Ok((Cow::Borrowed(field), after)),
        Some(at) if field.get(at..).is_some_and(|text| text.starts_with('"')) => {
            Err(BadRecord::new("a quote within a field that is not quoted"))
        }
        Some(_) => Err(BadRecord::new("more than one row")),
    }
}

/// What stands behind the quote that begins a field.
fn quoted_field(mut text: &str) -> Result<Split<'_>, BadRecord> {
    let mut field = Cow::Borrowed("");
    while let Some((part, after)) = text.split_once('"') {
        field += part;
        if after.is_empty() {
            return Ok((field, None));
        }
        if let Some(after) = after.strip_prefix(',') {
            return Ok((field, Some(after)));
        }
        let Some(after) = after.strip_prefix('"') else {
            return Err(BadRecord::new("text after the closing quote of a field"));
        };
        field += "\"";
        text = after;
    }
    Err(BadRecord::new("a quoted field has no closing quote"))
}

impl<T: DeserializeOwned + Send + 'static> Decoder for Csv<T> {
    type Value = T;

    fn decode(&self, record: &RawRecord<'_>) -> Result<T, BadRecord> {
        // Without a value there is one empty field, and fewer than columns.
        let row = fields(record.value.unwrap_or_default())?;
        if row.len() != self.columns.len() {
            let (found, expected) = (row.len(), self.columns.len());
            return Err(BadRecord::new(format!(
                "the row has {found} fields, the header {expected} columns"
            )));
        }
        row.deserialize(Some(&self.columns)).map_err(|error| BadRecord::new(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::builders::at;

    fn decode(columns: &[&str], row: &[u8]) -> Result<Vec<String>, BadRecord> {
        let record = RawRecord { offset: 0, timestamp: at(0), key: None, value: Some(row) };
        csv(columns).decode(&record)
    }

    #[test]
    fn what_is_not_a_row_does_not_decode() {
        assert_eq!(decode(&["a", "b"], b",").unwrap(), ["", ""]);
        let rows = [
            b"\xff,1".as_slice(),
            b"1",
            b"1,2,3",
            b"1,2\n3,4",
            b"",
            b"1,\"2",
            b"1,2\"\"",
            "1,\"2\"한".as_bytes(),
            b"\"1\"2,3",
        ];
        for bad in rows {
            assert!(decode(&["a", "b"], bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(row in proptest::collection::vec("[a\", \r\n한]{0,5}", 1..5)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(&row).unwrap();
            let mut bytes = writer.into_inner().unwrap();
            bytes.pop();
            let columns: Vec<&str> = row.iter().map(|_| "c").collect();
            prop_assert_eq!(decode(&columns, &bytes).unwrap(), row);
        }

        #[test]
        fn never_panics(row in proptest::collection::vec(any::<u8>(), 0..30)) {
            let _ = decode(&["a", "b"], &row);
        }
    }
}
