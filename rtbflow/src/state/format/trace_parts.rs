//! Hands the parts of a type over, and notes which of them are taken.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, Visitor};

use super::failure::FormatFailure;
use super::node::Kind;
use super::trace::{Parts, Variant};

impl Parts<'_, '_> {
    fn value<'de, T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, FormatFailure> {
        let number = self.next;
        self.next += 1;
        let part = self.tracer.part(number)?;
        let known = part.node.done;
        let taken = seed.deserialize(part);
        let node = &mut self.tracer.node;
        if let Some(part) = node.parts.get_mut(number).filter(|part| part.kind == Kind::Unset) {
            // Taken without a look.
            part.close(if taken.is_ok() { Kind::Leaf("nothing") } else { Kind::Unknown });
            part.refuses = taken.is_err();
        }
        if taken.is_err() && known && self.fields.is_empty() {
            // There is no way to those behind it.
            for part in node.parts.iter_mut().skip(number + 1).filter(|part| !part.done) {
                part.close(Kind::Unknown);
            }
        }
        taken
    }
}

impl<'de> de::SeqAccess<'de> for Parts<'_, '_> {
    type Error = FormatFailure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, FormatFailure> {
        if self.next < self.upto { self.value(seed).map(Some) } else { Ok(None) }
    }
}

impl<'de> de::MapAccess<'de> for Parts<'_, '_> {
    type Error = FormatFailure;

    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, FormatFailure> {
        if self.next >= self.upto {
            return Ok(None);
        }
        if self.fields.is_empty() {
            return self.value(seed).map(Some);
        }
        let name = self.fields.get(self.next).ok_or_else(|| FormatFailure::new("no such field"))?;
        seed.deserialize(BorrowedStrDeserializer::<FormatFailure>::new(name)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, FormatFailure> {
        self.value(seed)
    }
}

impl<'de, 't, 'a> de::EnumAccess<'de> for Variant<'t, 'a> {
    type Error = FormatFailure;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self), FormatFailure> {
        let name = BorrowedStrDeserializer::<FormatFailure>::new(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, '_> {
    type Error = FormatFailure;

    fn unit_variant(self) -> Result<(), FormatFailure> {
        self.tracer.part(self.number)?.node.asks(Kind::Leaf("unit"), 0)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, FormatFailure> {
        let part = self.tracer.part(self.number)?;
        part.node.asks(Kind::Newtype(""), 1)?;
        part.run(|tracer, _| seed.deserialize(tracer.part(0)?))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        self.tracer.part(self.number)?.deserialize_tuple_struct("", len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        self.tracer.part(self.number)?.deserialize_struct("", fields, visitor)
    }
}
