//! The bytes of a chunk: a version, a checksum, then of which type the entries are, and the entries.

use std::any::TypeId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chunk::{BucketChange, Chunk};
use crate::error::{Error, Result};
use crate::hash::stable_hash;
use crate::state::format::{Encoder, Names, SHAPE, Shape, ValueDecoder, check, compare};
use crate::state::older;

const HEADER_BYTES: usize = 6;
/// In the version of a chunk whose entries are written as they are now; without it, as in [`older`].
const CURRENT: u16 = 0x8000;
/// In the version of a chunk that says at its end, in words, what it holds: a text and its length.
const IN_WORDS: u16 = 0x4000;
/// In the version of a chunk of which nothing is left at the end of all time.
const EMPTIED_AT_END: u16 = 0x2000;
/// What is left for the version of an operator's state.
const VERSIONS: u16 = 0x1fff;
/// How many of the first entries of a type are read again as they are written.
const CHECKED: usize = 2;

/// What an operator's chunks hold: the version of its state and, for what the types do not say, a text.
///
/// State whose text or types differ from those of the program that reads it is refused: a sum is no count,
/// though both are numbers.
///
/// ```
/// use rtbflow::state::Format;
///
/// let format = Format::new(1, "highest value per sensor").emptied_at_end();
/// assert_eq!(format.version(), 1);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Format {
    version: u16,
    /// That of chunks as they were once written.
    older_version: u16,
    of: Arc<str>,
    emptied_at_end: bool,
    /// Whether a chunk that is stored says in words what this is.
    pub(super) said: Arc<AtomicBool>,
}

impl Format {
    /// State of this version, and what is in it.
    pub fn new(version: u16, of: impl Into<Arc<str>>) -> Self {
        let (version, said) = (version & VERSIONS, Arc::default());
        Self { version, older_version: version, of: of.into(), emptied_at_end: false, said }
    }

    /// How far an operator has come: whatever it does, that is a time.
    pub(crate) fn of_watermark(version: u16) -> Self {
        let said = Arc::new(true.into());
        Self { said, version: 0, ..Self::new(version, "watermark") }
    }

    /// Nothing is left of it at the end of all time, as of windows, which all close. So a run to the end of
    /// the input makes room for another program, and the error of whoever is refused says so.
    pub fn emptied_at_end(self) -> Self {
        Self { emptied_at_end: true, ..self }
    }

    /// The version of the operator's state.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }

    /// What is in it, in words, and of which type the entries are.
    fn with(&self, shape: &Shape) -> String {
        if self.of.is_empty() { shape.text.clone() } else { format!("{}: {}", self.of, shape.text) }
    }

    /// Of each chunk that is not the first of its bucket it is all that says what the entries are.
    fn mark(&self, shape: &Shape) -> [u8; 4] {
        mark(stable_hash(&*self.of) ^ shape.hash.rotate_left(1))
    }
}

/// What to do where state cannot be read.
fn ways_out(emptied_at_end: bool) -> &'static str {
    if emptied_at_end {
        "run the program that stored it once more with `until_end`, which reads to the end, closes what is open \
         and commits, and then start this one; or reset the job, which removes its positions, state and results"
    } else {
        "go on with the program that stored it; or reset the job, which removes its positions, state and results"
    }
}

/// The mark of a type: few bytes of its hash, as each chunk has them.
fn mark(hash: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = hash.to_le_bytes();
    [a, b, c, d]
}

/// State of this version, of which nothing is said but the types.
impl From<u16> for Format {
    fn from(version: u16) -> Self {
        Self::new(version, "")
    }
}

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

/// Of which type the entries are that are written or read.
#[derive(Debug)]
struct Entries {
    of: TypeId,
    shape: Arc<Shape>,
    count: usize,
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
        if self.entries.as_ref().is_none_or(|entries| entries.of != of) {
            self.begin::<E>(of);
        }
        let Some(Entries { shape, count, .. }) = &mut self.entries else { return };
        let (from, known, dynamic) = (self.bytes.len(), self.names.known().len(), shape.dynamic);
        *count += 1;
        let few = *count <= CHECKED;
        let put = entry.serialize(Encoder::new(&mut self.bytes, &mut self.names, dynamic));
        let is_new = self.names.take_new();
        let put =
            put.and_then(|()| match (self.bytes.get(from..), self.names.known().get(..known)) {
                (Some(written), Some(known)) if few || is_new || dynamic => {
                    check::<E>(written, known, dynamic)
                }
                _ => Ok(()),
            });
        if let Err(failure) = put
            && self.failure.is_none()
        {
            let what = self.entries.as_ref().map(|entries| self.format.with(&entries.shape));
            self.failure = Some(Error::config(format!(
                "write state ({}): {failure}; it would not come back as it is: let its type write all that it reads, \
                 and read all that it writes",
                what.unwrap_or_default()
            )));
        }
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
    fn begin<E: DeserializeOwned + 'static>(&mut self, of: TypeId) {
        let shape = Shape::of::<E>();
        if let Some(words) = &mut self.words {
            *words = self.format.with(&shape);
        }
        let mark = self.format.mark(&shape);
        self.start(of, shape, mark);
    }

    fn start(&mut self, of: TypeId, shape: Arc<Shape>, mark: [u8; 4]) {
        self.bytes.push(SHAPE);
        self.bytes.extend_from_slice(&mark);
        self.names = Names::new(&shape.names);
        self.entries = Some(Entries { of, shape, count: 0 });
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
            let len = u16::try_from(words.len()).unwrap_or(u16::MAX);
            self.bytes.extend_from_slice(words.as_bytes().get(..len.into()).unwrap_or_default());
            self.bytes.extend_from_slice(&len.to_be_bytes());
        }
        if let Some((header, entries)) = self.bytes.split_at_mut_checked(HEADER_BYTES) {
            let [a, b, c, d] = checksum(version, entries).to_be_bytes();
            let [high, low] = version.to_be_bytes();
            header.copy_from_slice(&[high, low, a, b, c, d]);
        }
        Ok(self.bytes.into())
    }
}

