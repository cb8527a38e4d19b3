//! Records that are written plainly, read at the speed of a scan.

use memchr::memchr;

/// The fields of a JSON object that is written plainly: in one line, with strings without escapes, whole
/// numbers and nulls, and nothing nested.
///
/// Most records of most topics are written so, and a scan of them costs a fraction of a JSON parser. It
/// either reads exactly what a parser would, or says that it cannot tell, and then a parser has to
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
    /// What was not read yet. It has no backslash and no control character: a quote ends what the quote
    /// before it began.
    rest: &'a str,
    begun: bool,
}

/// A plain value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plain<'a> {
    /// A string that was written without escapes, and so holds no control character.
    Text(&'a str),
    /// A whole number of at most 18 digits, without a sign.
    Whole(i64),
    /// A null.
    Null,
}

impl<'a> PlainFields<'a> {
    /// The fields of the object that is the whole of `text`. `None` if it is no object, or not plain.
    #[inline]
    #[must_use]
    pub fn new(text: &'a str) -> Option<Self> {
        // Without a branch, so that the compiler vectorises it.
        let special = |found, byte: &u8| found | (*byte < b' ') | (*byte == b'\\');
        if text.as_bytes().iter().fold(false, special) {
            return None;
        }
        let rest = after_blanks(text).strip_prefix('{')?;
        Some(Self { rest, begun: false })
    }

    /// The next field. `Some(None)` is the end of the object and of the text; `None` means that the rest
    /// is not plain, or no JSON at all.
    #[inline]
    pub fn next_field(&mut self) -> Option<Option<(&'a str, Plain<'a>)>> {
        let mut rest = after_blanks(self.rest);
        if let Some(behind) = rest.strip_prefix('}') {
            return after_blanks(behind).is_empty().then_some(None);
        }
        if self.begun {
            rest = after_blanks(rest.strip_prefix(',')?);
        }
        let (name, rest) = up_to_quote(rest.strip_prefix('"')?)?;
        let rest = after_blanks(rest).strip_prefix(':')?;
        let (value, rest) = value(after_blanks(rest))?;
        (self.rest, self.begun) = (rest, true);
        Some(Some((name, value)))
    }

    /// The value of the next field, if that has this name and is written as most programs write: without
    /// blanks, or with one behind the comma and the colon. `None` says nothing of the rest, and reads
    /// nothing: [`next_field`](Self::next_field) knows.
    ///
    /// Most writers keep to one order of fields, and to ask for a name costs less than to find out which
    /// one it is.
    ///
    /// ```
    /// use rtbflow::codec::{Plain, PlainFields};
    ///
    /// let mut fields = PlainFields::new(r#"{"term":"shoes","price":7}"#).unwrap();
    /// assert_eq!(fields.next_named("term"), Some(Plain::Text("shoes")));
    /// assert_eq!(fields.next_named("order"), None, "it is another");
    /// assert_eq!(fields.next_field(), Some(Some(("price", Plain::Whole(7)))));
    /// ```
    #[inline(always)]
    pub fn next_named(&mut self, name: &str) -> Option<Plain<'a>> {
        let mut rest = self.rest;
        if self.begun {
            rest = after_blank(rest.strip_prefix(',')?);
        }
        let rest = rest.strip_prefix('"')?.strip_prefix(name)?.strip_prefix("\":")?;
        let (value, rest) = value(after_blank(rest))?;
        (self.rest, self.begun) = (rest, true);
        Some(value)
    }
}

#[inline(always)]
fn after_blanks(mut text: &str) -> &str {
    while let Some(behind) = text.strip_prefix(' ') {
        text = behind;
    }
    text
}

#[inline(always)]
fn after_blank(text: &str) -> &str {
    text.strip_prefix(' ').unwrap_or(text)
}

/// What stands before the next quote, and behind it.
#[inline(always)]
fn up_to_quote(text: &str) -> Option<(&str, &str)> {
    let (before, quote) = text.split_at_checked(memchr(b'"', text.as_bytes())?)?;
    Some((before, quote.strip_prefix('"')?))
}

/// A value, and what is behind it.
#[inline(always)]
fn value(text: &str) -> Option<(Plain<'_>, &str)> {
    if let Some(text) = text.strip_prefix('"') {
        let (text, behind) = up_to_quote(text)?;
        return Some((Plain::Text(text), behind));
    }
    match text.strip_prefix("null") {
        Some(behind) => Some((Plain::Null, behind)),
        None => whole(text),
    }
}

/// A whole number, and what is behind it.
#[inline]
fn whole(text: &str) -> Option<(Plain<'_>, &str)> {
    const MOST_DIGITS: usize = 18;
    let (mut number, mut digits) = (0_i64, 0);
    for byte in text.bytes().take(MOST_DIGITS + 1) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(i64::from(digit));
        digits += 1;
    }
    let is_plain = digits == 1 || (2..=MOST_DIGITS).contains(&digits) && !text.starts_with('0');
    Some((Plain::Whole(number), text.get(digits..)?)).filter(|_| is_plain)
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

    /// The same fields, asked for by their names.
    fn named(text: &str, names: &[String]) -> Option<Vec<Value>> {
        let mut fields = PlainFields::new(text)?;
        let value = |name: &String| {
            let mut other = fields.clone();
            assert_eq!(other.next_named(&format!("{name}x")), None);
            let value = fields.next_named(name);
            let next = other.next_field();
            match value {
                Some(value) => assert_eq!(next, Some(Some((&**name, value))), "{text}"),
                None => fields = other,
            }
            let (_, value) = next??;
            Some(match value {
                Plain::Text(text) => Value::from(text),
                Plain::Whole(number) => Value::from(number),
                Plain::Null => Value::Null,
            })
        };
        names.iter().map(value).collect()
    }

    /// A parser must find the same fields, unless a name comes twice, when it keeps the last of them.
    fn check(text: &str) -> bool {
        let Some(found) = fields(text) else { return false };
        let (names, values): (Vec<_>, Vec<_>) = found.iter().cloned().unzip();
        assert_eq!(named(text, &names), Some(values), "{text:?}");
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
    fn each_byte_at_each_place() {
        for at in 1..70 {
            for byte in 0..=u8::MAX {
                for around in [b'a', 0x7f] {
                    let mut text = vec![around; 70];
                    (text[0], text[at]) = (b'"', byte);
                    let text = [b"{\"name\":", text.as_slice(), b"\"}"].concat();
                    if let Ok(text) = str::from_utf8(&text) {
                        assert_eq!(check(text), !matches!(byte, 0..0x20 | b'"' | b'\\'), "{text}");
                    }
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
