//! Finds out what a type is made of: lets its `Deserialize` ask for a value again and again, and notes for what
//! it asked.
//!
//! Each run goes down one way that was not gone yet, to one field, one variant, one element, until there is
//! none. That the type may not like the values that it is given does not matter: by then it has asked.

use serde::de::{DeserializeOwned, Deserializer, Visitor};

use super::failure::FormatFailure;
use super::node::{Kind, Node};

/// More runs than any type of a sane program takes.
const MOST_RUNS: usize = 2_000;
/// How often a type is gone into again within itself.
const MOST_NESTED: usize = 2;

/// Finds out what a type is made of; `human` as by `is_human_readable`.
pub(super) fn trace<T: DeserializeOwned>(human: bool) -> Node {
    let mut root = Node::new();
    for _ in 0..MOST_RUNS {
        if root.done {
            break;
        }
        let mut above = Vec::new();
        let tracer = Tracer { node: &mut root, above: &mut above, human };
        // That it fails is the rule: what it has asked for until then is noted.
        let _ = T::deserialize(tracer);
        if root.kind == Kind::Unset {
            root.close(Kind::Unknown);
        }
    }
    root
}

/// Notes what a part is asked for.
pub(super) struct Tracer<'a> {
    pub(super) node: &'a mut Node,
    /// The types that this is a part of, by their names of fields or variants.
    above: &'a mut Vec<*const &'static str>,
    human: bool,
}

/// Texts of which most types that are read from text take one.
const TEXTS: [&str; 6] = [
    "",
    "1",
    "127.0.0.1",
    "127.0.0.1:1",
    "1970-01-01T00:00:00Z",
    "00000000-0000-0000-0000-000000000000",
];
const BYTES: [&[u8]; 4] = [&[], &[0; 4], &[0; 8], &[0; 16]];

