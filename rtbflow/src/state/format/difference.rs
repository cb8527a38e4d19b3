//! Whether two values that were written are one, and where they differ if not.
//!
//! What has no order of its own (a hash table) comes back in another one, and is the same.

use super::failure::FormatFailure;
use super::tags::*;

/// A value that was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Tree<'a> {
    /// A tag and what follows.
    Leaf(u8, &'a [u8]),
    /// A sequence or map; a map's parts are keys and values.
    Many(u8, Vec<Tree<'a>>),
    /// A tuple, or what is in an option.
    Fixed(u8, Vec<Tree<'a>>),
    /// A struct's fields, in their order.
    Fields(Vec<(&'a str, Tree<'a>)>),
    /// A variant, or the name of a type, and what is in it.
    Named(u8, &'a str, Option<Box<Tree<'a>>>),
}

/// Compares what was written with what is written of what it was read as.
pub(super) fn same((written, again): (&[u8], &[u8]), names: &[&str]) -> Result<(), FormatFailure> {
    let tree = |bytes| TreeReader { input: Input(bytes), names: names.to_vec() }.tree();
    let (mut written, mut again) = (tree(written)?, tree(again)?);
    if let Err(failure) = differ(&written, &again) {
        // In another order it may be the same.
        written.sort();
        again.sort();
        if written != again {
            return Err(failure);
        }
    }
    Ok(())
}

struct TreeReader<'a> {
    input: Input<'a>,
    names: Vec<&'a str>,
}

impl<'a> TreeReader<'a> {
    fn name(&mut self) -> Result<&'a str, FormatFailure> {
        let number = self.input.size()?;
        if let Some(name) = self.names.get(number) {
            return Ok(name);
        }
        let len = self.input.size()?;
        let name = self.input.text(len)?;
        self.names.push(name);
        Ok(name)
    }

    fn many(&mut self, count: usize) -> Result<Vec<Tree<'a>>, FormatFailure> {
        (0..count).map(|_| self.tree()).collect()
    }

    fn fields(&mut self, count: usize) -> Result<Tree<'a>, FormatFailure> {
        let field = |_| Ok((self.name()?, self.tree()?));
        Ok(Tree::Fields((0..count).map(field).collect::<Result<_, FormatFailure>>()?))
    }

    fn tree(&mut self) -> Result<Tree<'a>, FormatFailure> {
        let tag = self.input.byte()?;
        Ok(match tag {
            SHORT_STR..SHORT_STR_END => Tree::Leaf(STR, self.input.take((tag - SHORT_STR).into())?),
            SHORT_TUPLE..SHORT_TUPLE_END => {
                Tree::Fixed(TUPLE, self.many((tag - SHORT_TUPLE).into())?)
            }
            SHORT_STRUCT..SHORT_STRUCT_END => self.fields((tag - SHORT_STRUCT).into())?,
            SHORT_SEQ..=SHORT_SEQ_LAST => Tree::Many(SEQ, self.many((tag - SHORT_SEQ).into())?),
            SOME => Tree::Fixed(SOME, self.many(1)?),
            STR | BYTES | SEQ | TUPLE | MAP | STRUCT => {
                let size = self.input.size()?;
                self.sized(tag, size)?
            }
            UNIT_VARIANT => Tree::Named(tag, self.name()?, None),
            NAMED | NEWTYPE_VARIANT | TUPLE_VARIANT | STRUCT_VARIANT => {
                Tree::Named(tag, self.name()?, Some(Box::new(self.tree()?)))
            }
            _ => self.number(tag)?,
        })
    }

    /// What says behind its tag how much there is of it: bytes, or parts.
    fn sized(&mut self, tag: u8, size: usize) -> Result<Tree<'a>, FormatFailure> {
        match tag {
            TUPLE => Ok(Tree::Fixed(TUPLE, self.many(size)?)),
            STRUCT => self.fields(size),
            SEQ => Ok(Tree::Many(SEQ, self.many(size)?)),
            MAP => {
                let entry = |_| Ok(Tree::Fixed(MAP, self.many(2)?));
                let entries = (0..size).map(entry).collect::<Result<_, FormatFailure>>()?;
                Ok(Tree::Many(MAP, entries))
            }
            _ => Ok(Tree::Leaf(tag, self.input.take(size)?)),
        }
    }

    fn number(&mut self, tag: u8) -> Result<Tree<'a>, FormatFailure> {
        let before = self.input.0;
        self.skip_number(tag)?;
        let len = before.len() - self.input.0.len();
        let beyond = || FormatFailure::new("more was read than there is");
        Ok(Tree::Leaf(tag, before.get(..len).ok_or_else(beyond)?))
    }

    fn skip_number(&mut self, tag: u8) -> Result<(), FormatFailure> {
        match tag {
            U8 | I8 => drop(self.input.byte()?),
            F32 => drop(self.input.take(4)?),
            F64 | U64_WIDE | I64_WIDE => drop(self.input.take(8)?),
            U16 | U32 | U64 | I16 | I32 | I64 | CHAR | U128 | I128 => drop(self.input.wide()?),
            _ => {}
        }
        Ok(())
    }
}

