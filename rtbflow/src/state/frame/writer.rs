//! Writes the entries of a chunk, and sees that each comes back as it was.

use std::any::TypeId;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::state::format::{Encoder, FormatFailure, Names, SHAPE, Shape, check};
use crate::state::frame::format::{Entries, Format, mark};
use crate::state::frame::header::{CURRENT, EMPTIED_AT_END, HEADER_BYTES, IN_WORDS, checksum};

/// How many of the first entries of a type are read again as they are written.
const CHECKED: usize = 2;

/// Writes the entries of one chunk.
///
/// Layout: two bytes of version (big endian, the highest bit set), four bytes CRC-32 of these and what follows, then the
/// entries, one after another. Before the first, and wherever their type changes, stands a mark of the type.
/// If the bit below the highest is set, the text that the marks are of comes last, and its length in two bytes.
///
/// Each entry comes back as it was, or is refused as it is written: the first entries are read again, and so
/// is each in which a field is left out for the first time, and all of a type that serde reads by looking at
/// what comes (`untagged`, `flatten`, an inner tag). What a type itself keeps from serde, by `skip` or a lossy
/// `with`, is not seen.
#[derive(Debug)]
pub struct ChunkWriter {
    format: Format,
    bytes: Vec<u8>,
    entries: Option<Entries>,
    names: Names<'static>,
    /// What it is in words, if that is to be said.
    words: Option<String>,
    failure: Option<Error>,
}

impl ChunkWriter {
    /// A writer for entries of an operator's state: of this [`Format`], or simply of this version.
    #[must_use]
    pub fn new(format: impl Into<Format>) -> Self {
        let format = format.into();
        let words = (!format.said.load(Ordering::Relaxed)).then(String::new);
        let (bytes, entries) = (vec![0; HEADER_BYTES], None);
        Self { format, bytes, entries, names: Names::default(), words, failure: None }
    }

    /// Adds an entry.
    pub fn put<E: Serialize + DeserializeOwned + 'static>(&mut self, entry: &E) {
        self.put_as::<E>(entry);
    }

    /// Adds an entry that is at hand in another form, such as a tuple of references, and is read as an `E`.
    #[inline]
    pub fn put_as<E: Serialize + DeserializeOwned + 'static>(
        &mut self,
        entry: &(impl Serialize + ?Sized),
    ) {
        let of = TypeId::of::<E>();
        let entries = match &mut self.entries {
            Some(entries) if entries.of == of => entries,
            _ => self.begin::<E>(of),
        };
        entries.count += 1;
        let (few, dynamic) = (entries.count <= CHECKED, entries.shape.dynamic);
        let (from, known) = (self.bytes.len(), self.names.known().len());
        let put = entry.serialize(Encoder::new(&mut self.bytes, &mut self.names, dynamic));
        let is_new = self.names.take_new();
        let put = put.and_then(|()| match few || is_new || dynamic {
            true => self.check::<E>(from, known, dynamic),
            false => Ok(()),
        });
        if let Err(failure) = put {
            self.fail::<E>(&failure);
        }
    }

    /// Reads an entry again that begins there, with this many names known before it.
    fn check<E: Serialize + DeserializeOwned>(
        &self,
        from: usize,
        known: usize,
        dynamic: bool,
    ) -> Result<(), FormatFailure> {
        match (self.bytes.get(from..), self.names.known().get(..known)) {
            (Some(written), Some(known)) => check::<E>(written, known, dynamic),
            _ => Err(FormatFailure::new("is not where it was written")),
        }
    }

    /// The first failure is that of the chunk.
    #[cold]
    fn fail<E: DeserializeOwned + 'static>(&mut self, failure: &FormatFailure) {
        let what = self.format.with(&Shape::of::<E>());
        self.failure.get_or_insert_with(|| {
            Error::config(format!(
                "write state ({what}): {failure}; it would not come back as it is: let its type write all that it \
                 reads, and read all that it writes"
            ))
        });
    }

    /// Adds what stands before the entries, and is the same whatever the operator makes of them.
    pub(crate) fn put_head<H: Serialize + DeserializeOwned + 'static>(
        &mut self,
        head: &(impl Serialize + ?Sized),
    ) {
        let shape = Shape::of::<H>();
        let mark = mark(shape.hash);
        self.start(TypeId::of::<H>(), shape, mark);
        self.put_as::<H>(head);
    }

    #[cold]
    fn begin<E: DeserializeOwned + 'static>(&mut self, of: TypeId) -> &mut Entries {
        let shape = Shape::of::<E>();
        if let Some(words) = &mut self.words {
            *words = self.format.with(&shape);
        }
        let mark = self.format.mark(&shape);
        self.start(of, shape, mark)
    }

    fn start(&mut self, of: TypeId, shape: Arc<Shape>, mark: [u8; 4]) -> &mut Entries {
        self.bytes.push(SHAPE);
        self.bytes.extend_from_slice(&mark);
        self.names = Names::new(&shape.names);
        self.entries.insert(Entries { of, shape, count: 0 })
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no entry was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_BYTES
    }

    /// The bytes of the chunk.
    ///
    /// # Errors
    /// If an entry cannot be written, or would not come back as it is. The message names the field.
    pub fn finish(mut self) -> Result<Bytes> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        let mut version = self.format.version | CURRENT;
        if self.format.emptied_at_end {
            version |= EMPTIED_AT_END;
        }
        if let Some(words) = self.words.filter(|words| !words.is_empty()) {
            version |= IN_WORDS;
            // A longer text is cut: it is there for whoever reads an error, and nothing is decided by it.
            let len = u16::try_from(words.len()).unwrap_or(u16::MAX);
            self.bytes.extend(words.bytes().take(len.into()));
            self.bytes.extend_from_slice(&len.to_be_bytes());
        }
        let parts = self.bytes.split_at_mut_checked(HEADER_BYTES);
        let (header, entries) =
            parts.ok_or_else(|| Error::broken("a chunk has lost its header"))?;
        let [a, b, c, d] = checksum(version, entries).to_be_bytes();
        let [high, low] = version.to_be_bytes();
        header.copy_from_slice(&[high, low, a, b, c, d]);
        Ok(self.bytes.into())
    }
}
