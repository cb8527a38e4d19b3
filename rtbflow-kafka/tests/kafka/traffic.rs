//! Traffic into topics for as long as a test wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use crate::server::{producer, write_with};

/// Records that are written into all partitions of some topics, ten at a time, until it ends.
pub(crate) struct Traffic {
    writing: Arc<AtomicBool>,
    written: JoinHandle<usize>,
}

impl Traffic {
    /// Begins to write into these topics, which have this many partitions.
    pub(crate) fn begin(topics: &[(String, i32)]) -> Self {
        let (topics, writing) = (topics.to_vec(), Arc::new(AtomicBool::new(true)));
        let goes_on = Arc::clone(&writing);
        let written = tokio::spawn(async move {
            let (producer, mut written) = (producer(), 0);
            while goes_on.load(Ordering::Relaxed) {
                for (topic, partitions) in &topics {
                    for partition in 0..*partitions {
                        write_with(&producer, topic, partition, 0..10).await;
                        written += 10;
                    }
                }
            }
            written
        });
        Self { writing, written }
    }

    /// Stops; returns how many records were written.
    pub(crate) async fn end(self) -> usize {
        self.writing.store(false, Ordering::Relaxed);
        self.written.await.unwrap()
    }
}
