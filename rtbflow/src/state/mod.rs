//! State as a log: memory holds the truth, the place holds what changed.
//!
//! An operator keeps its state in **buckets**: windows and joins by time, tables without an end by a
//! hash of the key. When a barrier passes it hands over what changed since the last one as
//! [`Chunk`]s, and the anchor stores them in the same step as the results:
//!
//! ```text
//!   Append  the entries that changed        →  one more element of the bucket's list
//!   Replace the whole bucket, freshly       →  the list becomes this one element
//!   Drop    the bucket has ended            →  the list goes
//! ```
//!
//! On assignment the chunks come back bucket by bucket, in order. [`Bucket`] decides when a log has
//! outgrown its live content; [`Writer`] and [`Reader`] frame the bytes with a version and a checksum.
//! [`KeyedState`] is all of this for a table whose entries expire.

mod bucket;
mod format;
mod frame;
mod keyed_state;
mod older;
mod segment;
mod snapshot;

use std::sync::Arc;

use bytes::Bytes;

pub use bucket::Bucket;
pub(crate) use frame::words;
pub use frame::{Format, Reader, Writer};
pub use keyed_state::{KeyedState, SlotId};
pub use snapshot::Snapshot;

/// The name of a type, without where it is and what it is made of: what stays the same when code moves.
pub(crate) fn short_name<T: ?Sized>() -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

/// A change of one bucket of one operator's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The operator's name.
    pub operator: Arc<str>,
    /// The bucket: what it means is the operator's own business.
    pub bucket: i64,
    /// What becomes of it.
    pub change: Change,
}

/// What becomes of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These bytes follow the ones before.
    Append(Bytes),
    /// These bytes take the place of all before.
    Replace(Bytes),
    /// The bucket ends.
    Drop,
}

impl Chunk {
    /// The end of a bucket.
    #[must_use]
    pub fn drop_bucket(operator: Arc<str>, bucket: i64) -> Self {
        Self { operator, bucket, change: Change::Drop }
    }

    /// Bytes that the change adds to the log.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.change {
            Change::Append(bytes) | Change::Replace(bytes) => bytes.len(),
            Change::Drop => 0,
        }
    }

    /// Whether the change adds nothing to the log.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
