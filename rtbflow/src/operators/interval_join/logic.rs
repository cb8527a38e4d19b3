//! When records are joined, when one is decided to have no partner, and what is held.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::deciding::Deciding;
use super::due::{Due, passed, right_due};
use super::keys::Keys;
use super::places::Places;
use super::side::Side;
use super::{Bound, JoinKind, LateRecords, Narrow, Touch};
use crate::chunk::Chunk;
use crate::either::Either;
use crate::error::Result;
use crate::operators::{Logic, Outbox, Snapshot};
use crate::record::Record;
use crate::state::{ChunkReader, ChunkWriter, Format, short_name};
use crate::time::Timestamp;

const VERSION: u16 = 1;
/// The bucket of the watermark; records have others.
const WATERMARK: i64 = i64::MIN;
/// Those of the watermark whose records are being decided, and of those that were.
const DECIDING: i64 = i64::MIN + 1;
const GONE: i64 = i64::MIN + 2;
pub(super) const LEFT: usize = 0;
pub(super) const RIGHT: usize = 1;

/// The logic behind [`Connected::interval_join`](crate::operators::Connected::interval_join).
///
/// Each side's records are held once, linked by key in order of time. Whatever follows from the watermark is
/// not noted in the log: what was decided before a restart is what the watermark of that time had passed.
pub(crate) struct IntervalJoinLogic<K, L, R, F, G, J, N> {
    pub(super) left_key: F,
    pub(super) right_key: G,
    /// The interval: the first and the last millisecond that belong to it, from the left record's time.
    pub(super) interval: (i64, i64),
    pub(super) touch: Touch,
    pub(super) narrow: N,
    pub(super) late: [LateRecords; 2],
    /// How far behind the watermark a left record is late.
    pub(super) allowed_lateness_ms: i64,
    /// Whether a right record is of no use once a newer one is there for all left records that can come.
    pub(super) supersedes: bool,
    /// How long after its time a record is held.
    pub(super) hold: [i64; 2],
    /// How much lower the watermark is that is passed on.
    pub(in crate::operators) held_back_ms: i64,
    pub(super) watermark: i64,
    /// The one in the log, as it came back.
    pub(super) logged_watermark: i64,
    /// Whether something was decided that the watermark in the log does not tell.
    pub(super) decided: bool,
    pub(super) keys: Keys<K>,
    pub(super) left: Side<L>,
    pub(super) right: Side<R>,
    pub(super) places: Places,
    /// When records are decided. What has been overtaken stays until then.
    pub(super) due: BinaryHeap<Reverse<Due>>,
    /// Kept for their memory.
    pub(super) partners: Vec<u32>,
    pub(super) deciding: Deciding,
    pub(super) format: Format,
    pub(super) kind: PhantomData<fn() -> J>,
}

/// What a join is to do.
pub(in crate::operators) struct Rules<N> {
    /// The interval.
    pub(in crate::operators) bounds: (Bound, Bound),
    /// Which partners a left record is joined with.
    pub(in crate::operators) touch: Touch,
    /// The intervals of single left records.
    pub(in crate::operators) narrow: N,
    /// What becomes of late records of the left and of the right side.
    pub(in crate::operators) late: [LateRecords; 2],
    /// How far behind the watermark a left record is late.
    pub(in crate::operators) allowed_lateness_ms: i64,
    /// Whether the newest right record at a time stands for all that are older.
    pub(in crate::operators) supersedes: bool,
}

impl<K, L, R, F, G, J, N> fmt::Debug for IntervalJoinLogic<K, L, R, F, G, J, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IntervalJoinLogic(watermark {})", Timestamp::from_millis(self.watermark))
    }
}

impl<K, L, R, F, G, J, N> IntervalJoinLogic<K, L, R, F, G, J, N>
where
    K: Hash + Eq,
    L: Clone,
    R: Clone,
    F: Fn(&L) -> K,
    G: Fn(&R) -> K,
    J: JoinKind<L, R>,
    N: Narrow<L, R>,
{
    pub(in crate::operators) fn new((left_key, right_key): (F, G), rules: Rules<N>) -> Self {
        let Rules { bounds: (lower, upper), touch, narrow, late, .. } = rules;
        let Rules { allowed_lateness_ms, supersedes, .. } = rules;
        let (lower, upper) = (lower.first_ms(), upper.last_ms());
        let length = upper.saturating_sub(lower).max(0);
        let unmatched_right = right_due(touch, (lower, upper), 0);
        let mut hold = [upper, unmatched_right.saturating_add(allowed_lateness_ms)];
        if late == [LateRecords::Joined; 2] {
            hold = hold.map(|hold| hold.max(length));
        }
        let left_waits = J::LEFT || touch == Touch::Last;
        let held_back_ms = [(left_waits, upper), (J::RIGHT, unmatched_right), (true, 0)];
        let held_back_ms = held_back_ms.iter().filter(|(waits, _)| *waits).map(|(_, ms)| *ms);
        let newest = if supersedes { ", newest right" } else { "" };
        let format = format!("join {}, {touch:?} touch{newest}", short_name::<J>());
        Self {
            left_key,
            right_key,
            interval: (lower, upper),
            touch,
            narrow,
            late,
            allowed_lateness_ms,
            supersedes,
            hold,
            held_back_ms: held_back_ms.max().unwrap_or(0),
            watermark: i64::MIN,
            logged_watermark: i64::MIN,
            decided: false,
            keys: Keys::default(),
            left: Side::new(LEFT, hold[LEFT]),
            right: Side::new(RIGHT, hold[RIGHT]),
            places: Places::default(),
            due: BinaryHeap::new(),
            partners: Vec::new(),
            deciding: Deciding::default(),
            format: Format::new(VERSION, format).emptied_at_end(),
            kind: PhantomData,
        }
    }
}