impl Tree<'_> {
    /// Gives what has no order one.
    fn sort(&mut self) {
        match self {
            Self::Leaf(..) | Self::Named(_, _, None) => {}
            Self::Many(_, parts) => {
                parts.iter_mut().for_each(Self::sort);
                parts.sort();
            }
            Self::Fixed(_, parts) => parts.iter_mut().for_each(Self::sort),
            Self::Fields(fields) => fields.iter_mut().for_each(|(_, value)| value.sort()),
            Self::Named(_, _, Some(value)) => value.sort(),
        }
    }

    /// What it is, without what is in it: that is nobody's business.
    fn kind(&self) -> String {
        match self {
            Self::Leaf(tag, _) => leaf(*tag).into(),
            Self::Many(MAP, _) => "a map".into(),
            Self::Many(..) => "a sequence".into(),
            Self::Fixed(SOME, _) => "an option with a value".into(),
            Self::Fixed(_, parts) => format!("a tuple of {}", parts.len()),
            Self::Fields(_) => "a struct".into(),
            Self::Named(NAMED, name, _) => format!("a `{name}`"),
            Self::Named(_, name, _) => format!("the variant `{name}`"),
        }
    }
}

fn leaf(tag: u8) -> &'static str {
    match tag {
        UNIT | UNIT_STRUCT => "a unit",
        NONE => "an empty option",
        FALSE | TRUE => "a bool",
        U8 => "a u8",
        U16 => "a u16",
        U32 | SMALL_U32..SMALL_U32_END => "a u32",
        U64 | U64_WIDE | SMALL_U64..SMALL_U64_END => "a u64",
        U128 => "a u128",
        I8 => "an i8",
        I16 => "an i16",
        I32 => "an i32",
        I64 | I64_WIDE | SMALL_I64..SMALL_I64_END => "an i64",
        I128 => "an i128",
        F32 => "an f32",
        F64 => "an f64",
        CHAR => "a char",
        STR => "a text",
        _ => "bytes",
    }
}

/// Where two values differ.
fn differ(written: &Tree<'_>, again: &Tree<'_>) -> Result<(), FormatFailure> {
    match (written, again) {
        (Tree::Fields(written), Tree::Fields(again)) => fields(written, again),
        (Tree::Named(one, name, value), Tree::Named(other, again, read))
            if (one, name) == (other, again) =>
        {
            let (Some(value), Some(read)) = (value, read) else { return Ok(()) };
            differ(value, read).map_err(|failure| match *one {
                NAMED => failure,
                _ => failure.within(name),
            })
        }
        (Tree::Fixed(one, written), Tree::Fixed(other, again))
        | (Tree::Many(one, written), Tree::Many(other, again))
            if one == other && written.len() == again.len() =>
        {
            written.iter().zip(again).try_for_each(|(written, again)| differ(written, again))
        }
        (written, again) if written == again => Ok(()),
        (written, again) => Err(another(&written.kind(), &again.kind())),
    }
}

/// A value came back as one of another kind, or as another of its kind.
fn another(written: &str, again: &str) -> FormatFailure {
    if written == again {
        return FormatFailure::new(format!("comes back as {again} of another value"));
    }
    FormatFailure::new(format!("was {written} and comes back as {again}"))
}

fn fields(written: &[(&str, Tree<'_>)], again: &[(&str, Tree<'_>)]) -> Result<(), FormatFailure> {
    let find =
        |fields: &[(&str, Tree<'_>)], name: &str| fields.iter().any(|(known, _)| *known == name);
    if let Some((name, value)) = again.iter().find(|(name, _)| !find(written, name)) {
        let reason = format!("was left out and comes back as {}", value.kind());
        return Err(FormatFailure::new(reason).within(name));
    }
    if let Some((name, value)) = written.iter().find(|(name, _)| !find(again, name)) {
        let reason = format!("was {} and does not come back", value.kind());
        return Err(FormatFailure::new(reason).within(name));
    }
    for (name, value) in written {
        if let Some((_, read)) = again.iter().find(|(known, _)| known == name) {
            differ(value, read).map_err(|failure| failure.within(name))?;
        }
    }
    Ok(())
}
