//! Reads what has parts, one after another, and variants.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, EnumAccess, Visitor};

use super::decode::{PartsWriter, Variant};
use super::failure::FormatFailure;
use super::tags::*;

impl PartsWriter<'_, '_> {
    pub(super) fn ended(&self, count: usize) -> Result<(), FormatFailure> {
        if self.left == 0 {
            return Ok(());
        }
        Err(FormatFailure::new(format!("{} of {count} parts are not read", self.left)))
    }
}

impl<'de> de::SeqAccess<'de> for &mut PartsWriter<'_, 'de> {
    type Error = FormatFailure;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, FormatFailure> {
        // All were read.
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        // No more than there can be: a part has a byte at least.
        Some(self.left.min(self.decoder.input.0.len()))
    }
}

impl<'de> de::MapAccess<'de> for &mut PartsWriter<'_, 'de> {
    type Error = FormatFailure;

    #[inline]
    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, FormatFailure> {
        // All were read.
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        if !self.named {
            return seed.deserialize(&mut *self.decoder).map(Some);
        }
        let name = self.decoder.name()?;
        self.field = Some(name);
        seed.deserialize(BorrowedStrDeserializer::<FormatFailure>::new(name)).map(Some)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, FormatFailure> {
        let value = seed.deserialize(&mut *self.decoder);
        value.map_err(|failure| match self.field {
            Some(field) => failure.within(field),
            None => failure,
        })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(self.decoder.input.0.len()))
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = FormatFailure;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self), FormatFailure> {
        let name = self.decoder.name()?;
        let variant = seed.deserialize(BorrowedStrDeserializer::<FormatFailure>::new(name))?;
        Ok((variant, self))
    }
}

impl Variant<'_, '_> {
    fn is(&self, tag: u8) -> Result<(), FormatFailure> {
        if self.tag == tag {
            return Ok(());
        }
        Err(FormatFailure::new("the variant holds something else"))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = FormatFailure;

    fn unit_variant(self) -> Result<(), FormatFailure> {
        self.is(UNIT_VARIANT)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, FormatFailure> {
        self.is(NEWTYPE_VARIANT)?;
        seed.deserialize(self.decoder)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        self.is(TUPLE_VARIANT)?;
        let tag = self.decoder.tag()?;
        let count = self.decoder.parts(tag, SHORT_TUPLE)?;
        self.decoder.seq(count, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        self.is(STRUCT_VARIANT)?;
        let tag = self.decoder.tag()?;
        let count = self.decoder.parts(tag, SHORT_STRUCT)?;
        self.decoder.map((count, true), visitor)
    }
}
