//! What the benchmarks share: seeded records, a stream that replays them, and the hand-written loops that
//! stand beside the operators and do the same.

mod by_hand;
mod join_by_hand;
mod records;
mod replay;
mod traffic;

pub use by_hand::{
    dedup_by_hand, filter_map_by_hand, filter_map_over_slice, latest_by_hand, windows_by_hand,
    windows_over_slice,
};
pub use join_by_hand::last_touch_by_hand;
pub use records::{Ad, AdEvent, AdEventType, Charge, Performance, Totals, ads};
pub use replay::{Replay, drain};
pub use traffic::{Running, Traffic};