/// Something that is in one value, and is offered in several.
macro_rules! leaf {
    ($($method:ident $name:literal $visit:ident $values:expr;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatFailure> {
            let values = $values;
            self.node.asks(Kind::Leaf($name), 0)?;
            let offered = values.get(self.node.tried).copied();
            // It has taken none of them.
            let Some(value) = offered else { return Err(self.node.close(Kind::Leaf($name))) };
            let taken = visitor.$visit(value);
            self.node.tried += usize::from(taken.is_err());
            self.node.refuses = self.node.tried == values.len();
            self.node.done = taken.is_ok() || self.node.refuses;
            taken
        }
    )+};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = FormatFailure;

    fn is_human_readable(&self) -> bool {
        self.human
    }

    leaf! {
        deserialize_bool "bool" visit_bool [false, true];
        deserialize_u8 "u8" visit_u8 [0, 1];
        deserialize_u16 "u16" visit_u16 [0, 1];
        deserialize_u32 "u32" visit_u32 [0, 1];
        deserialize_u64 "u64" visit_u64 [0, 1];
        deserialize_u128 "u128" visit_u128 [0, 1];
        deserialize_i8 "i8" visit_i8 [0, 1];
        deserialize_i16 "i16" visit_i16 [0, 1];
        deserialize_i32 "i32" visit_i32 [0, 1];
        deserialize_i64 "i64" visit_i64 [0, 1];
        deserialize_i128 "i128" visit_i128 [0, 1];
        deserialize_f32 "f32" visit_f32 [0.0, 1.0];
        deserialize_f64 "f64" visit_f64 [0.0, 1.0];
        deserialize_char "char" visit_char ['a'];
        deserialize_str "str" visit_borrowed_str TEXTS;
        deserialize_string "str" visit_borrowed_str TEXTS;
        deserialize_bytes "bytes" visit_borrowed_bytes BYTES;
        deserialize_byte_buf "bytes" visit_borrowed_bytes BYTES;
        deserialize_identifier "name" visit_borrowed_str ["", "a"];
    }
    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, FormatFailure> {
        Err(self.node.close(Kind::Any))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        self.node.asks(Kind::Leaf("ignored"), 0)?;
        visitor.visit_unit()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatFailure> {
        self.node.asks(Kind::Leaf("unit"), 0)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        self.node.asks(Kind::Leaf(name), 0)?;
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatFailure> {
        self.node.asks(Kind::Option, 1)?;
        self.run(|tracer, part| match part {
            Some(part) => visitor.visit_some(tracer.part(part)?),
            None => visitor.visit_none(),
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        self.node.asks(Kind::Newtype(name), 1)?;
        self.run(|tracer, _| visitor.visit_newtype_struct(tracer.part(0)?))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatFailure> {
        self.node.asks(Kind::Seq, 1)?;
        self.run(|tracer, part| {
            let upto = usize::from(part.is_some());
            visitor.visit_seq(Parts { tracer, next: 0, upto, fields: &[] })
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        self.deserialize_tuple_struct("", len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        self.node.asks(Kind::Tuple(name), len)?;
        self.run(|tracer, _| visitor.visit_seq(Parts { tracer, next: 0, upto: len, fields: &[] }))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatFailure> {
        self.node.asks(Kind::Map, 2)?;
        self.run(|tracer, part| {
            let upto = if part.is_some() { 2 } else { 0 };
            visitor.visit_map(Parts { tracer, next: 0, upto, fields: &[] })
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        self.node.asks(Kind::Struct(name, fields), fields.len())?;
        self.within((name, fields), |tracer| {
            tracer.run(|tracer, part| {
                // One field at a time: what is amiss with one does not hide the others.
                let (next, upto) = part.map_or((0, fields.len()), |part| (part, part + 1));
                visitor.visit_map(Parts { tracer, next, upto, fields })
            })
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormatFailure> {
        self.node.asks(Kind::Enum(name, variants), variants.len())?;
        self.within((name, variants), |tracer| {
            tracer.run(|tracer, part| {
                let good = || tracer.node.parts.iter().position(|part| !part.refuses);
                // Where none is good, any is refused.
                let number = part.or_else(good).unwrap_or(0);
                let name =
                    variants.get(number).ok_or_else(|| FormatFailure::new("no such variant"))?;
                visitor.visit_enum(Variant { tracer, number, name })
            })
        })
    }
}

impl<'a> Tracer<'a> {
    /// The tracer of a part.
    pub(super) fn part(&mut self, number: usize) -> Result<Tracer<'_>, FormatFailure> {
        let node =
            self.node.parts.get_mut(number).ok_or_else(|| FormatFailure::new("no such part"))?;
        Ok(Tracer { node, above: self.above, human: self.human })
    }

    /// Goes on to the first part that is not known; with none, to any value.
    pub(super) fn run<T>(
        mut self,
        go: impl FnOnce(&mut Tracer<'_>, Option<usize>) -> Result<T, FormatFailure>,
    ) -> Result<T, FormatFailure> {
        let part = self.node.open_part();
        let taken = go(&mut self, part);
        self.node.ran(part, taken.is_ok());
        taken
    }

    /// Goes into a type with names, unless this is that type again and again.
    fn within<T>(
        self,
        (name, names): (&'static str, &'static [&'static str]),
        go: impl FnOnce(Tracer<'_>) -> Result<T, FormatFailure>,
    ) -> Result<T, FormatFailure> {
        let id = names.as_ptr();
        let nested = self.above.iter().filter(|above| **above == id).count();
        if nested >= MOST_NESTED && !names.is_empty() {
            self.node.parts.clear();
            return Err(self.node.close(Kind::Recursive(name)));
        }
        self.above.push(id);
        let taken = go(Tracer { node: self.node, above: self.above, human: self.human });
        self.above.pop();
        taken
    }
}

/// Hands parts over, with or without names.
pub(super) struct Parts<'t, 'a> {
    pub(super) tracer: &'t mut Tracer<'a>,
    pub(super) next: usize,
    pub(super) upto: usize,
    pub(super) fields: &'static [&'static str],
}

/// Hands a variant over.
pub(super) struct Variant<'t, 'a> {
    pub(super) tracer: &'t mut Tracer<'a>,
    pub(super) number: usize,
    pub(super) name: &'static str,
}