impl<K, L, R, F, G, J, N> Logic for IntervalJoinLogic<K, L, R, F, G, J, N>
where
    K: Hash + Eq + Send + 'static,
    L: Clone + Serialize + DeserializeOwned + Send + 'static,
    R: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&L) -> K + Send + 'static,
    G: Fn(&R) -> K + Send + 'static,
    J: JoinKind<L, R>,
    N: Narrow<L, R>,
{
    type In = Either<L, R>;
    type Out = J::Out;
    const VERSION: u16 = VERSION;
    const RESUMES: bool = true;

    #[inline]
    fn on_record(&mut self, record: Record<Either<L, R>>, out: &mut Outbox<Self::Out>) {
        let Record { value, timestamp, origin } = record;
        let time = timestamp.as_millis();
        let late =
            if matches!(value, Either::Left(_)) { self.late[LEFT] } else { self.late[RIGHT] };
        if self.rejects(late, time, origin, out) {
            return;
        }
        let place = self.places.of(origin);
        match value {
            Either::Left(left) => self.on_left(left, (time, origin), place, out),
            Either::Right(right) => self.on_right(right, time, place, out),
        }
    }

    #[inline]
    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        _out: &mut Outbox<Self::Out>,
    ) -> Option<Timestamp> {
        let at = watermark.as_millis();
        let before = std::mem::replace(&mut self.watermark, at);
        if self.due.peek().is_some_and(|Reverse(due)| passed(at, due.at)) {
            self.begin(before);
        } else {
            self.expire();
        }
        if watermark == Timestamp::MAX {
            return Some(watermark);
        }
        Some(Timestamp::from_millis(at.saturating_sub(self.held_back_ms)))
    }

    fn more(&mut self, out: &mut Outbox<Self::Out>) -> bool {
        self.decide_more(out)
    }

    #[inline]
    fn results_due(&self) -> Timestamp {
        let first = self.due.peek().map_or(i64::MAX, |Reverse(due)| due.at);
        Timestamp::from_millis(first.saturating_add(1))
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        // What says which records were decided names them by their numbers in the log.
        let renumbers = self.deciding.before.is_none();
        self.left.snapshot((&self.format, renumbers), &self.places, snapshot);
        self.right.snapshot((&self.format, renumbers), &self.places, snapshot);
        // The end of all time is that of one run: nothing is held then, and another may go on from here.
        let watermark = self.deciding.before.unwrap_or(self.watermark);
        if std::mem::take(&mut self.decided) && watermark < i64::MAX {
            let mut entry = ChunkWriter::new(Format::of_watermark(VERSION));
            entry.put(&watermark);
            snapshot.replace(WATERMARK, entry);
        }
        self.deciding.snapshot(VERSION, self.watermark, (DECIDING, GONE), snapshot);
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        let Self { keys, places, left_key, right_key, format, .. } = self;
        if chunk.bucket == DECIDING || chunk.bucket == GONE {
            return self.deciding.restore(VERSION, chunk, DECIDING);
        }
        if chunk.bucket == WATERMARK {
            let watermark =
                ChunkReader::open(chunk, Format::of_watermark(VERSION))?.only_entry()?;
            // A chunk without an entry, which none writes, says nothing.
            self.logged_watermark = watermark.unwrap_or(self.logged_watermark);
            return Ok(());
        }
        let chunk = (chunk, &*format);
        if chunk.0.bucket & 1 == 0 {
            self.left.restore(chunk, keys, places, &*left_key)
        } else {
            self.right.restore(chunk, keys, places, &*right_key)
        }
    }

    fn restored(&mut self, _out: &mut Outbox<Self::Out>) {
        // One that was reported before the state is reported again.
        self.watermark = self.logged_watermark;
        self.settle();
    }
}
