//! How much was emitted of the windows that are being emitted, as the place knows it.

use crate::chunk::Chunk;
use crate::error::Result;
use crate::operators::Snapshot;
use crate::state::{ChunkReader, ChunkWriter, Format};

/// What is in it.
const COUNTS: &str = "emitted results";

/// By the ends of windows, how many entries of the log of each were emitted, as the place knows it.
#[derive(Debug, Default)]
pub(crate) struct Emitted(Vec<(i64, usize)>);

impl Emitted {
    /// Hands over how much was emitted, if the place knows otherwise.
    pub(crate) fn write(
        &mut self,
        emitted: Vec<(i64, usize)>,
        (bucket, version): (i64, u16),
        snapshot: &mut Snapshot,
    ) {
        if self.0 == emitted {
            return;
        }
        self.0 = emitted;
        if self.0.is_empty() {
            return snapshot.drop_bucket(bucket);
        }
        let mut entries = ChunkWriter::new(Format::new(version, COUNTS));
        self.0.iter().for_each(|emitted| entries.put(emitted));
        snapshot.replace(bucket, entries);
    }

    /// Takes back what was handed over.
    pub(crate) fn restore(&mut self, version: u16, chunk: &Chunk) -> Result<()> {
        let mut entries = ChunkReader::open(chunk, Format::new(version, COUNTS))?;
        while let Some(emitted) = entries.next_entry()? {
            self.0.push(emitted);
        }
        Ok(())
    }

    /// What the place knows.
    pub(crate) fn logged(&self) -> Vec<(i64, usize)> {
        self.0.clone()
    }
}
