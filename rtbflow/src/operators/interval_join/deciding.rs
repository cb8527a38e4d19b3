//! The records that a watermark decides: a portion at a time, with barriers in between.

use super::due::Due;
use crate::chunk::Chunk;
use crate::error::Result;
use crate::operators::Snapshot;
use crate::state::{ChunkReader, ChunkWriter, Format};

/// What the log says of records that were decided.
const GONE: &str = "decided records";

/// What is being decided.
#[derive(Debug, Default)]
pub(super) struct Deciding {
    /// The watermark before the one by which records are being decided.
    pub(super) before: Option<i64>,
    pub(super) left: std::vec::IntoIter<Due>,
    /// Kept for its memory.
    pub(super) spare: Vec<Due>,
    /// Those of the log that were decided: the bucket of each, and its number there.
    pub(super) gone: Vec<(i64, u32)>,
    /// How many of them the place knows, where it is known.
    gone_logged: Option<usize>,
    /// By which watermark records are being decided, as the place knows it.
    pub(super) logged: Option<i64>,
    /// Whether that began before a restart.
    pub(super) resumed: bool,
}

impl Deciding {
    /// The place has none of those any more that were decided.
    pub(super) fn forget(&mut self) {
        self.gone.clear();
        self.gone_logged = None;
    }

    /// All is decided.
    pub(super) fn finish(&mut self) {
        self.before = None;
        if self.logged.is_none() {
            self.gone.clear();
        }
    }

    /// Hands over what changed: in the first of two buckets the watermark, in the second what was decided.
    pub(super) fn snapshot(
        &mut self,
        version: u16,
        watermark: i64,
        (deciding, gone): (i64, i64),
        snapshot: &mut Snapshot,
    ) {
        if self.before.is_none() {
            return self.drop_logged((deciding, gone), snapshot);
        }
        if self.logged != Some(watermark) {
            self.logged = Some(watermark);
            let mut entry = ChunkWriter::new(Format::of_watermark(version));
            entry.put(&watermark);
            snapshot.replace(deciding, entry);
        }
        self.write_gone(version, gone, snapshot);
    }

    /// Nothing is being decided: what the log has of that is dropped.
    fn drop_logged(&mut self, (deciding, gone): (i64, i64), snapshot: &mut Snapshot) {
        if self.logged.take().is_some() {
            snapshot.drop_bucket(deciding);
            snapshot.drop_bucket(gone);
            self.gone.clear();
            self.gone_logged = Some(0);
        }
    }

    /// Hands over which were decided since the last barrier.
    fn write_gone(&mut self, version: u16, bucket: i64, snapshot: &mut Snapshot) {
        let known = self.gone_logged.replace(self.gone.len());
        if known == self.gone_logged {
            return;
        }
        let mut entries = ChunkWriter::new(Format::new(version, GONE));
        // What is not known to be there is written whole.
        self.gone.iter().skip(known.unwrap_or(0)).for_each(|gone| entries.put(gone));
        match known {
            None => snapshot.replace(bucket, entries),
            Some(_) => snapshot.append(bucket, entries),
        }
    }

    /// Takes back what was handed over.
    pub(super) fn restore(&mut self, version: u16, chunk: &Chunk, deciding: i64) -> Result<()> {
        if chunk.bucket == deciding {
            self.logged = ChunkReader::open(chunk, Format::of_watermark(version))?.only_entry()?;
            return Ok(());
        }
        let mut entries = ChunkReader::open(chunk, Format::new(version, GONE))?;
        while let Some(gone) = entries.next_entry()? {
            self.gone.push(gone);
        }
        Ok(())
    }
}
