//! The bytes of a chunk: a version, a checksum, then entries in MessagePack.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::state::{Change, Chunk};

const HEADER_BYTES: usize = 6;

/// Writes the entries of one chunk.
///
/// Layout: two bytes of version (big endian), four bytes CRC-32 of what follows, then the entries in
/// [MessagePack](https://github.com/msgpack/msgpack/blob/master/spec.md), one after another.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    failure: Option<rmp_serde::encode::Error>,
}

impl Writer {
    /// A writer for entries of this version of the operator's state.
    #[must_use]
    pub fn new(version: u16) -> Self {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.resize(HEADER_BYTES, 0);
        Self { bytes, failure: None }
    }

    /// Adds an entry.
    pub fn put<E: Serialize>(&mut self, entry: &E) {
        if let Err(error) = rmp_serde::encode::write(&mut self.bytes, entry) {
            self.failure.get_or_insert(error);
        }
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
    /// If an entry could not be written: its type has no MessagePack form.
    pub fn finish(mut self) -> Result<Bytes> {
        if let Some(error) = self.failure {
            return Err(Error::permanent("encode an operator's state").because(error));
        }
        if let Some((header, entries)) = self.bytes.split_at_mut_checked(HEADER_BYTES)
            && let Some(checksum) = header.get_mut(2..)
        {
            checksum.copy_from_slice(&crc32fast::hash(entries).to_be_bytes());
        }
        Ok(self.bytes.into())
    }
}

/// Reads the entries of one chunk.
#[derive(Debug)]
pub struct Reader<'a> {
    entries: &'a [u8],
    name: &'a str,
    bucket: i64,
}

impl<'a> Reader<'a> {
    /// Checks the frame of a chunk and opens it.
    ///
    /// # Errors
    /// If the chunk is of another version, torn or damaged. The message names operator and bucket and
    /// says what can be done.
    pub fn open(chunk: &'a Chunk, version: u16) -> Result<Self> {
        let bytes: &[u8] = match &chunk.change {
            Change::Append(bytes) | Change::Replace(bytes) => bytes,
            Change::Drop => {
                return Ok(Self { entries: &[], name: &chunk.operator, bucket: chunk.bucket });
            }
        };
        let what =
            format!("restore state of operator {:?}, bucket {}", chunk.operator, chunk.bucket);
        let torn = || {
            Error::permanent(format!(
                "{what}: the chunk is torn or damaged ({} bytes); drop the job's state and positions to rebuild it from the source",
                bytes.len()
            ))
        };
        let (header, entries) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(torn)?;
        let (found, checksum) = header.split_at_checked(2).ok_or_else(torn)?;
        if checksum != crc32fast::hash(entries).to_be_bytes() {
            return Err(torn());
        }
        if found != version.to_be_bytes() {
            return Err(Error::config(format!(
                "{what}: it has version {}, this program knows version {version}; run the program that wrote it, or drop the job's state and positions to rebuild it from the source",
                u16::from_be_bytes([
                    found.first().copied().unwrap_or(0),
                    found.get(1).copied().unwrap_or(0)
                ])
            )));
        }
        Ok(Self { entries, name: &chunk.operator, bucket: chunk.bucket })
    }

    /// The next entry; `None` after the last.
    ///
    /// # Errors
    /// If the bytes are not an entry of this type: the type changed and its version did not.
    pub fn next_entry<E: DeserializeOwned>(&mut self) -> Result<Option<E>> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        rmp_serde::decode::from_read(&mut self.entries).map(Some).map_err(|error| {
            Error::config(format!(
                "decode state of operator {:?}, bucket {}: its type changed; raise the version of its state",
                self.name, self.bucket
            ))
            .because(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(bytes: Bytes) -> Chunk {
        Chunk { operator: "windows".into(), bucket: 7, change: Change::Append(bytes) }
    }

    fn written() -> Bytes {
        let mut writer = Writer::new(3);
        writer.put(&("a", 1_i64));
        writer.put(&("b", i64::MIN));
        writer.finish().unwrap()
    }

    #[test]
    fn entries_come_back_in_order() {
        let chunk = chunk(written());
        let mut reader = Reader::open(&chunk, 3).unwrap();
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
            assert!(Reader::open(&damaged, 3).is_err(), "byte {at}");
            assert!(Reader::open(&chunk(whole.slice(..at)), 3).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn another_version_names_both() {
        let error = Reader::open(&chunk(written()), 4).unwrap_err();
        assert!(error.is_config());
        assert!(error.to_string().contains("version 3") && error.to_string().contains("version 4"));
    }
}
