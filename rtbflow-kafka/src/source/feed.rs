//! An opened topic, as the job sees it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rtbflow::epoch::Position;
use rtbflow::source::{Feed, RawBatch, SourceEvent};
use rtbflow::{Error, Partition, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::warn;

use crate::source::mailbox::ReaderMailbox;
use crate::source::reader::Event;

/// How long closing waits for the broker to take note.
const LONGEST_LEAVE: Duration = Duration::from_secs(5);

/// An opened [`KafkaTopic`](crate::KafkaTopic). Dropping it leaves the group too, in the background.
pub struct KafkaFeed {
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) mailbox: Arc<ReaderMailbox>,
    pub(crate) left: oneshot::Receiver<()>,
}

impl fmt::Debug for KafkaFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KafkaFeed")
    }
}

impl Feed for KafkaFeed {
    type Batch = RawBatch;

    async fn next(&mut self) -> Result<SourceEvent<RawBatch>> {
        let ended = || {
            Err(Error::transient(
                "read Kafka: the reading thread has ended; the source is opened again",
            ))
        };
        self.events.recv().await.unwrap_or_else(ended)
    }

    fn committed(&mut self, positions: &[(Partition, Position)]) {
        // A partition that stands nowhere yet has nothing to show.
        let known = positions
            .iter()
            .filter_map(|(partition, position)| position.offset.map(|offset| (*partition, offset)));
        self.mailbox.update(|slots| slots.committed.extend(known));
    }

    async fn close(mut self) {
        self.mailbox.update(|slots| slots.close = true);
        if timeout(LONGEST_LEAVE, &mut self.left).await.is_err() {
            warn!(
                "leave the consumer group: Kafka does not answer within {LONGEST_LEAVE:?}; its partitions go to other \
                 instances after session.timeout.ms"
            );
        }
    }
}

impl Drop for KafkaFeed {
    fn drop(&mut self) {
        self.mailbox.update(|slots| slots.close = true);
    }
}
