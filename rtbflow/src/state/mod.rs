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
//! outgrown its live content; [`ChunkWriter`] and [`ChunkReader`] frame the bytes with a version and a checksum.
//! [`KeyedState`] is all of this for a table whose entries expire.

mod bucket;
mod format;
mod frame;
mod keyed_state;
mod older;
mod snapshot;

pub use bucket::Bucket;
pub(crate) use frame::words;
pub use frame::{ChunkReader, ChunkWriter, Format};
pub use keyed_state::{KeyedState, SlotId};
pub use snapshot::Snapshot;

pub use crate::chunk::{BucketChange, Chunk};

/// The name of a type, without where it is and what it is made of: what stays the same when code moves.
pub(crate) fn short_name<T: ?Sized>() -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}
