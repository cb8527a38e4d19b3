//! Where a chunk says what it is: its version, its checksum and, at its end, what it holds in words.

use crate::chunk::{BucketChange, Chunk};

/// Version and checksum.
pub(super) const HEADER_BYTES: usize = 6;
/// In the version of a chunk whose entries are written as they are now; without it, as in [`older`](crate::state::older).
pub(super) const CURRENT: u16 = 0x8000;
/// In the version of a chunk that says at its end, in words, what it holds: a text and its length.
pub(super) const IN_WORDS: u16 = 0x4000;
/// In the version of a chunk of which nothing is left at the end of all time.
pub(super) const EMPTIED_AT_END: u16 = 0x2000;
/// What is left for the version of an operator's state.
pub(super) const VERSIONS: u16 = 0x1fff;

/// The checksum of a chunk: of its entries and, since they are written as they are now, of its version too.
pub(super) fn checksum(version: u16, entries: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    if version & CURRENT != 0 {
        checksum.update(&version.to_be_bytes());
    }
    checksum.update(entries);
    checksum.finalize()
}

/// The version that a chunk says, its entries and, if it has them, what it holds in words; `None` if it is torn or
/// damaged.
pub(super) fn unframe(bytes: &[u8]) -> Option<(u16, &[u8], Option<&str>)> {
    let (header, entries) = bytes.split_at_checked(HEADER_BYTES)?;
    let (version, found) = header.split_first_chunk()?;
    let version = u16::from_be_bytes(*version);
    if found != checksum(version, entries).to_be_bytes() || is_damaged(version) {
        return None;
    }
    let (entries, words) = match version & IN_WORDS {
        0 => (entries, None),
        _ => split_words(entries)?,
    };
    Some((version, entries, words))
}

/// Whether this is the version of no chunk. The checksum of those that are written as they once were leaves the version
/// out: a bit of what came later is damage there, and would take bytes of the entries for words.
fn is_damaged(version: u16) -> bool {
    version & CURRENT == 0 && version & (IN_WORDS | EMPTIED_AT_END) != 0
}

/// What a chunk holds, if it says so in words.
pub(crate) fn words(chunk: &Chunk) -> Option<&str> {
    let (BucketChange::Append(bytes) | BucketChange::Replace(bytes)) = &chunk.change else {
        // That a bucket ends says nothing of what was in it.
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
