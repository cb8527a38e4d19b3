//! The operators: one file each, with the method, the type behind it, an example and its tests.
//!
//! Operators without state (`map`, `filter`, …) are small stream adaptors. Those with state are pure
//! [`Logic`] behind the one poll loop in `stateful`: no `Pin`, no `Poll` and no waiting in a window or a
//! join. They know neither the wall clock nor an async runtime nor how epochs are committed.
//!
//! Every operator passes watermarks and barriers on, once and in order.

mod batch;
mod combine;
mod connect;
mod dead_letter;
mod debounce;
mod dedup;
mod delay;
mod earliest;
mod event_time;
mod filter;
mod filter_map;
mod flat_map;
mod in_order;
mod inspect;
pub mod interval_join;
mod join_table;
mod key_by;
mod key_by_either;
mod late;
mod latest_by;
mod lookup;
mod map;
mod map_async;
mod map_record;
pub mod process;
mod sample;
mod scan;
mod split;
mod split_by;
mod stateful;
mod stateless;
mod tee;
mod throttle;
mod to;
mod union;
pub mod window;
mod window_join;

pub use crate::lookup::{Batched, Failed};
pub use connect::Connected;
pub use dedup::Dedup;
pub use earliest::First;
pub use join_table::TableJoin;
pub use late::{Late, LateFlow, Undecided};
pub use latest_by::{Change, Latest};
pub use lookup::Lookup;
pub use map_async::Calls;
pub use split::{ByKind, LeftBranch, RightBranch, Route, Routed};
pub use split_by::ByCondition;
pub use stateful::{Logic, Outbox, Snapshot};
pub use tee::Copies;
pub use window_join::{BothSides, EitherKey, Pairs};
