//! Reads a value.

use serde::de::{self, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::failure::FormatFailure;
use super::tags::*;

/// Reads values that stand one after another.
#[derive(Debug)]
pub(crate) struct ValueDecoder<'de> {
    pub(super) input: Input<'de>,
    /// The names of fields and variants, by their numbers; a new one stands where it is first used.
    names: Vec<&'de str>,
    /// As in the `Encoder`.
    dynamic: bool,
}

impl<'de> ValueDecoder<'de> {
    pub(crate) fn new(bytes: &'de [u8], names: Vec<&'de str>, dynamic: bool) -> Self {
        Self { input: Input(bytes), names, dynamic }
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'de [u8] {
        self.input.0
    }

    /// The names that are known so far.
    pub(crate) fn names(&self) -> &[&'de str] {
        &self.names
    }

    /// Values of another type follow.
    pub(crate) fn begin(&mut self, names: Vec<&'static str>, dynamic: bool) {
        (self.names, self.dynamic) = (names, dynamic);
    }

    /// The mark of the type of the values that follow.
    pub(crate) fn shape(&mut self) -> Result<[u8; 4], FormatFailure> {
        self.input.byte()?;
        self.input.array()
    }

    pub(super) fn name(&mut self) -> Result<&'de str, FormatFailure> {
        let number = self.input.size()?;
        if let Some(name) = self.names.get(number) {
            return Ok(name);
        }
        if number > self.names.len() {
            return Err(FormatFailure::new(format!("there is no name of the number {number}")));
        }
        let len = self.input.size()?;
        let name = self.input.text(len)?;
        self.names.push(name);
        Ok(name)
    }

    /// The tag of a value, behind the name of its type.
    #[inline]
    pub(super) fn tag(&mut self) -> Result<u8, FormatFailure> {
        loop {
            match self.input.byte()? {
                NAMED => _ = self.name()?,
                tag => return Ok(tag),
            }
        }
    }

    /// The tag that comes next, which is not read; the name of the type is.
    fn peek(&mut self) -> Result<u8, FormatFailure> {
        while self.input.peek() == Some(NAMED) {
            self.tag_of_name()?;
        }
        self.input.peek().ok_or_else(|| FormatFailure::new("the bytes end before a value"))
    }

    fn tag_of_name(&mut self) -> Result<(), FormatFailure> {
        self.input.byte()?;
        self.name().map(drop)
    }

    /// How many parts a short or long form has.
    pub(super) fn parts(&mut self, tag: u8, short: u8) -> Result<usize, FormatFailure> {
        match tag.checked_sub(short) {
            Some(few) if few < 16 => Ok(few.into()),
            _ => self.input.size(),
        }
    }

    #[inline]
    pub(super) fn seq<V: Visitor<'de>>(
        &mut self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        let mut parts = PartsWriter { decoder: self, left: count, field: None, named: false };
        let value = visitor.visit_seq(&mut parts)?;
        parts.ended(count)?;
        Ok(value)
    }

    #[inline]
    pub(super) fn map<V: Visitor<'de>>(
        &mut self,
        (count, named): (usize, bool),
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        let mut parts = PartsWriter { decoder: self, left: count, field: None, named };
        let value = visitor.visit_map(&mut parts)?;
        parts.ended(count)?;
        Ok(value)
    }

    /// A variant, for whoever looks at what comes: its name, or a map of one entry.
    fn variant_as_map<V: Visitor<'de>>(
        &mut self,
        tag: u8,
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        if tag == UNIT_VARIANT {
            return visitor.visit_borrowed_str(self.name()?);
        }
        self.map((1, true), visitor)
    }

    #[inline]
    fn visit<V: Visitor<'de>>(&mut self, tag: u8, visitor: V) -> Result<V::Value, FormatFailure> {
        match tag {
            SMALL_U32..SMALL_U32_END => visitor.visit_u32((tag - SMALL_U32).into()),
            SMALL_U64..SMALL_U64_END => visitor.visit_u64((tag - SMALL_U64).into()),
            SMALL_I64..SMALL_I64_END => visitor.visit_i64((tag - SMALL_I64).into()),
            SHORT_STR..SHORT_STR_END => {
                visitor.visit_borrowed_str(self.input.text((tag - SHORT_STR).into())?)
            }
            SHORT_TUPLE..SHORT_TUPLE_END => self.seq((tag - SHORT_TUPLE).into(), visitor),
            SHORT_STRUCT..SHORT_STRUCT_END => {
                self.map(((tag - SHORT_STRUCT).into(), true), visitor)
            }
            SHORT_SEQ..=SHORT_SEQ_LAST => self.seq((tag - SHORT_SEQ).into(), visitor),
            U8..=F64 => self.number(tag, visitor),
            _ => self.long(tag, visitor),
        }
    }

    fn number<V: Visitor<'de>>(&mut self, tag: u8, visitor: V) -> Result<V::Value, FormatFailure> {
        let input = &mut self.input;
        match tag {
            U8 => visitor.visit_u8(input.byte()?),
            U16 => visitor.visit_u16(fits(input.unsigned()?)?),
            U32 => visitor.visit_u32(fits(input.unsigned()?)?),
            U64 => visitor.visit_u64(input.unsigned()?),
            U64_WIDE => visitor.visit_u64(u64::from_le_bytes(input.array()?)),
            I8 => visitor.visit_i8(input.byte()?.cast_signed()),
            I16 => visitor.visit_i16(fits(input.signed()?)?),
            I32 => visitor.visit_i32(fits(input.signed()?)?),
            I64 => visitor.visit_i64(input.signed()?),
            I64_WIDE => visitor.visit_i64(i64::from_le_bytes(input.array()?)),
            F32 => visitor.visit_f32(f32::from_bits(u32::from_le_bytes(input.array()?))),
            F64 => visitor.visit_f64(f64::from_bits(u64::from_le_bytes(input.array()?))),
            U128 => visitor.visit_u128(input.wide()?),
            _ => visitor.visit_i128(input.signed_wide()?),
        }
    }

    fn long<V: Visitor<'de>>(&mut self, tag: u8, visitor: V) -> Result<V::Value, FormatFailure> {
        match tag {
            UNIT | UNIT_STRUCT => visitor.visit_unit(),
            NONE => visitor.visit_none(),
            SOME => visitor.visit_some(self),
            FALSE => visitor.visit_bool(false),
            TRUE => visitor.visit_bool(true),
            CHAR => {
                let found = char::from_u32(fits(self.input.unsigned()?)?);
                visitor.visit_char(found.ok_or_else(|| FormatFailure::new("not a character"))?)
            }
            STR => {
                let len = self.input.size()?;
                visitor.visit_borrowed_str(self.input.text(len)?)
            }
            BYTES => {
                let len = self.input.size()?;
                visitor.visit_borrowed_bytes(self.input.take(len)?)
            }
            SEQ | TUPLE => {
                let count = self.input.size()?;
                self.seq(count, visitor)
            }
            MAP => {
                let count = self.input.size()?;
                self.map((count, false), visitor)
            }
            STRUCT => {
                let count = self.input.size()?;
                self.map((count, true), visitor)
            }
            UNIT_VARIANT | NEWTYPE_VARIANT | TUPLE_VARIANT | STRUCT_VARIANT => {
                self.variant_as_map(tag, visitor)
            }
            _ => Err(FormatFailure::new(format!("{tag:#04x} begins no value"))),
        }
    }
}

