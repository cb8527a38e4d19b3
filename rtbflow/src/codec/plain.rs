//! Records that are written plainly, read at the speed of a scan.

/// The fields of a JSON object that is written plainly: in one line, with strings without escapes, whole
/// numbers and nulls, and nothing nested.
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
// What reads the next field is inlined whatever its size, and what is not inlined takes no `&mut self`: where
// the scan stands then lives in registers, which is a quarter of the time.
#[derive(Debug, Clone)]
pub struct PlainFields<'a> {
    text: &'a str,
    /// Behind what was read.
    at: usize,
    quotes: Quotes<'a>,
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
        let mut fields = Self { text, at: 0, quotes: Quotes::new(text.as_bytes()), begun: false };
        (fields.token()? == b'{').then_some(fields)
    }

    /// The next field. `Some(None)` is the end of the object and of the text; `None` means that the rest
    /// is not plain, or no JSON at all.
    #[inline(always)]
    pub fn next_field(&mut self) -> Option<Option<(&'a str, Plain<'a>)>> {
        let first = match self.token()? {
            b'}' => return self.end(),
            b',' if self.begun => self.token()?,
            first if !self.begun => first,
            _ => return None,
        };
        self.begun = true;
        let name = if first == b'"' { self.string()? } else { return None };
        if self.token()? != b':' {
            return None;
        }
        let value = match self.token()? {
            b'"' => Plain::Text(self.string()?),
            b'n' => self.null()?,
            digit @ b'0'..=b'9' => {
                let (number, digits) = whole(self.text.as_bytes().get(self.at..)?, digit)?;
                self.at += digits;
                Plain::Whole(number)
            }
            _ => return None,
        };
        Some(Some((name, value)))
    }

    #[inline]
    fn end(&mut self) -> Option<Option<(&'a str, Plain<'a>)>> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.iter().all(|c| *c == b' ').then_some(None)
    }

    /// The next byte that is not blank.
    #[inline(always)]
    fn token(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            self.at += 1;
            if byte != b' ' {
                return Some(byte);
            }
        }
    }

    /// A string up to its closing quote; the opening one was read, and no quote before it was left out.
    #[inline(always)]
    fn string(&mut self) -> Option<&'a str> {
        let (from, to) = (self.quotes.next()? + 1, self.quotes.next()?);
        if from != self.at {
            return None;
        }
        self.at = to + 1;
        self.text.get(from..to)
    }

    /// `null`, whose first letter was read.
    #[inline]
    fn null(&mut self) -> Option<Plain<'a>> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += 3;
        rest.starts_with(b"ull").then_some(Plain::Null)
    }
}

/// A whole number whose first digit was read, and how many digits follow.
#[inline]
fn whole(rest: &[u8], first: u8) -> Option<(i64, usize)> {
    const MOST_DIGITS: usize = 18;
    let mut number = i64::from(first - b'0');
    let digits = rest.iter().map(|c| c.wrapping_sub(b'0')).take_while(|digit| *digit <= 9);
    let mut more = 0;
    for digit in digits.take(MOST_DIGITS) {
        number = number.wrapping_mul(10).wrapping_add(i64::from(digit));
        more += 1;
    }
    let plain = more < MOST_DIGITS && (first != b'0' || more == 0);
    plain.then_some((number, more))
}

/// Where the quotes are in a text without backslashes and control characters, in order.
///
/// They are looked for 64 bytes at a time and without a branch, since a processor can not guess how long
/// the next string is.
#[derive(Debug, Clone)]
struct Quotes<'a> {
    bytes: &'a [u8],
    /// Where the block begins that comes next.
    next: usize,
    /// One bit for each byte of the block before that which is a quote and was not given out.
    bits: u64,
}

const BLOCK: usize = 64;

impl<'a> Quotes<'a> {
    #[inline]
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0, bits: 0 }
    }

    /// The next quote, or `None` as [`block_with_quotes`] says.
    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.bits == 0 {
            (self.bits, self.next) = block_with_quotes(self.bytes, self.next)?;
        }
        let at = self.next - BLOCK + self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(at)
    }
}

/// The quotes of the first block from here on that has any, and where the block after it begins. `None` if
/// there is none, or if a block before it or itself may hold bytes that the text must not have.
#[inline(never)]
fn block_with_quotes(bytes: &[u8], mut from: usize) -> Option<(u64, usize)> {
    loop {
        let rest = bytes.get(from..).filter(|rest| !rest.is_empty())?;
        let (bits, special) = match (rest.first_chunk::<BLOCK>(), bytes.last_chunk::<BLOCK>()) {
            (Some(block), _) => look(block),
            // The last bytes of a text, seen again with those before them, which are shifted out.
            (None, Some(last)) => {
                let (bits, special) = look(last);
                (bits >> (BLOCK - rest.len()), special)
            }
            (None, None) => look(&padded(rest)),
        };
        if special {
            return None;
        }
        from += BLOCK;
        if bits != 0 {
            return Some((bits, from));
        }
    }
}

fn padded(rest: &[u8]) -> [u8; BLOCK] {
    let mut block = [b' '; BLOCK];
    for (padded, byte) in block.iter_mut().zip(rest) {
        *padded = *byte;
    }
    block
}

/// The quotes of a block, as bits, and whether it holds a backslash or a control character. Written so
/// that the compiler vectorises it: bytes in, bytes out, and no branch.
#[inline]
fn look(block: &[u8; BLOCK]) -> (u64, bool) {
    const EIGHT_BITS: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
    let mut bits = [EIGHT_BITS; BLOCK / 8];
    let mut special = 0;
    for (bit, byte) in bits.as_flattened_mut().iter_mut().zip(block) {
        special |= u8::from(*byte < 0x20) | u8::from(*byte == b'\\');
        *bit = if *byte == b'"' { *bit } else { 0 };
    }
    let mut quotes = [0; BLOCK / 8];
    for (quotes, eight) in quotes.iter_mut().zip(&bits) {
        *quotes = eight.iter().sum();
    }
    (u64::from_le_bytes(quotes), special != 0)
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
            "  { } ",
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
            "{}\n",
            "{\"a\":\n1}",
            r#"{"a":"b"#,
            r#"{"a":"123456789"#,
            r#"{a:1}"#,
            "{\"a\":\u{a0}1}",
        ] {
            assert!(!check(other), "{other}");
        }
    }

    #[test]
    fn each_byte_at_each_place_of_a_block() {
        for at in 0..BLOCK {
            for byte in 0..=u8::MAX {
                for around in [b'a', b'"', b' ', 0x7f, 0x80, 0xff] {
                    let mut block = [around; BLOCK];
                    block[at] = byte;
                    let quote = |at: usize| u64::from(block[at] == b'"') << at;
                    let quotes = (0..BLOCK).map(quote).sum();
                    let special = matches!(byte, b'\\' | 0..0x20);
                    assert_eq!(look(&block), (quotes, special), "{byte} at {at} among {around}");
                }
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
            comma in " {0,2}, {0,2}",
        ) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let text = format!("{{{}}}", fields.join(&comma));
            prop_assert!(check(&text), "{}", text);
        }
    }
}
