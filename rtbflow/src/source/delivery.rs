//! What comes out of one partition.

use crate::log::Log;
use crate::time::Timestamp;

/// What comes out of one partition, in order.
#[derive(Debug)]
pub enum Delivery<B> {
    /// Records of ascending offsets, each above all before.
    Batch(B),
    /// A proof that at the time `asked` everything up to the end of the partition had been handed over.
    AtEnd {
        /// The wall-clock time when the question was sent.
        asked: Timestamp,
        /// The offset that reading stands at: the end, past what is never handed over (transaction
        /// markers, aborted records).
        offset: i64,
    },
    /// Where reading stands: everything below has been handed over, or is never handed over (transaction
    /// markers, aborted records). A source tells so when it begins, when another leader's term begins, and
    /// when it has passed something that is no record; one whose logs have no ids need not.
    Reached {
        /// The next offset.
        offset: i64,
        /// Which log it is of.
        log: Option<Log>,
        /// Whether the log is another one than that of the position that was given, and is read from its
        /// beginning by choice: then the offset holds even if it is lower.
        anew: bool,
    },
    /// The partition has been read to the end that was agreed on; nothing follows.
    Finished,
}
