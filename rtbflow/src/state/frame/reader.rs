//! Reads the entries of a chunk, and refuses what is damaged, or of another type or operator.

use std::any::TypeId;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chunk::{BucketChange, Chunk};
use crate::error::{Error, Result};
use crate::state::format::{SHAPE, Shape, ValueDecoder, compare};
use crate::state::frame::format::{Entries, Format, mark, ways_out};
use crate::state::frame::header::{CURRENT, EMPTIED_AT_END, VERSIONS, unframe};
use crate::state::older;

/// Reads the entries of one chunk.
#[derive(Debug)]
pub struct ChunkReader<'a> {
    format: Format,
    entries: Option<Entries>,
    decoder: ValueDecoder<'a>,
    /// The entries, if they are written as they once were.
    older: Option<&'a [u8]>,
    /// What they are in words, if the chunk says it.
    words: Option<&'a str>,
    /// Whether a run to the end of the input leaves nothing of them.
    emptied_at_end: bool,
    name: &'a str,
    bucket: i64,
}

impl<'a> ChunkReader<'a> {
    /// The version of the state that a chunk says it holds, for a program that reads earlier ones as well; `None` if
    /// there is none. Nothing is checked: [`open`](Self::open) does that.
    #[must_use]
    pub fn stored_version(chunk: &Chunk) -> Option<u16> {
        match &chunk.change {
            BucketChange::Append(bytes) | BucketChange::Replace(bytes) => {
                bytes.first_chunk().map(|found| u16::from_be_bytes(*found) & VERSIONS)
            }
            BucketChange::Drop => None,
        }
    }

    /// Checks the frame of a chunk and opens it, as written by this [`Format`], or simply of this version.
    ///
    /// # Errors
    /// If the chunk is of another version, torn or damaged. The message names operator and bucket and
    /// says what can be done.
    pub fn open(chunk: &'a Chunk, format: impl Into<Format>) -> Result<Self> {
        let format = format.into();
        let (name, bucket) = (&*chunk.operator, chunk.bucket);
        let (BucketChange::Append(bytes) | BucketChange::Replace(bytes)) = &chunk.change else {
            // The bucket has ended: there is nothing in it.
            return Ok(Self::of(format, chunk, &[]));
        };
        let what = || format!("restore state of operator {name:?}, bucket {bucket}");
        let damaged = || damaged(&what(), bytes.len());
        let (found, entries, words) = unframe(bytes).ok_or_else(damaged)?;
        let older = (found & CURRENT == 0).then_some(entries);
        let emptied_at_end = found & EMPTIED_AT_END != 0;
        let known = if older.is_some() { format.older_version } else { format.version };
        if found & VERSIONS != known {
            let words = words.map(|words| format!(" `{words}`")).unwrap_or_default();
            return Err(Error::config(format!(
                "{}: it was stored as{words} version {}, and this program has `{}` version {known}; {}",
                what(),
                found & VERSIONS,
                format.of,
                ways_out(emptied_at_end)
            )));
        }
        Ok(Self { older, words, emptied_at_end, ..Self::of(format, chunk, entries) })
    }

    fn of(format: Format, chunk: &'a Chunk, entries: &'a [u8]) -> Self {
        Self {
            format,
            entries: None,
            decoder: ValueDecoder::new(entries, Vec::new(), false),
            older: None,
            words: None,
            emptied_at_end: false,
            name: &chunk.operator,
            bucket: chunk.bucket,
        }
    }

    /// The next entry; `None` after the last.
    ///
    /// # Errors
    /// If the chunk's entries are of another type, or were stored by an operator that does something else.
    /// The message says what was stored, and what the program has.
    pub fn next_entry<E: Serialize + DeserializeOwned + 'static>(&mut self) -> Result<Option<E>> {
        if let Some(entries) = &mut self.older {
            let entry = older::next_entry(entries);
            return entry.map_err(|found| self.refused::<E>(&found));
        }
        if self.decoder.rest().first() == Some(&SHAPE) {
            self.begin::<E>(&self.format.mark(&Shape::of::<E>()))?;
        }
        let before = self.decoder.rest();
        if before.is_empty() {
            return Ok(None);
        }
        let of = TypeId::of::<E>();
        let Some(Entries { shape, .. }) = self.entries.as_ref().filter(|known| known.of == of)
        else {
            return Err(self.refused::<E>(&"the entry is of another type"));
        };
        // What it is read by does not say all that a type is: then it is compared.
        let known = shape.dynamic.then(|| self.decoder.names().to_vec());
        let entry = E::deserialize(&mut self.decoder);
        let entry = entry.map_err(|failure| self.refused::<E>(&failure))?;
        if let Some(known) = known {
            self.compare(&entry, before, &known)?;
        }
        Ok(Some(entry))
    }

    /// Whether an entry, which was read from the beginning of these bytes, is what was written there.
    fn compare<E>(&self, entry: &E, before: &[u8], names: &[&str]) -> Result<()>
    where
        E: Serialize + DeserializeOwned + 'static,
    {
        let len = before.len() - self.decoder.rest().len();
        let written = before.get(..len);
        let written = written.ok_or_else(|| Error::broken("more was read than there is"))?;
        let same = compare(entry, (written, names), true);
        same.map_err(|failure| self.refused::<E>(&failure))
    }

    /// What stands before the entries.
    ///
    /// # Errors
    /// As [`next_entry`](Self::next_entry).
    pub(crate) fn next_head<H: Serialize + DeserializeOwned + 'static>(
        &mut self,
    ) -> Result<Option<H>> {
        if self.older.is_none() && self.decoder.rest().first() == Some(&SHAPE) {
            let shape = Shape::of::<H>();
            self.begin::<H>(&mark(shape.hash))?;
        }
        self.next_entry()
    }

    /// The only entry of the chunk; `None` if it has none.
    ///
    /// # Errors
    /// As [`next_entry`](Self::next_entry), and if there is another behind it.
    pub fn only_entry<E: Serialize + DeserializeOwned + 'static>(mut self) -> Result<Option<E>> {
        let entry = self.next_entry()?;
        if !self.older.unwrap_or_else(|| self.decoder.rest()).is_empty() {
            return Err(self.refused::<E>(&"there is more than one entry"));
        }
        Ok(entry)
    }

    /// Reads of which type the entries that follow are.
    fn begin<E: DeserializeOwned + 'static>(&mut self, mark: &[u8; 4]) -> Result<()> {
        let shape = Shape::of::<E>();
        let stored = self.decoder.shape().map_err(|failure| self.refused::<E>(&failure))?;
        if stored != *mark {
            return Err(match self.words {
                Some(words) => self.refused::<E>(&format!("it was stored as `{words}`")),
                None => self.refused::<E>(&"it was stored as something else"),
            });
        }
        self.decoder.begin(shape.names.clone(), shape.dynamic);
        self.entries = Some(Entries { of: TypeId::of::<E>(), shape, count: 0 });
        Ok(())
    }

    fn refused<E: DeserializeOwned + 'static>(&self, found: &dyn std::fmt::Display) -> Error {
        Error::config(format!(
            "restore state of operator {:?}, bucket {}: {found}, and this program has `{}`; {}",
            self.name,
            self.bucket,
            self.format.with(&Shape::of::<E>()),
            ways_out(self.emptied_at_end)
        ))
    }
}

#[cold]
fn damaged(attempt: &str, bytes: usize) -> Error {
    Error::permanent(format!(
        "{attempt}: the chunk is torn or damaged ({bytes} bytes); bring the place back from a copy, or reset the job, \
         which removes its positions, state and results"
    ))
}
