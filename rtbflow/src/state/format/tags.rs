//! The first byte of what is written, and numbers of varying length.

use super::failure::FormatFailure;

pub(super) const UNIT: u8 = 0x00;
pub(super) const NONE: u8 = 0x01;
pub(super) const SOME: u8 = 0x02;
pub(super) const FALSE: u8 = 0x03;
pub(super) const TRUE: u8 = 0x04;
pub(super) const U8: u8 = 0x05;
pub(super) const U16: u8 = 0x06;
pub(super) const U32: u8 = 0x07;
pub(super) const U64: u8 = 0x08;
/// A `u64` that is no shorter as a number of varying length.
pub(super) const U64_WIDE: u8 = 0x09;
pub(super) const U128: u8 = 0x0a;
pub(super) const I8: u8 = 0x0b;
pub(super) const I16: u8 = 0x0c;
pub(super) const I32: u8 = 0x0d;
pub(super) const I64: u8 = 0x0e;
pub(super) const I64_WIDE: u8 = 0x0f;
pub(super) const I128: u8 = 0x10;
pub(super) const F32: u8 = 0x11;
pub(super) const F64: u8 = 0x12;
pub(super) const CHAR: u8 = 0x13;
pub(super) const STR: u8 = 0x14;
pub(super) const BYTES: u8 = 0x15;
pub(super) const UNIT_STRUCT: u8 = 0x16;
pub(super) const SEQ: u8 = 0x18;
pub(super) const TUPLE: u8 = 0x19;
pub(super) const MAP: u8 = 0x1a;
pub(super) const STRUCT: u8 = 0x1b;
pub(super) const UNIT_VARIANT: u8 = 0x1c;
pub(super) const NEWTYPE_VARIANT: u8 = 0x1d;
pub(super) const TUPLE_VARIANT: u8 = 0x1e;
pub(super) const STRUCT_VARIANT: u8 = 0x1f;
/// Behind the name of a type: of the value that follows. Written where a type is read by what comes.
pub(super) const NAMED: u8 = 0x20;
/// Of which type the entries that follow are. Stands between entries only.
pub(crate) const SHAPE: u8 = 0x21;

/// Small numbers of the types that counts, numbers and sums mostly have, in one byte.
pub(super) const SMALL_U32: u8 = 0x30;
pub(super) const SMALL_U32_END: u8 = 0x40;
pub(super) const SMALL_U64: u8 = 0x40;
pub(super) const SMALL_U64_END: u8 = 0x60;
pub(super) const SMALL_I64: u8 = 0x60;
pub(super) const SMALL_I64_END: u8 = 0x80;
/// Short text, and what has few parts.
pub(super) const SHORT_STR: u8 = 0x80;
pub(super) const SHORT_STR_END: u8 = 0xc0;
pub(super) const SHORT_TUPLE: u8 = 0xc0;
pub(super) const SHORT_TUPLE_END: u8 = 0xd0;
pub(super) const SHORT_STRUCT: u8 = 0xd0;
pub(super) const SHORT_STRUCT_END: u8 = 0xe0;
pub(super) const SHORT_SEQ: u8 = 0xe0;
/// The last tag of a short sequence.
pub(super) const SHORT_SEQ_LAST: u8 = 0xef;

/// From here on eight bytes are no longer than a number of varying length with its tag.
pub(super) const WIDE: u64 = 1 << 49;

/// Writes a number, seven bits a byte, the lowest first.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are what is written")]
pub(crate) fn put_unsigned(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are what is written")]
pub(super) fn put_wide(bytes: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// A number of either sign as one without: small ones stay small.
#[inline]
pub(super) fn folded(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

pub(super) fn folded_wide(number: i128) -> u128 {
    ((number << 1) ^ (number >> 127)).cast_unsigned()
}

/// What is left to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'de>(pub(crate) &'de [u8]);

impl<'de> Input<'de> {
    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, FormatFailure> {
        let (first, rest) = self.0.split_first().ok_or_else(cut)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'de [u8], FormatFailure> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatFailure> {
        self.take(N)?.try_into().map_err(|_| cut())
    }

    #[inline]
    pub(crate) fn unsigned(&mut self) -> Result<u64, FormatFailure> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
            if shift > 63 {
                return Err(FormatFailure::new("a number has no end"));
            }
        }
    }

    pub(super) fn wide(&mut self) -> Result<u128, FormatFailure> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            number |= u128::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
            if shift > 126 {
                return Err(FormatFailure::new("a number has no end"));
            }
        }
    }

    #[inline]
    pub(super) fn signed(&mut self) -> Result<i64, FormatFailure> {
        let number = self.unsigned()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    pub(super) fn signed_wide(&mut self) -> Result<i128, FormatFailure> {
        let number = self.wide()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    #[inline]
    pub(crate) fn size(&mut self) -> Result<usize, FormatFailure> {
        usize::try_from(self.unsigned()?).map_err(|_| cut())
    }

    pub(crate) fn text(&mut self, count: usize) -> Result<&'de str, FormatFailure> {
        std::str::from_utf8(self.take(count)?).map_err(|_| FormatFailure::new("text is not UTF-8"))
    }
}

fn cut() -> FormatFailure {
    FormatFailure::new("the bytes end in the middle of a value")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(unsigned: u64, signed: i64, wide: u128, signed_wide: i128, small: i16) {
            let mut bytes = Vec::new();
            put_unsigned(&mut bytes, unsigned);
            put_unsigned(&mut bytes, folded(signed));
            put_unsigned(&mut bytes, folded(small.into()));
            put_wide(&mut bytes, wide);
            put_wide(&mut bytes, folded_wide(signed_wide));
            let mut input = Input(&bytes);
            prop_assert_eq!(input.unsigned().unwrap(), unsigned);
            prop_assert_eq!(input.signed().unwrap(), signed);
            prop_assert_eq!(input.signed().unwrap(), i64::from(small));
            prop_assert_eq!(input.wide().unwrap(), wide);
            prop_assert_eq!(input.signed_wide().unwrap(), signed_wide);
            prop_assert!(input.peek().is_none());
        }
    }
}
