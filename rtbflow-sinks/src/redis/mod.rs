//! Redis as the place: results, state and positions in one script.
//!
//! ```text
//!   sinks ── operations ──▶ epoch ──▶ EVALSHA commit.lua
//!                                       1 compare positions      differ: nothing happens
//!                                       2 write them as they are the server may refuse that
//!                                       3 apply operations       each notes what undoes it
//!                                       4 append chunks of state
//!                                       5 move the positions
//! ```
//!
//! **What is guaranteed.** A script runs alone, so nobody sees half an epoch, and an epoch is applied
//! once whatever is killed, cut off or sent twice. Redis does not roll back; the script does, by what each of its
//! writes notes beforehand. So either an epoch is there whole or nothing of it is:
//!
//! - What Redis refuses *for what it is* (a sum beyond 64 bits, a key that holds something else, an error of a
//!   function of one's own) becomes a dead letter, and the rest of its epoch is applied.
//! - What the server refuses *for its own reasons* moves nothing. Out of memory, read-only and unable to persist
//!   are waited for; missing rights and commands are a configuration error at the start, as far as
//!   [`Options::uses`] says what will be needed, or at the first commit, and are waited for once a commit has
//!   succeeded.
//!
//! **What is not.** The guarantee is as durable as the server: with `appendfsync everysec` a crash of
//! the machine loses the last second, of results and positions alike, and the records are read again
//! and applied again to what was lost, once. A fail-over to a replica that was behind does the same. What a cut-off
//! primary takes meanwhile is limited by `min-replicas-to-write`, from Redis 7.0 on: 6.2.5 was seen to run scripts, by
//! which everything here is written, whatever that says (`findings/redis-script-min-replicas.sh`).
//! Several servers as a Redis Cluster are refused, since the keys of one script have to be in one place. Rights
//! that allow one command on a key and forbid another (selectors that differ for keys of one sink) can keep a
//! script from taking back what it has written: the job then stops, and says so.
//!
//! [`get`](Redis::get) and [`get_hash`](Redis::get_hash) look up keys for
//! [`lookup`](rtbflow::KeyedFlow::lookup), outside any commit.
//!
//! **Keys of its own**: `rtbflow:{job}:positions`, `…:claimed`, `…:tasks`, `…:state:{task}/{tasks}` (an index, and with a
//! bucket behind it a list of chunks), while a script runs `…:aside…`, and `…:forgetting` while the job is
//! forgotten. Nothing scans for them.

mod anchor;
mod arguments;
mod batch;
mod call;
mod checksum;
mod claim;
mod commit;
mod failure;
mod follow_up;
mod follow_ups;
mod forget;
mod get;
mod inspect;
mod keys;
mod library;
mod merges;
mod operations;
mod options;
mod packed;
mod pattern;
mod place;
mod plan;
mod positions;
mod reply;
mod restore;
mod rights;
mod session;
mod sinks;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;

pub use arguments::Call;
pub use operations::Operations;
pub use options::Options;
pub use pattern::Pattern;
pub use place::Redis;
pub use rights::{MERGE_HASH, OWN_KEYS, WRITE};
pub use sinks::{MergeHash, Script, Write};
