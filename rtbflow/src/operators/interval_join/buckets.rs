//! Which records of a side are in which bucket of the log.

use std::collections::VecDeque;

use super::keys::NONE;
use crate::bounded::entry_number;
use crate::error::Error;
use crate::state::Bucket;

/// A side's records are held in this many spans of time, and one more: a span is what is dropped at once.
const SPANS: i64 = 256;
/// The shortest span.
const LEAST_SPAN_MS: i64 = 100;

/// The buckets of one side, in order of their time.
#[derive(Debug)]
pub(super) struct Buckets {
    pub(super) open: VecDeque<TimeBucket>,
    /// Buckets that the place has and that are to be dropped there.
    pub(super) ended: Vec<i64>,
    span_ms: i64,
    hold_ms: i64,
    side: i64,
}

/// The records of one span of time.
#[derive(Debug)]
pub(super) struct TimeBucket {
    /// What the log knows it by: the number of the span times two, and one more for the right side.
    pub(super) id: i64,
    /// The slots of its records by their number in the log; [`NONE`] for one that is gone.
    pub(super) slots: Vec<u32>,
    /// How many of these numbers the log knows.
    pub(super) logged_count: usize,
    /// Records of the log that have got a partner since.
    pub(super) marks: Vec<u32>,
    pub(super) live_count: usize,
    pub(super) log: Bucket,
}

impl TimeBucket {
    pub(super) fn new(id: i64) -> Self {
        let (slots, marks, log) = (Vec::new(), Vec::new(), Bucket::default());
        Self { id, slots, logged_count: 0, marks, live_count: 0, log }
    }

    /// Adds a record; returns its number.
    pub(super) fn add(&mut self, slot: u32) -> u32 {
        self.slots.push(slot);
        self.live_count += 1;
        entry_number(self.slots.len() - 1)
    }
}

impl TimeBucket {
    /// How much changed that the log does not have: records that came, and those of the log that have got a partner
    /// and are still there.
    pub(super) fn changed(&mut self) -> usize {
        let Self { slots, marks, .. } = self;
        marks.retain(|number| slots.get(*number as usize) != Some(&NONE));
        let fresh = slots.iter().skip(self.logged_count);
        fresh.filter(|slot| **slot != NONE).count() + marks.len()
    }

    /// Gives the numbers of records that are gone, and that the log never had, to others.
    pub(super) fn close_gaps(&mut self) {
        let (mut number, kept) = (0, self.logged_count);
        self.slots.retain(|slot| {
            number += 1;
            number <= kept || *slot != NONE
        });
    }

    /// Drops a record.
    pub(super) fn take(&mut self, number: u32) -> Option<u32> {
        let slot = self.slots.get_mut(number as usize).filter(|slot| **slot != NONE)?;
        self.live_count -= 1;
        Some(std::mem::replace(slot, NONE))
    }
}

impl Buckets {
    /// The buckets of the left side, 0, or the right, 1, whose records are held for this long after their
    /// time.
    pub(super) fn new(side: usize, hold_ms: i64) -> Self {
        let span_ms = (hold_ms / SPANS).max(LEAST_SPAN_MS);
        let side = i64::from(side == 1);
        Self { open: VecDeque::new(), ended: Vec::new(), span_ms, hold_ms, side }
    }

    /// The bucket that a time belongs to.
    #[inline]
    pub(super) fn id(&self, timestamp: i64) -> i64 {
        timestamp.div_euclid(self.span_ms) * 2 + self.side
    }

    #[inline]
    fn position(&self, id: i64) -> Result<usize, usize> {
        match self.open.back() {
            Some(last) if last.id == id => Ok(self.open.len() - 1),
            Some(last) if last.id > id => self.open.binary_search_by_key(&id, |open| open.id),
            _ => Err(self.open.len()),
        }
    }

    /// The bucket of this id; it is opened if need be.
    pub(super) fn open(&mut self, id: i64) -> Option<&mut TimeBucket> {
        let at = self.position(id).unwrap_or_else(|at| {
            self.open.insert(at, TimeBucket::new(id));
            at
        });
        self.open.get_mut(at)
    }

    /// Where the bucket of a record that is held stands.
    #[inline]
    fn position_of(&self, timestamp: i64) -> Option<usize> {
        let found = self.position(self.id(timestamp)).ok();
        if found.is_none() {
            Error::broken("a record is held whose bucket is not").spoil_epoch();
        }
        found
    }

    #[inline]
    fn find(&mut self, timestamp: i64) -> Option<&mut TimeBucket> {
        let at = self.position_of(timestamp)?;
        self.open.get_mut(at)
    }

    /// Adds a record; returns its number in its bucket.
    #[inline]
    pub(super) fn add(&mut self, timestamp: i64, slot: u32) -> u32 {
        let Some(bucket) = self.open(self.id(timestamp)) else {
            Error::broken("the bucket of a record was not opened").spoil_epoch();
            return NONE;
        };
        bucket.add(slot)
    }

    /// Notes that a record is gone.
    pub(super) fn remove(&mut self, timestamp: i64, number: u32) {
        if self.find(timestamp).and_then(|bucket| bucket.take(number)).is_none() {
            Error::broken("a record goes that its bucket has not").spoil_epoch();
        }
    }

    /// Drops the record with this number in a bucket; `None` if the bucket is over.
    pub(super) fn take(&mut self, bucket: i64, number: u32) -> Option<u32> {
        let at = self.position(bucket).ok()?;
        self.open.get_mut(at)?.take(number)
    }

    /// The bucket of a record, if the log has it.
    pub(super) fn logged(&self, timestamp: i64, number: u32) -> Option<i64> {
        let bucket = self.open.get(self.position_of(timestamp)?)?;
        ((number as usize) < bucket.logged_count).then_some(bucket.id)
    }

    /// Notes that a record has got a partner, if the log has that record already.
    pub(super) fn mark(&mut self, timestamp: i64, number: u32) {
        if let Some(bucket) = self.find(timestamp)
            && (number as usize) < bucket.logged_count
        {
            bucket.marks.push(number);
        }
    }

    /// Takes out the first bucket if it is over.
    #[inline]
    pub(super) fn pop_over(&mut self, passed: impl Fn(i64) -> bool) -> Option<TimeBucket> {
        let first = self.open.front()?;
        let end = (first.id >> 1).saturating_add(1).saturating_mul(self.span_ms);
        if !passed(end.saturating_sub(1).saturating_add(self.hold_ms)) {
            return None;
        }
        let over = self.open.pop_front()?;
        if over.logged_count > 0 {
            self.ended.push(over.id);
        }
        Some(over)
    }

    /// Takes out the buckets with records that belong elsewhere: they were written when records were held
    /// for another time, and the place is to drop them.
    pub(super) fn take_foreign(&mut self, time: impl Fn(u32) -> Option<i64>) -> Vec<TimeBucket> {
        let mut foreign = Vec::new();
        for bucket in std::mem::take(&mut self.open) {
            let strays = |slot: &u32| time(*slot).is_some_and(|time| self.id(time) != bucket.id);
            if bucket.slots.iter().any(strays) {
                self.ended.push(bucket.id);
                foreign.push(bucket);
            } else {
                self.open.push_back(bucket);
            }
        }
        foreign
    }
}
