//! The strictness that all topics share: objects, texts, whole numbers and closed lists of names.
//!
//! serde's derive is more lenient than the contract: it takes an array for a struct and an object for an
//! enum. These types take exactly what the contract says and cost nothing at run time.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use compact_str::CompactString;
use rtbflow::Timestamp;
use rtbflow::codec::Plain;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::value::RawValue;

/// What a record must hold beyond the types of its fields.
pub trait Rules {
    /// Checks it.
    ///
    /// # Errors
    /// If it does not hold; the text becomes the reason of the dead letter.
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

/// A `T` that was written as a JSON object and keeps its [`Rules`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de> + Rules> Deserialize<'de> for Object<T> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Rules> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    #[inline]
    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Object<T>, M::Error> {
        let value = T::deserialize(MapAccessDeserializer::new(Names(map)))?;
        value.check().map_err(M::Error::custom)?;
        Ok(Object(value))
    }
}

/// Reads the names of fields as bytes: the name of a field that nobody knows may be any string, even one
/// that is no text (a lone surrogate).
struct Names<M>(M);

impl<'de, M: MapAccess<'de>> MapAccess<'de> for Names<M> {
    type Error = M::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, M::Error> {
        self.0.next_key_seed(Name(seed))
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, M::Error> {
        self.0.next_value_seed(seed)
    }
}

/// A name of a field: a seed or a deserializer, on its way to [`Deserializer::deserialize_bytes`].
struct Name<X>(X);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Name(deserializer))
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Name<D> {
    type Error = D::Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_bytes(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// A value that a short cut can take from a record that is written plainly.
///
/// It must be what the value's `Deserialize` makes of the same; `None` leaves the record to that.
pub(crate) trait FromPlain<'a>: Sized {
    /// Takes it.
    fn from_plain(plain: Plain<'a>) -> Option<Self>;

    /// What stands for a field that is not there.
    fn missing() -> Option<Self> {
        None
    }
}

impl<'a, T: FromPlain<'a>> FromPlain<'a> for Option<T> {
    #[inline]
    fn from_plain(plain: Plain<'a>) -> Option<Self> {
        if plain == Plain::Null { Some(None) } else { T::from_plain(plain).map(Some) }
    }

    #[inline]
    fn missing() -> Option<Self> {
        Some(None)
    }
}

impl FromPlain<'_> for Timestamp {
    #[inline]
    fn from_plain(plain: Plain<'_>) -> Option<Self> {
        if let Plain::Text(text) = plain { text.parse().ok() } else { None }
    }
}

/// Gives a view its short cut, `fn plain(text: &str) -> Option<Self>`, for the fields listed; the compiler
/// sees to it that none is forgotten.
macro_rules! plain {
    ($view:ident { $($field:ident),+ $(,)? }) => {
        impl<'a> $view<'a> {
            #[inline]
            fn plain(text: &'a str) -> Option<Self> {
                use crate::events::strict::FromPlain;
                let mut fields = rtbflow::codec::PlainFields::new(text)?;
                // Whoever writes them in this order is read without looking at each name.
                $(let mut $field = match fields.next_named(stringify!($field)) {
                    Some(value) => Some(FromPlain::from_plain(value)?),
                    None => None,
                };)+
                while let Some((name, value)) = fields.next_field()? {
                    match name {
                        $(stringify!($field) => {
                            if $field.replace(FromPlain::from_plain(value)?).is_some() {
                                return None;
                            }
                        })+
                        _ => {}
                    }
                }
                Some(Self {
                    $($field: match $field {
                        Some(value) => value,
                        None => FromPlain::missing()?,
                    },)+
                })
            }
        }
    };
}
pub(crate) use plain;

/// A string without U+0000 and without lone surrogates, borrowed where the JSON has no escapes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// An owned copy; up to 24 bytes it needs no memory of its own.
    #[inline]
    #[must_use]
    pub fn compact(&self) -> CompactString {
        CompactString::new(&self.0)
    }
}

impl Deref for Text<'_> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            /// Without an escape there is no U+0000: JSON has no bare control characters.
            #[inline]
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                if text.contains('\0') {
                    return Err(E::custom("a string with U+0000"));
                }
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

impl<'a> FromPlain<'a> for Text<'a> {
    #[inline]
    fn from_plain(plain: Plain<'a>) -> Option<Self> {
        if let Plain::Text(text) = plain { Some(Self(Cow::Borrowed(text))) } else { None }
    }
}

/// A number from 0 to the largest `i64`, written without fraction and exponent.
///
/// Decoded from the digits themselves: a JSON parser's number no longer tells `-0`, which is whole, from
/// `-0.0`, which is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Whole(i64);

impl Whole {
    /// The number.
    #[inline]
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Whole {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = <&RawValue>::deserialize(deserializer)?.get();
        match digits.parse() {
            Ok(number) if number >= 0 => Ok(Self(number)),
            Ok(_) | Err(_) => Err(D::Error::custom(format_args!(
                "{digits:.40} is not a whole number from 0 to {}",
                i64::MAX
            ))),
        }
    }
}

impl FromPlain<'_> for Whole {
    #[inline]
    fn from_plain(plain: Plain<'_>) -> Option<Self> {
        if let Plain::Whole(number) = plain { Some(Self(number)) } else { None }
    }
}

/// Declares a closed list of names: an enum that decodes from JSON strings only.
macro_rules! names {
    ($(#[$about:meta])* $name:ident { $($(#[$variant_about:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_about])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl crate::events::strict::FromPlain<'_> for $name {
            #[inline]
            fn from_plain(plain: rtbflow::codec::Plain<'_>) -> Option<Self> {
                match plain {
                    $(rtbflow::codec::Plain::Text($text) => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            #[inline]
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct NameVisitor;
                impl serde::de::Visitor<'_> for NameVisitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("one of" $(, " ", $text)+))
                    }
                    #[inline]
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        match text {
                            $($text => Ok($name::$variant),)+
                            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                        }
                    }
                }
                deserializer.deserialize_str(NameVisitor)
            }
        }
    };
}
pub(crate) use names;
