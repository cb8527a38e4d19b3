//! A part of a type, as far as is known of it.

use super::failure::FormatFailure;

/// A part of a type.
#[derive(Debug)]
pub(crate) struct Node {
    pub(super) kind: Kind,
    pub(super) parts: Vec<Node>,
    /// Whether there is nothing more to find out.
    pub(super) done: bool,
    /// Whether no value that it was offered was taken.
    pub(super) refuses: bool,
    /// How many values it was offered.
    pub(super) tried: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Unset,
    Leaf(&'static str),
    Option,
    Seq,
    Map,
    Newtype(&'static str),
    Tuple(&'static str),
    Struct(&'static str, &'static [&'static str]),
    Enum(&'static str, &'static [&'static str]),
    /// It is read by what comes.
    Any,
    /// A type within itself.
    Recursive(&'static str),
    /// There is no way to it.
    Unknown,
}

impl Node {
    pub(super) fn new() -> Self {
        Self { kind: Kind::Unset, parts: Vec::new(), done: false, refuses: false, tried: 0 }
    }

    /// Whether values are read by what comes, or nobody can say how.
    pub(super) fn is_dynamic(&self) -> bool {
        matches!(self.kind, Kind::Any | Kind::Unknown | Kind::Unset)
            || self.parts.iter().any(Self::is_dynamic)
    }

    /// There is nothing more to find out, and no value.
    pub(super) fn close(&mut self, kind: Kind) -> FormatFailure {
        (self.kind, self.done, self.refuses) = (kind, true, true);
        FormatFailure::new("nothing to read")
    }

    /// It asks for this, and has this many parts. One that asks for another thing than before is not to be
    /// known.
    pub(super) fn asks(&mut self, kind: Kind, parts: usize) -> Result<(), FormatFailure> {
        if self.kind == Kind::Unset {
            self.kind = kind;
            self.parts.resize_with(parts, Self::new);
            self.done = parts == 0;
        }
        if self.kind == kind { Ok(()) } else { Err(self.close(Kind::Unknown)) }
    }

    /// The first part that is not known yet.
    pub(super) fn open_part(&self) -> Option<usize> {
        self.parts.iter().position(|part| !part.done)
    }

    /// A run has gone through it.
    pub(super) fn ran(&mut self, part: Option<usize>, took: bool) {
        match part.and_then(|part| self.parts.get_mut(part)) {
            // It was not asked for.
            Some(part) if part.kind == Kind::Unset => drop(part.close(Kind::Unknown)),
            Some(_) => {}
            None => self.refuses |= !took,
        }
        self.done = self.open_part().is_none();
    }
}
