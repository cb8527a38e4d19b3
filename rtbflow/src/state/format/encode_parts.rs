//! Writes what has parts, one after another.

use serde::ser::{self, Serialize};

use super::encode::PartsWriter;
use super::failure::FormatFailure;
use super::tags::put_unsigned;

impl PartsWriter<'_, '_> {
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FormatFailure> {
        self.found += 1;
        value.serialize(self.encoder.again())
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), FormatFailure> {
        self.encoder.name(name);
        self.part(value).map_err(|failure| failure.within(name))
    }

    #[inline]
    fn end(self) -> Result<(), FormatFailure> {
        match self.expected {
            Ok(expected) if expected == self.found => Ok(()),
            Ok(expected) => Err(FormatFailure::new(format!(
                "its type says that {expected} parts follow, and writes {}",
                self.found
            ))),
            Err(at) => {
                let mut count = Vec::new();
                put_unsigned(&mut count, self.found as u64);
                self.encoder.bytes.splice(at..at, count);
                Ok(())
            }
        }
    }
}

/// PartsWriter without names.
macro_rules! parts {
    ($($trait:ident $method:ident),+) => {$(
        impl ser::$trait for PartsWriter<'_, '_> {
            type Ok = ();
            type Error = FormatFailure;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FormatFailure> {
                self.part(value)
            }

            #[inline]
            fn end(self) -> Result<(), FormatFailure> {
                PartsWriter::end(self)
            }
        }
    )+};
}
parts!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

/// PartsWriter with names.
macro_rules! fields {
    ($($trait:ident),+) => {$(
        impl ser::$trait for PartsWriter<'_, '_> {
            type Ok = ();
            type Error = FormatFailure;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), FormatFailure> {
                self.field(name, value)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), FormatFailure> {
                self.encoder.names.leave_out(self.of, name);
                Ok(())
            }

            #[inline]
            fn end(self) -> Result<(), FormatFailure> {
                PartsWriter::end(self)
            }
        }
    )+};
}
fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for PartsWriter<'_, '_> {
    type Ok = ();
    type Error = FormatFailure;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), FormatFailure> {
        self.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FormatFailure> {
        value.serialize(self.encoder.again())
    }

    fn end(self) -> Result<(), FormatFailure> {
        PartsWriter::end(self)
    }
}
