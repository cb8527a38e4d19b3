//! The records that a watermark decides: a portion at a time, with barriers in between.

use std::hash::Hash;

use super::decision::{Due, passed};
use super::{IntervalJoinLogic, JoinKind, Narrow, Touch};
use crate::error::Result;
use crate::operators::{Outbox, Snapshot};
use crate::state::{Chunk, Format, Reader, Writer};

/// What the log says of records that were decided.
const GONE: &str = "decided records";

/// What is being decided.
#[derive(Debug, Default)]
pub(super) struct Deciding {
    /// The watermark before the one by which records are being decided.
    pub(super) before: Option<i64>,
    left: std::vec::IntoIter<Due>,
    /// Kept for its memory.
    pub(super) spare: Vec<Due>,
    /// Those of the log that were decided: the bucket of each, and its number there.
    pub(super) gone: Vec<(i64, u32)>,
    /// How many of them the place knows, where it is known.
    gone_logged: Option<usize>,
    /// By which watermark records are being decided, as the place knows it.
    logged: Option<i64>,
    /// Whether that began before a restart.
    resumed: bool,
}

impl Deciding {
    /// The place has none of those any more that were decided.
    pub(super) fn forget(&mut self) {
        self.gone.clear();
        self.gone_logged = None;
    }

    /// All is decided.
    fn finish(&mut self) {
        self.before = None;
        if self.logged.is_none() {
            self.gone.clear();
        }
    }

    /// Hands over what changed: in the first of two buckets the watermark, in the second what was decided.
    pub(super) fn snapshot(
        &mut self,
        version: u16,
        watermark: i64,
        (deciding, gone): (i64, i64),
        snapshot: &mut Snapshot,
    ) {
        if self.before.is_none() {
            if self.logged.take().is_some() {
                snapshot.drop_bucket(deciding);
                snapshot.drop_bucket(gone);
                self.gone.clear();
                self.gone_logged = Some(0);
            }
            return;
        }
        if self.logged != Some(watermark) {
            self.logged = Some(watermark);
            let mut entry = Writer::new(Format::of_watermark(version));
            entry.put(&watermark);
            snapshot.replace(deciding, entry);
        }
        let known = self.gone_logged.replace(self.gone.len());
        if known == self.gone_logged {
            return;
        }
        let mut entries = Writer::new(Format::new(version, GONE));
        self.gone.iter().skip(known.unwrap_or(0)).for_each(|gone| entries.put(gone));
        match known {
            None => snapshot.replace(gone, entries),
            Some(_) => snapshot.append(gone, entries),
        }
    }

    /// Takes back what was handed over.
    pub(super) fn restore(&mut self, version: u16, chunk: &Chunk, deciding: i64) -> Result<()> {
        if chunk.bucket == deciding {
            self.logged = Reader::open(chunk, Format::of_watermark(version))?.only_entry()?;
            return Ok(());
        }
        let mut entries = Reader::open(chunk, Format::new(version, GONE))?;
        while let Some(gone) = entries.next_entry()? {
            self.gone.push(gone);
        }
        Ok(())
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
    /// The watermark decides records; before it, another held.
    pub(super) fn begin(&mut self, before: i64) {
        self.deciding.before = Some(before);
        self.deciding.left = self.take_due().into_iter();
    }

    /// Decides some; whether there may be more.
    pub(super) fn decide_more(&mut self, out: &mut Outbox<J::Out>) -> bool {
        let Some(before) = self.deciding.before else { return false };
        let room = out.room();
        while out.len() < room {
            let Some(due) = self.deciding.left.next() else {
                self.deciding.finish();
                self.decided = true;
                self.expire();
                // The end of all time was that of the run before.
                if std::mem::take(&mut self.deciding.resumed) && self.watermark == i64::MAX {
                    self.watermark = before;
                }
                return out.len() > 0;
            };
            self.decide_one(due, out);
        }
        true
    }

    /// Lets go of what no record can join any more.
    #[inline]
    pub(super) fn expire(&mut self) {
        let at = self.watermark;
        self.left.expire(&mut self.keys, |time| passed(at, time));
        let ended = self.right.expire(&mut self.keys, |time| passed(at, time));
        // That a left record was decided by the time of its oldest partner is told by that partner; once it is
        // gone, by the watermark.
        self.decided |= ended && self.touch == Touch::First;
    }

    /// What was being decided before a restart is, whatever the watermark will be: it goes on there.
    pub(super) fn resume(&mut self) {
        if let Some(watermark) = self.deciding.logged {
            let before = std::mem::replace(&mut self.watermark, watermark);
            self.deciding.resumed = true;
            self.begin(before);
        }
    }
}