fn fits<N, T: TryFrom<N>>(number: N) -> Result<T, FormatFailure> {
    T::try_from(number).map_err(|_| FormatFailure::new("a number is larger than its type"))
}

impl<'de> Deserializer<'de> for &mut ValueDecoder<'de> {
    type Error = FormatFailure;

    fn is_human_readable(&self) -> bool {
        self.dynamic
    }

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatFailure> {
        let tag = self.tag()?;
        self.visit(tag, visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatFailure> {
        match self.peek()? {
            NONE | SOME | UNIT => self.deserialize_any(visitor),
            // Its type writes what is there as it is.
            _ => visitor.visit_some(self),
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        match self.tag()? {
            tag @ (UNIT_VARIANT | NEWTYPE_VARIANT | TUPLE_VARIANT | STRUCT_VARIANT) => {
                visitor.visit_enum(Variant { decoder: self, tag })
            }
            tag => {
                // A tag beside its content is text, or whatever its type writes.
                let name = self.visit(tag, TextOnly)?;
                visitor.visit_enum(IntoDeserializer::<FormatFailure>::into_deserializer(name))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Takes text and nothing else.
struct TextOnly;

impl<'de> Visitor<'de> for TextOnly {
    type Value = &'de str;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a variant")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<&'de str, E> {
        Ok(text)
    }
}

/// The parts of a value that are still to be read.
pub(super) struct PartsWriter<'a, 'de> {
    pub(super) decoder: &'a mut ValueDecoder<'de>,
    pub(super) left: usize,
    /// The field whose value is next.
    pub(super) field: Option<&'de str>,
    /// Whether the keys are names.
    pub(super) named: bool,
}

/// A variant whose name is next.
pub(super) struct Variant<'a, 'de> {
    pub(super) decoder: &'a mut ValueDecoder<'de>,
    pub(super) tag: u8,
}
