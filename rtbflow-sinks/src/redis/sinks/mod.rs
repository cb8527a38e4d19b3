//! The sinks: merged hashes, operations on keys, and the pipeline's own Lua.

mod merge_hash;
mod script;
mod write;

pub use merge_hash::MergeHash;
pub use script::Script;
pub use write::Write;
