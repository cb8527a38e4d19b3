//! Records that are written plainly, read at the speed of a scan.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// The fields of a JSON object that is written plainly: strings without escapes, whole numbers and
/// nulls, nothing nested.
///
/// Most records of most topics are written so, and a scan of them costs a fraction of a JSON parser. It
/// either reads exactly what a parser would, or says that it can not tell, and then a parser has to
/// decide: it never refuses, and it accepts nothing that is not JSON. So it is a short cut for
/// [`View::plain`](crate::codec::View::plain), and no decoder by itself.
///
/// Names may come twice: who reads the fields has to notice.
///
/// ```
/// use rtbflow::codec::{Plain, PlainFields};
///
/// let mut fields = PlainFields::new(r#"{"term": "shoes", "price": 7, "order": null}"#).unwrap();
/// assert_eq!(fields.next_field(), Some(Some(("term", Plain::Text("shoes")))));
/// assert_eq!(fields.next_field(), Some(Some(("price", Plain::Whole(7)))));
/// assert_eq!(fields.next_field(), Some(Some(("order", Plain::Null))));
/// assert_eq!(fields.next_field(), Some(None), "the end");
///
/// let mut nested = PlainFields::new(r#"{"more": []}"#).unwrap();
/// assert_eq!(nested.next_field(), None, "for a parser");
/// ```
#[derive(Debug, Clone)]
pub struct PlainFields<'a> {
    text: &'a str,
    at: usize,
    begun: bool,
}

/// A plain value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain<'a> {
    /// A string that was written without escapes, and so holds no control character.
    Text(&'a str),
    /// A whole number of at most 18 digits, without a sign.
    Whole(i64),
    /// A null.
    Null,
}

impl<'a> PlainFields<'a> {
    /// The fields of the object that is the whole of `text`. `None` if it is no object.
    #[inline]
    #[must_use]
    pub fn new(text: &'a str) -> Option<Self> {
        let mut fields = Self { text, at: 0, begun: false };
        fields.expect(b'{')?;
        Some(fields)
    }

    /// The next field. `Some(None)` is the end of the object and of the text; `None` means that the rest
    /// is not plain, or no JSON at all.
    #[inline]
    pub fn next_field(&mut self) -> Option<Option<(&'a str, Plain<'a>)>> {
        match self.token()? {
            b'}' => return self.end(),
            b',' if self.begun => self.expect(b'"')?,
            b'"' if !self.begun => {}
            _ => return None,
        }
        self.begun = true;
        let name = self.string()?;
        self.expect(b':')?;
        let value = match self.token()? {
            b'"' => Plain::Text(self.string()?),
            b'n' => self.null()?,
            digit @ b'0'..=b'9' => self.whole(digit)?,
            _ => return None,
        };
        Some(Some((name, value)))
    }

    fn end(&self) -> Option<Option<(&'a str, Plain<'a>)>> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.iter().all(|c| is_blank(*c)).then_some(None)
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.text.as_bytes().get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// The next byte that is not blank.
    #[inline]
    fn token(&mut self) -> Option<u8> {
        loop {
            let byte = self.byte()?;
            if !is_blank(byte) {
                return Some(byte);
            }
        }
    }

    #[inline]
    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.token()? == wanted).then_some(())
    }

    /// A string up to its closing quote; the opening one was read.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        let from = self.at;
        let to = from + self.plain_length()?;
        self.at = to + 1;
        self.text.get(from..to)
    }

    /// How many bytes there are before the closing quote, eight at a time.
    #[inline]
    fn plain_length(&self) -> Option<usize> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let mut length = 0;
        while let Some(eight) = rest.get(length..).and_then(<[u8]>::first_chunk::<8>) {
            let stops = stops(u64::from_le_bytes(*eight));
            if stops != 0 {
                length += stops.trailing_zeros() as usize / 8;
                return (*rest.get(length)? == b'"').then_some(length);
            }
            length += 8;
        }
        let special = |c: &u8| matches!(c, b'"' | b'\\' | 0..0x20);
        length += rest.get(length..)?.iter().position(special)?;
        (*rest.get(length)? == b'"').then_some(length)
    }

    /// `null`, whose first letter was read.
    #[inline]
    fn null(&mut self) -> Option<Plain<'a>> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += 3;
        rest.starts_with(b"ull").then_some(Plain::Null)
    }

    /// A whole number, whose first digit was read.
    #[inline]
    fn whole(&mut self, first: u8) -> Option<Plain<'a>> {
        const MOST_DIGITS: usize = 18;
        let rest = self.text.as_bytes().get(self.at..)?;
        let mut number = i64::from(first - b'0');
        let digits = rest.iter().map(|c| c.wrapping_sub(b'0')).take_while(|digit| *digit <= 9);
        let mut more = 0;
        for digit in digits.take(MOST_DIGITS) {
            number = number.wrapping_mul(10).wrapping_add(i64::from(digit));
            more += 1;
        }
        self.at += more;
        let plain = more < MOST_DIGITS && (first != b'0' || more == 0);
        plain.then_some(Plain::Whole(number))
    }
}

