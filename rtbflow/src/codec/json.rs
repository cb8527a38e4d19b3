//! JSON, decoded strictly.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::codec::Decoder;
use crate::error::BadRecord;
use crate::raw_record::RawRecord;

/// Nesting beyond this does not decode, whether the fields are known or not.
const DEEPEST: usize = 128;

/// Decodes JSON into an owned `T`; see [`json`].
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json<{}>", std::any::type_name::<T>())
    }
}

/// A decoder of JSON into an owned `T`.
///
/// What does not decode: bytes that are not UTF-8, anything that is not one JSON value, nesting beyond
/// 128 levels, and whatever `T` refuses. To keep a few fields of a large record without allocating for
/// the rest, take [`json_view`].
///
/// ```
/// use rtbflow::codec::{Decoder, json};
/// use rtbflow::source::RawRecord;
/// use rtbflow::Timestamp;
///
/// #[derive(serde::Deserialize)]
/// struct Click { price: i64 }
///
/// let record = |value| RawRecord::new(0, Timestamp::MIN, None, Some(value));
/// assert_eq!(json::<Click>().decode(&record(br#"{"price": 7, "more": []}"#))?.price, 7);
/// assert!(json::<Click>().decode(&record(br#"{"price": 7.0}"#)).is_err());
/// # Ok::<(), rtbflow::BadRecord>(())
/// ```
#[must_use]
pub fn json<T: DeserializeOwned + Send + 'static>() -> Json<T> {
    Json(PhantomData)
}

impl<T: DeserializeOwned + Send + 'static> Decoder for Json<T> {
    type Value = T;

    #[inline]
    fn decode(&self, record: &RawRecord<'_>) -> Result<T, BadRecord> {
        // Without a value there is no text, which is no JSON: the parser says so.
        from_text(text(record.value.unwrap_or_default())?)
    }
}

/// A family of types that borrow from the bytes they were decoded from.
pub trait View: 'static {
    /// The view for bytes of this lifetime.
    type Of<'a>: Deserialize<'a>;

    /// The view of a record that is written plainly, by a short cut such as
    /// [`PlainFields`](crate::codec::PlainFields). `None` leaves it to the parser, which also says what is
    /// wrong with a record: a short cut may give up on anything, but must not make another view than the
    /// parser would, nor one that the parser refuses.
    #[inline]
    #[must_use]
    fn plain(text: &str) -> Option<Self::Of<'_>> {
        let _ = text;
        None
    }
}

/// Decodes JSON into a borrowing view and keeps what a closure makes of it; see [`json_view`].
pub struct JsonView<V, F> {
    project: F,
    view: PhantomData<fn() -> V>,
}

impl<V, F: Clone> Clone for JsonView<V, F> {
    fn clone(&self) -> Self {
        Self { project: self.project.clone(), view: PhantomData }
    }
}

impl<V, F> fmt::Debug for JsonView<V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonView<{}>", std::any::type_name::<V>())
    }
}

/// A decoder of JSON into a view that borrows from the record, and of the view into a small owned
/// value, in one step: strings that are only looked at are never copied.
#[must_use]
pub fn json_view<V, T, F>(project: F) -> JsonView<V, F>
where
    V: View,
    T: Send + 'static,
    F: for<'a> Fn(V::Of<'a>) -> Result<T, BadRecord> + Send + Sync + 'static,
{
    JsonView { project, view: PhantomData }
}

impl<V, T, F> Decoder for JsonView<V, F>
where
    V: View,
    T: Send + 'static,
    F: for<'a> Fn(V::Of<'a>) -> Result<T, BadRecord> + Send + Sync + 'static,
{
    type Value = T;

    #[inline]
    fn decode(&self, record: &RawRecord<'_>) -> Result<T, BadRecord> {
        // As above.
        let text = text(record.value.unwrap_or_default())?;
        (self.project)(match V::plain(text) {
            Some(view) => view,
            None => from_text(text)?,
        })
    }
}

#[inline]
fn text(bytes: &[u8]) -> Result<&str, BadRecord> {
    simdutf8::basic::from_utf8(bytes).or_else(|_| {
        // Says where it is wrong.
        std::str::from_utf8(bytes).map_err(|error| BadRecord::new(error.to_string()))
    })
}

fn from_text<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BadRecord> {
    if nests_too_deep(text.as_bytes()) {
        return Err(BadRecord::new("nested more than 128 levels deep"));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let bad = |error: serde_json::Error| BadRecord::new(error.to_string());
    let value = T::deserialize(&mut deserializer).map_err(bad)?;
    deserializer.end().map_err(bad)?;
    Ok(value)
}

/// serde_json bounds the depth of what it builds, but not of what it skips. The count of opening
/// brackets, which nearly always settles it, is a loop that the compiler vectorises: in bytes, which do
/// not overflow within a chunk.
#[inline]
fn nests_too_deep(bytes: &[u8]) -> bool {
    let is_opening = |c: &u8| u8::from(*c | 0x20 == b'{');
    let chunks = bytes.chunks(usize::from(u8::MAX));
    let opening: usize =
        chunks.map(|chunk| usize::from(chunk.iter().map(is_opening).sum::<u8>())).sum();
    opening > DEEPEST && deepest(bytes) > DEEPEST
}

#[cold]
fn deepest(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted) = (0_usize, 0, false);
    let mut bytes = bytes.iter();
    while let Some(c) = bytes.next() {
        match c {
            b'\\' if quoted => drop(bytes.next()),
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            // More closing than opening ones is for the parser to say.
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Click {
        price: i64,
        term: Option<String>,
    }

    fn record(value: &[u8]) -> RawRecord<'_> {
        let timestamp = crate::Timestamp::MIN;
        RawRecord { offset: 0, timestamp, key: None, value: Some(value) }
    }

    fn click(text: &[u8]) -> Option<i64> {
        json::<Click>().decode(&record(text)).ok().map(|click| click.price)
    }

    #[test]
    fn what_does_not_decode() {
        let good = br#" {"price":7,"term":null,"more":{"a":["[",1e400]}} "#;
        assert_eq!(click(good), Some(7));
        for bad in [
            b"".as_slice(),
            b"null",
            b"{}",
            b"[",
            b"\xff\xfe",
            br#"{"price":7.0}"#,
            br#"{"price":1e3}"#,
            br#"{"price":"7"}"#,
            br#"{"price":9223372036854775808}"#,
            br#"{"price":7}x"#,
            br#"{"price":7,"price":7}"#,
            br#"{"price":7,"term":"\ud800"}"#,
            b"{\"price\":7,\"x\":\"\xff\"}",
        ] {
            assert_eq!(click(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn depth_is_bounded_in_fields_that_nobody_reads() {
        let nested = |depth: usize| {
            format!(r#"{{"price":7,"x":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1))
        };
        assert_eq!(click(nested(128).as_bytes()), Some(7));
        assert_eq!(click(nested(129).as_bytes()), None);
        assert_eq!(click(nested(1_000_000).as_bytes()), None);
        let flat = format!(
            r#"{{"price":7,"x":[{}[]],"y":"{}"}}"#,
            "[],".repeat(500),
            r#"[\""#.repeat(500)
        );
        assert_eq!(click(flat.as_bytes()), Some(7));
    }
}
