//! Writes a value.

use serde::ser::{Serialize, Serializer};

use super::failure::FormatFailure;
use super::names::Names;
use super::tags::*;

/// Writes a value.
#[derive(Debug)]
pub(crate) struct Encoder<'a, 'n> {
    pub(super) bytes: &'a mut Vec<u8>,
    pub(super) names: &'a mut Names<'n>,
    /// Whether its type is read by what comes: then types have their names too, and what has a form for
    /// people is written in that, as serde reads it so once it has looked at it.
    dynamic: bool,
}

impl<'a, 'n> Encoder<'a, 'n> {
    #[inline]
    pub(crate) fn new(bytes: &'a mut Vec<u8>, names: &'a mut Names<'n>, dynamic: bool) -> Self {
        Self { bytes, names, dynamic }
    }

    #[inline]
    pub(super) fn name(&mut self, name: &'static str) {
        match self.names.number(name) {
            Ok(number) => put_unsigned(self.bytes, number as u64),
            Err(number) => {
                put_unsigned(self.bytes, number as u64);
                put_unsigned(self.bytes, name.len() as u64);
                self.bytes.extend_from_slice(name.as_bytes());
            }
        }
    }

    #[inline]
    fn type_name(&mut self, name: &'static str) {
        if self.dynamic {
            self.bytes.push(NAMED);
            self.name(name);
        }
    }

    /// Begins what has this many parts: in one byte, if there are few.
    #[inline]
    fn begin(&mut self, (long, short): (u8, u8), len: usize) {
        match u8::try_from(len) {
            Ok(few) if few < 16 => self.bytes.push(short + few),
            _ => {
                self.bytes.push(long);
                put_unsigned(self.bytes, len as u64);
            }
        }
    }

    /// Begins what says its length only at its end, or now.
    fn begin_open(self, tag: u8, len: Option<usize>) -> PartsWriter<'a, 'n> {
        self.bytes.push(tag);
        let at = self.bytes.len();
        if let Some(len) = len {
            put_unsigned(self.bytes, len as u64);
        }
        PartsWriter { encoder: self, of: "", expected: len.ok_or(at), found: 0 }
    }

    #[inline]
    fn parts(self, of: &'static str, len: usize) -> PartsWriter<'a, 'n> {
        PartsWriter { encoder: self, of, expected: Ok(len), found: 0 }
    }

    #[inline]
    pub(super) fn again(&mut self) -> Encoder<'_, 'n> {
        Encoder { bytes: self.bytes, names: self.names, dynamic: self.dynamic }
    }
}

/// A number that is written with its tag, and in the tag if it is small.
macro_rules! number {
    ($method:ident: $type:ty, |$bytes:ident, $number:ident| $write:expr) => {
        #[inline]
        fn $method(self, $number: $type) -> Result<(), FormatFailure> {
            let $bytes = self.bytes;
            $write;
            Ok(())
        }
    };
}

impl<'a, 'n> Serializer for Encoder<'a, 'n> {
    type Ok = ();
    type Error = FormatFailure;
    type SerializeSeq = PartsWriter<'a, 'n>;
    type SerializeTuple = PartsWriter<'a, 'n>;
    type SerializeTupleStruct = PartsWriter<'a, 'n>;
    type SerializeTupleVariant = PartsWriter<'a, 'n>;
    type SerializeMap = PartsWriter<'a, 'n>;
    type SerializeStruct = PartsWriter<'a, 'n>;
    type SerializeStructVariant = PartsWriter<'a, 'n>;

    fn is_human_readable(&self) -> bool {
        self.dynamic
    }

    number!(serialize_bool: bool, |bytes, is| bytes.push(if is { TRUE } else { FALSE }));
    number!(serialize_u8: u8, |bytes, n| bytes.extend_from_slice(&[U8, n]));
    number!(serialize_i8: i8, |bytes, n| bytes.extend_from_slice(&[I8, n.cast_unsigned()]));
    number!(serialize_u16: u16, |bytes, n| tagged(bytes, U16, n.into()));
    number!(serialize_i16: i16, |bytes, n| tagged(bytes, I16, folded(n.into())));
    number!(serialize_i32: i32, |bytes, n| tagged(bytes, I32, folded(n.into())));
    number!(serialize_char: char, |bytes, c| tagged(bytes, CHAR, u32::from(c).into()));

    #[inline]
    fn serialize_u32(self, number: u32) -> Result<(), FormatFailure> {
        match u8::try_from(number) {
            Ok(small) if small < SMALL_U32_END - SMALL_U32 => self.bytes.push(SMALL_U32 + small),
            _ => tagged(self.bytes, U32, number.into()),
        }
        Ok(())
    }

    #[inline]
    fn serialize_u64(self, number: u64) -> Result<(), FormatFailure> {
        match u8::try_from(number) {
            Ok(small) if small < SMALL_U64_END - SMALL_U64 => self.bytes.push(SMALL_U64 + small),
            _ if number < WIDE => tagged(self.bytes, U64, number),
            _ => fixed(self.bytes, U64_WIDE, &number.to_le_bytes()),
        }
        Ok(())
    }

