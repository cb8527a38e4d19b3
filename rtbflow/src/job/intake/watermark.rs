//! The watermark of a task: how far its partitions are, and when it is sent on.

use crate::job::intake::Intake;
use crate::source::Batch;
use crate::time::Timestamp;

impl<B: Batch> Intake<B> {
    /// Takes into the watermark what was taken since. Whether it may have risen.
    #[inline]
    fn raise_watermark(&mut self) -> bool {
        if self.restoring || !std::mem::take(&mut self.stale) {
            return false;
        }
        let mut lowest: Option<Timestamp> = None;
        for lane in &self.lanes {
            match lane.event_time {
                Some(event_time) => {
                    let own = event_time - lane.out_of_orderness;
                    lowest = Some(lowest.map_or(own, |lowest| lowest.min(own)));
                }
                None if lane.idle.is_some_and(|idle| idle.ticks) || lane.finished => {}
                // Nothing is known of it yet: its first record may be earlier than all others.
                None => return false,
            }
        }
        // A partition that begins late, or steps back with a log made anew, does not pull it down.
        self.watermark = self.watermark.max(lowest);
        true
    }

    /// The watermark, if results are due by it: were it to come with the record behind it, no barrier could
    /// pass before the last of them, since that record was taken.
    #[inline]
    pub(super) fn due_watermark(&mut self) -> Option<Timestamp> {
        let risen = self.raise_watermark().then_some(self.watermark).flatten();
        let due = risen.filter(|watermark| self.activity.is_due(*watermark))?;
        if self.sent >= self.watermark {
            return None;
        }
        self.activity.alone();
        self.sent = self.watermark;
        Some(due)
    }

    /// The watermark, if it was not sent on by itself: before the chain waits, and before a barrier.
    pub(super) fn unsent_watermark(&mut self) -> Option<Timestamp> {
        self.raise_watermark();
        if self.restoring || self.watermark <= self.sent {
            return None;
        }
        self.sent = self.watermark;
        self.watermark
    }
}
