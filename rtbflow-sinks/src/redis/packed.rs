//! Arguments of a script, end to end in one buffer.

use std::fmt::{Display, Write};
use std::ops::Range;

/// Arguments by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Packed {
    pub(crate) fn push(&mut self, argument: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(argument.as_ref());
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn display(&mut self, argument: &(impl Display + ?Sized)) {
        let _infallible = write!(TextOf(&mut self.bytes), "{argument}");
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Some of them, in order.
    pub(crate) fn range(&self, range: &Range<usize>) -> impl Iterator<Item = &[u8]> {
        // The first argument of all begins at 0.
        let before = range.start.checked_sub(1).and_then(|before| self.ends.get(before));
        let mut begin = before.copied().unwrap_or(0);
        let ends = self.ends.get(range.clone()).unwrap_or_default();
        // Ends ascend, and none is behind the last byte.
        ends.iter().map(move |end| {
            let argument = self.bytes.get(begin..*end).unwrap_or_default();
            begin = *end;
            argument
        })
    }
}

/// Writes text into bytes.
struct TextOf<'a>(&'a mut Vec<u8>);

impl Write for TextOf<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_back_by_their_numbers() {
        let mut packed = Packed::default();
        packed.push("a");
        packed.push("");
        packed.display(&-7);
        let texts = |range| packed.range(&range).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(texts(0..3), [b"a".to_vec(), vec![], b"-7".to_vec()]);
        assert_eq!(texts(2..3), [b"-7"]);
        assert!(texts(1..1).is_empty() && packed.len() == 3);
    }
}
