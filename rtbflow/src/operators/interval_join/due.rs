//! When the records of a join are decided.

use super::Touch;
use crate::operators::Outbox;
use crate::record::Record;
use crate::time::Timestamp;

/// A record is decided once the watermark has passed this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) at: i64,
    pub(super) is_right: bool,
    pub(super) slot: u32,
}

/// Whether a watermark says that no record of this time comes any more.
#[inline]
pub(super) fn passed(watermark: i64, time: i64) -> bool {
    time < watermark || watermark == i64::MAX
}

/// When nothing can join a right record of this time any more: once no left record comes that reaches it, and
/// none waits that may still choose it.
#[inline]
pub(super) fn right_due(touch: Touch, (lower, upper): (i64, i64), timestamp: i64) -> i64 {
    let last_left = timestamp.saturating_sub(lower);
    if touch == Touch::All { last_left } else { last_left.saturating_add(upper.max(0)) }
}

/// Emits a record without a partner, if those of its side are emitted.
pub(super) fn out_alone<U>(alone: Option<U>, time: i64, out: &mut Outbox<U>) {
    if let Some(alone) = alone {
        out.push(Record::derived(alone, Timestamp::from_millis(time)));
    }
}