#[inline]
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Marks, among eight bytes, those that are a quote, a backslash or a control character. What stands
/// behind the first mark may be marked wrongly.
#[inline]
fn stops(eight: u64) -> u64 {
    let zeros = |x: u64| x.wrapping_sub(ONES) & !x;
    let controls = eight.wrapping_sub(ONES * 0x20) & !eight;
    let quotes = zeros(eight ^ (ONES * u64::from(b'"')));
    let backslashes = zeros(eight ^ (ONES * u64::from(b'\\')));
    (controls | quotes | backslashes) & HIGH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn fields(text: &str) -> Option<Vec<(String, Value)>> {
        let mut fields = PlainFields::new(text)?;
        let mut found = Vec::new();
        while let Some((name, value)) = fields.next_field()? {
            let value = match value {
                Plain::Text(text) => Value::from(text),
                Plain::Whole(number) => Value::from(number),
                Plain::Null => Value::Null,
            };
            found.push((name.to_owned(), value));
        }
        Some(found)
    }

    /// A parser must find the same fields, unless a name comes twice, when it keeps the last of them.
    fn check(text: &str) -> bool {
        let Some(found) = fields(text) else { return false };
        let parsed: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!(parsed, Value::Object(found.into_iter().collect()), "{text:?}");
        true
    }

    #[test]
    fn what_is_plain() {
        for plain in [
            "{}",
            " {\r\n\t} ",
            r#"{"":""}"#,
            r#"{"a":0,"a":1}"#,
            r#" { "name" : "eight by" , "n" : 123456789012345678 , "x":null}"#,
            r#"{"é한":"한국어, and more than eight","b":10}"#,
            "{\"a\":\"\u{7f}\u{80}\u{2028}\"}",
        ] {
            assert!(check(plain), "{plain}");
        }
    }

    #[test]
    fn what_is_for_a_parser() {
        for other in [
            "",
            "[]",
            "null",
            "{",
            "{}x",
            "{,}",
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{"a":1 "b":2}"#,
            r#"{"a":1,,"b":2}"#,
            r#"{"a" 1}"#,
            r#"{"a":}"#,
            r#"{"a":01}"#,
            r#"{"a":-1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e3}"#,
            r#"{"a":1234567890123456789}"#,
            r#"{"a":12345678901234567890123}"#,
            r#"{"a":nul}"#,
            r#"{"a":true}"#,
            r#"{"a":nullx}"#,
            r#"{"a":{}}"#,
            r#"{"a":[]}"#,
            r#"{"a":"\n"}"#,
            r#"{"\u0061":1}"#,
            "{\"a\":\"\n\"}",
            "{\"a\":\"12345678\u{0}\"}",
            r#"{"a":"b"#,
            r#"{"a":"123456789"#,
            r#"{a:1}"#,
            "{\"a\":\u{a0}1}",
        ] {
            assert!(!check(other), "{other}");
        }
    }

    #[test]
    fn the_bytes_that_end_a_plain_string() {
        for at in 0..8 {
            for byte in 0..=u8::MAX {
                let mut eight = *b"abcdefgh";
                eight[at] = byte;
                let found = stops(u64::from_le_bytes(eight));
                let special = matches!(byte, b'"' | b'\\' | 0..0x20);
                let expected = if special { at } else { 8 };
                assert_eq!(found.trailing_zeros() as usize / 8, expected, "{byte} at {at}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn nothing_is_read_otherwise_than_by_a_parser(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "\"", ":", ",", " ", "\n", "a", "\"b\"", "\"longer name\":", "null", "0",
                "12", "-", ".", "e", "\\", "\\u0041", "[", "]", "true", "\u{0}", "한국어", "\u{1f600}",
                "\"x\":1", ",\"y\":\"z\"", "123456789012345678", "\u{1f}", "\u{7f}", "\u{feff}",
            ]), 0..12),
            closed in any::<bool>(),
        ) {
            let text = pieces.concat();
            check(&if closed { format!("{{{text}}}") } else { text });
        }

        #[test]
        fn plain_objects_are_read(
            fields in prop::collection::vec(("[^\"\\\\\\x00-\\x1f]{0,20}", prop_oneof![
                "[^\"\\\\\\x00-\\x1f]{0,40}".prop_map(|text| format!("\"{text}\"")),
                (0..1_000_000_000_000_000_000_i64).prop_map(|number| number.to_string()),
                Just("null".to_owned()),
            ]), 0..6),
            comma in "[ \n\r\t]?,[ \n\r\t]?",
        ) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let text = format!("{{{}}}", fields.join(&comma));
            prop_assert!(check(&text), "{}", text);
        }
    }
}