    #[inline]
    fn serialize_i64(self, number: i64) -> Result<(), FormatFailure> {
        match u8::try_from(number) {
            Ok(small) if small < SMALL_I64_END - SMALL_I64 => self.bytes.push(SMALL_I64 + small),
            _ if folded(number) < WIDE => tagged(self.bytes, I64, folded(number)),
            _ => fixed(self.bytes, I64_WIDE, &number.to_le_bytes()),
        }
        Ok(())
    }

    fn serialize_u128(self, number: u128) -> Result<(), FormatFailure> {
        self.bytes.push(U128);
        put_wide(self.bytes, number);
        Ok(())
    }

    fn serialize_i128(self, number: i128) -> Result<(), FormatFailure> {
        self.bytes.push(I128);
        put_wide(self.bytes, folded_wide(number));
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Result<(), FormatFailure> {
        fixed(self.bytes, F32, &number.to_bits().to_le_bytes());
        Ok(())
    }

    fn serialize_f64(self, number: f64) -> Result<(), FormatFailure> {
        fixed(self.bytes, F64, &number.to_bits().to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_str(self, text: &str) -> Result<(), FormatFailure> {
        match u8::try_from(text.len()) {
            Ok(short) if short < SHORT_STR_END - SHORT_STR => self.bytes.push(SHORT_STR + short),
            _ => tagged(self.bytes, STR, text.len() as u64),
        }
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), FormatFailure> {
        tagged(self.bytes, BYTES, bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), FormatFailure> {
        self.bytes.push(NONE);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), FormatFailure> {
        self.bytes.push(SOME);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), FormatFailure> {
        self.bytes.push(UNIT);
        Ok(())
    }

    fn serialize_unit_struct(mut self, name: &'static str) -> Result<(), FormatFailure> {
        self.type_name(name);
        self.bytes.push(UNIT_STRUCT);
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        mut self,
        name: &'static str,
        _number: u32,
        variant: &'static str,
    ) -> Result<(), FormatFailure> {
        self.type_name(name);
        self.bytes.push(UNIT_VARIANT);
        self.name(variant);
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), FormatFailure> {
        self.type_name(name);
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        name: &'static str,
        _number: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), FormatFailure> {
        self.type_name(name);
        self.bytes.push(NEWTYPE_VARIANT);
        self.name(variant);
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(mut self, len: Option<usize>) -> Result<PartsWriter<'a, 'n>, FormatFailure> {
        // Its length is known at its end, and stands at its beginning then.
        let Some(len) = len else { return Ok(self.begin_open(SEQ, None)) };
        self.begin((SEQ, SHORT_SEQ), len);
        Ok(self.parts("", len))
    }

    #[inline]
    fn serialize_tuple(mut self, len: usize) -> Result<PartsWriter<'a, 'n>, FormatFailure> {
        self.begin((TUPLE, SHORT_TUPLE), len);
        Ok(self.parts("", len))
    }

    fn serialize_tuple_struct(
        mut self,
        name: &'static str,
        len: usize,
    ) -> Result<PartsWriter<'a, 'n>, FormatFailure> {
        self.type_name(name);
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        mut self,
        name: &'static str,
        _number: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<PartsWriter<'a, 'n>, FormatFailure> {
        self.type_name(name);
        self.bytes.push(TUPLE_VARIANT);
        self.name(variant);
        self.serialize_tuple(len)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<PartsWriter<'a, 'n>, FormatFailure> {
        Ok(self.begin_open(MAP, len))
    }

    #[inline]
    fn serialize_struct(
        mut self,
        name: &'static str,
        len: usize,
    ) -> Result<PartsWriter<'a, 'n>, FormatFailure> {
        self.type_name(name);
        self.begin((STRUCT, SHORT_STRUCT), len);
        Ok(self.parts(name, len))
    }

    fn serialize_struct_variant(
        mut self,
        name: &'static str,
        _number: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<PartsWriter<'a, 'n>, FormatFailure> {
        self.type_name(name);
        self.bytes.push(STRUCT_VARIANT);
        self.name(variant);
        self.begin((STRUCT, SHORT_STRUCT), len);
        Ok(self.parts(variant, len))
    }
}

#[inline]
fn tagged(bytes: &mut Vec<u8>, tag: u8, number: u64) {
    bytes.push(tag);
    put_unsigned(bytes, number);
}

#[inline]
fn fixed(bytes: &mut Vec<u8>, tag: u8, number: &[u8]) {
    bytes.push(tag);
    bytes.extend_from_slice(number);
}

/// What has parts, and of which some are written.
#[derive(Debug)]
pub(crate) struct PartsWriter<'a, 'n> {
    pub(super) encoder: Encoder<'a, 'n>,
    /// Of which type or variant.
    pub(super) of: &'static str,
    /// How many parts there are to be, or where their number belongs.
    pub(super) expected: Result<usize, usize>,
    pub(super) found: usize,
}
