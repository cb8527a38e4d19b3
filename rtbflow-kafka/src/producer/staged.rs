//! What a sink of records has staged, and what of it is still to be written.

use std::sync::Arc;

use rtbflow::epoch::{Epoch, RefusedResult};
use rtbflow::sink::{Place, StagedRows};
use rtbflow::{BadRecord, Error, Origin};

use crate::producer::batch::{Message, RecordBatch};

/// A record is larger than its topic takes.
pub(crate) fn too_large(bytes: usize, topic: &str, most: usize) -> BadRecord {
    BadRecord::new(format!("it has {bytes} bytes and {topic} takes {most} (max.message.bytes)"))
}

/// A record as a dead letter carries it that no place takes.
pub(super) fn meant_for(topic: &Arc<str>, message: &Message<'_>) -> RefusedResult {
    let key = message.key.map(<[u8]>::to_vec);
    let mut result = RefusedResult::default().meant_for(Arc::clone(topic), key);
    result.value = message.value.map(<[u8]>::to_vec);
    result
}

/// What a sink stages. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct SinkBatch {
    pub(super) topic: Arc<str>,
    pub(super) records: Arc<RecordBatch>,
    /// Where the records were read that those of the batch were made of.
    pub(super) origins: Arc<[Option<Origin>]>,
}

impl StagedRows for SinkBatch {
    fn origin(&self, row: usize) -> Option<Origin> {
        self.origins.get(row).copied().flatten()
    }

    fn result(&self, row: usize) -> RefusedResult {
        let message = self.records.messages().nth(row);
        message.map_or_else(RefusedResult::default, |message| meant_for(&self.topic, &message))
    }
}

/// A batch on its way: without the rows that were refused.
#[derive(Debug, Clone)]
pub(crate) struct StagedBatch {
    /// The number of its epoch among those that are written together.
    pub(crate) epoch: usize,
    /// Its number among all that the epoch has staged.
    pub(crate) staged: usize,
    batch: SinkBatch,
    refused: Vec<usize>,
}

impl StagedBatch {
    /// The batches that are staged for a place, in order.
    pub(crate) fn of(
        (epoch_number, epoch): (usize, &Epoch),
        place: Place,
    ) -> impl Iterator<Item = rtbflow::Result<Self>> {
        let ours = epoch.staged.iter().enumerate().filter(move |(_, staged)| staged.place == place);
        ours.map(move |(number, staged)| {
            let batch = staged.batch::<SinkBatch>().cloned().ok_or_else(|| {
                Error::permanent("write to Kafka what no sink of this place has staged: let this anchor or writer make \
                     the sink (`records`)")
            })?;
            let refused = staged.refused().to_vec();
            Ok(Self { epoch: epoch_number, staged: number, batch, refused })
        })
    }

    pub(crate) fn topic(&self) -> &str {
        &self.batch.topic
    }

    /// Its rows, each with its number in the batch.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (usize, Message<'_>)> {
        let rows = self.batch.records.messages().enumerate();
        rows.filter(|(row, _)| self.refused.binary_search(row).is_err())
    }
}