/// The checksum of a chunk: of its entries and, since they are written as they are now, of its version too.
fn checksum(version: u16, entries: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    if version & CURRENT != 0 {
        checksum.update(&version.to_be_bytes());
    }
    checksum.update(entries);
    checksum.finalize()
}

/// What a chunk holds, if it says so in words.
pub(crate) fn words(chunk: &Chunk) -> Option<&str> {
    let (BucketChange::Append(bytes) | BucketChange::Replace(bytes)) = &chunk.change else {
        return None;
    };
    let (version, rest) = bytes.split_first_chunk()?;
    let is_said = u16::from_be_bytes(*version) & (CURRENT | IN_WORDS) == CURRENT | IN_WORDS;
    split_words(rest).filter(|_| is_said)?.1
}

/// What stands at the end of a chunk, in words.
fn split_words(entries: &[u8]) -> Option<(&[u8], Option<&str>)> {
    let (rest, len) = entries.split_last_chunk()?;
    let (entries, words) =
        rest.split_at_checked(rest.len().checked_sub(u16::from_be_bytes(*len).into())?)?;
    // A very long text may be cut anywhere.
    let words = words.utf8_chunks().next().map_or("", |first| first.valid());
    Some((entries, Some(words)))
}

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
        let decoder = |entries| ValueDecoder::new(entries, Vec::new(), false);
        let (name, bucket) = (&*chunk.operator, chunk.bucket);
        let bytes: &[u8] = match &chunk.change {
            BucketChange::Append(bytes) | BucketChange::Replace(bytes) => bytes,
            BucketChange::Drop => {
                return Ok(Self {
                    format,
                    entries: None,
                    decoder: decoder(&[]),
                    older: None,
                    words: None,
                    emptied_at_end: false,
                    name,
                    bucket,
                });
            }
        };
        let what = format!("restore state of operator {name:?}, bucket {bucket}");
        let torn = || {
            Error::permanent(format!(
                "{what}: the chunk is torn or damaged ({} bytes); bring the place back from a copy, or reset the \
                 job, which removes its positions, state and results",
                bytes.len()
            ))
        };
        let (header, entries) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(torn)?;
        let (found, found_checksum) = header.split_at_checked(2).ok_or_else(torn)?;
        let found = u16::from_be_bytes(found.try_into().map_err(|_| torn())?);
        if found_checksum != checksum(found, entries).to_be_bytes() {
            return Err(torn());
        }
        let (entries, words) = match found & IN_WORDS {
            0 => (entries, None),
            _ => split_words(entries).ok_or_else(torn)?,
        };
        let older = (found & CURRENT == 0).then_some(entries);
        let emptied_at_end = found & EMPTIED_AT_END != 0;
        let known = if older.is_some() { format.older_version } else { format.version };
        if found & VERSIONS != known {
            let words = words.map(|words| format!(" `{words}`")).unwrap_or_default();
            return Err(Error::config(format!(
                "{what}: it was stored as{words} version {}, and this program has `{}` version {known}; {}",
                found & VERSIONS,
                format.of,
                ways_out(emptied_at_end)
            )));
        }
        let decoder = decoder(entries);
        Ok(Self { format, entries: None, decoder, older, words, emptied_at_end, name, bucket })
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
            let len = before.len() - self.decoder.rest().len();
            let written = before.get(..len).unwrap_or_default();
            let same = compare(&entry, (written, &known), true);
            same.map_err(|failure| self.refused::<E>(&failure))?;
        }
        Ok(Some(entry))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(bytes: Bytes) -> Chunk {
        Chunk { operator: "windows".into(), bucket: 7, change: BucketChange::Append(bytes) }
    }

    fn written() -> Bytes {
        let mut writer = ChunkWriter::new(3);
        writer.put(&("a".to_owned(), 1_i64));
        writer.put(&("b".to_owned(), i64::MIN));
        writer.finish().unwrap()
    }

    #[test]
    fn entries_come_back_in_order() {
        let chunk = chunk(written());
        let mut reader = ChunkReader::open(&chunk, 3).unwrap();
        assert_eq!(reader.next_entry::<(String, i64)>().unwrap(), Some(("a".into(), 1)));
        assert_eq!(reader.next_entry::<(String, i64)>().unwrap(), Some(("b".into(), i64::MIN)));
        assert_eq!(reader.next_entry::<(String, i64)>().unwrap(), None);
    }

    #[test]
    fn damage_at_any_byte_and_any_length_is_an_error_and_never_a_panic() {
        let whole = written();
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0x40;
            let damaged = chunk(bytes.into());
            assert!(ChunkReader::open(&damaged, 3).is_err(), "byte {at}");
            assert!(ChunkReader::open(&chunk(whole.slice(..at)), 3).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn another_version_names_both() {
        let error = ChunkReader::open(&chunk(written()), 4).unwrap_err();
        assert!(error.is_config());
        assert!(error.to_string().contains("version 3") && error.to_string().contains("version 4"));
    }
}
