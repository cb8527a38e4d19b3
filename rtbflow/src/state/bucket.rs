//! When the log of a bucket has outgrown its live content.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::state::{ChunkWriter, Format};

/// Counts what a bucket's log holds in the place, and says when one fresh chunk is cheaper.
///
/// The rule is that of a log-structured store with one level: the log is rewritten once it holds more
/// than twice as many entries as are alive, and at least 64 of them, so that each entry is written
/// at most three times on average and a restart reads at most twice what is alive.
#[derive(Debug, Default)]
pub struct Bucket {
    logged_count: usize,
    /// If a chunk of the log says in words what the operator's state is.
    words: Option<Said>,
}

/// For as long as this is there, no other bucket of the operator needs to say it.
#[derive(Debug)]
struct Said(Arc<AtomicBool>);

impl Drop for Said {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Bucket {
    /// Whether a bucket with this many live entries, `changed` of which are to be written now, should
    /// be written whole. Counts what will be written either way.
    pub fn rewrites(&mut self, live: usize, changed: usize) -> bool {
        const LEAST: usize = 64;
        let after = self.logged_count + changed;
        let rewrite = after > LEAST.max(live.saturating_mul(2));
        self.logged_count = if rewrite { live } else { after };
        if rewrite {
            self.words = None;
        }
        rewrite
    }

    /// The writer of the next chunk of the bucket's log, once it is known whether it
    /// [rewrites](Self::rewrites) it. One chunk of the operator's state says in words what the state is.
    pub fn writer(&mut self, format: &Format) -> ChunkWriter {
        let writer = ChunkWriter::new(format.clone());
        if !format.said.swap(true, Ordering::Relaxed) {
            self.words = Some(Said(Arc::clone(&format.said)));
        }
        writer
    }

    /// Counts entries that were read back from the place.
    pub fn restored(&mut self, count: usize) {
        self.logged_count += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_never_holds_more_than_twice_what_is_alive() {
        let mut bucket = Bucket::default();
        let mut written = 0;
        for _ in 0..1000 {
            written += if bucket.rewrites(200, 50) { 200 } else { 50 };
            assert!(bucket.logged_count <= 400);
        }
        assert!(written < 1000 * 50 * 3, "{written}");
    }
}
