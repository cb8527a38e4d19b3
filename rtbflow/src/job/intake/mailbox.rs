//! What a task loop and the intake of its chain hand each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::barrier::Barrier;
use crate::error::{Error, Result};
use crate::log::Log;
use crate::time::Timestamp;

/// What a task loop and the intake of its chain have in common.
pub(crate) struct IntakeMailbox<B> {
    shared: Arc<Mutex<Shared<B>>>,
    /// Whether a barrier was put in that the intake has not seen.
    rung: Arc<AtomicBool>,
}

impl<B> Clone for IntakeMailbox<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), rung: Arc::clone(&self.rung) }
    }
}

pub(crate) struct Shared<B> {
    /// What arrived, by the partition's number in the task.
    pub(super) arrivals: Vec<(usize, Arrival<B>)>,
    /// The next barrier, sent before anything else.
    pub(crate) barrier: Option<Barrier>,
    /// The end of all time, sent once everything was taken.
    pub(crate) close: bool,
    /// The wall clock when the task loop last looked.
    pub(crate) now: Timestamp,
    /// Where the chain stands.
    pub(crate) progress: Progress,
}

/// What arrives for one partition, in order.
pub(crate) enum Arrival<B> {
    Batch(Arc<B>),
    /// `steady` is the steady clock as it came.
    AtEnd {
        asked: Timestamp,
        steady: Duration,
        offset: i64,
    },
    Reached {
        offset: i64,
        log: Option<Log>,
        anew: bool,
    },
    Finished,
}

/// Where the intake stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Records taken since the last barrier.
    pub(crate) taken: u64,
    /// Records taken since the task began.
    pub(crate) total: u64,
    /// Whether everything that arrived was taken.
    pub(crate) drained: bool,
    /// Whether all partitions are finished and the last watermark has been sent.
    pub(crate) closed: bool,
    /// Batches not wholly taken, by partition.
    pub(crate) queued: Vec<usize>,
    /// The watermark.
    pub(crate) watermark: Option<Timestamp>,
    /// Offset and event time of each partition when the last barrier passed.
    pub(crate) at_barrier: Vec<Standing>,
    /// Records taken between the last two barriers, and tombstones among them.
    pub(crate) taken_at_barrier: (u64, u64),
}

/// Where a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) offset: Option<i64>,
    pub(crate) event_time: Option<Timestamp>,
    /// Which log the offset is of.
    pub(crate) log: Option<Log>,
    /// Records taken between the last two barriers.
    pub(crate) taken: u64,
    /// Batches wholly taken since the task began.
    pub(crate) consumed: u64,
}

impl<B> Shared<B> {
    /// Something has arrived for the partition with this number, and is queued until it was taken.
    ///
    /// # Errors
    /// If the task has no such partition.
    pub(crate) fn arrive(&mut self, number: usize, arrival: Arrival<B>) -> Result<()> {
        let queued = self.progress.queued.get_mut(number);
        let counted = || Error::broken("a batch has arrived for no partition of its task");
        *queued.ok_or_else(counted)? += 1;
        self.arrivals.push((number, arrival));
        Ok(())
    }
}

impl<B> IntakeMailbox<B> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared<B>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in a barrier: it goes out before the next record, also where an operator holds the chain back
    /// and more records are at hand.
    pub(crate) fn send(&self, barrier: Barrier) {
        // One that is still here would be dropped, which spoils its epoch: none is lost in silence.
        self.lock().barrier = Some(barrier);
        // Task loop and intake are polled as one, so the bell needs no order of its own.
        self.rung.store(true, Ordering::Relaxed);
    }

    /// A mailbox of a task with this many partitions.
    pub(super) fn new(partition_count: usize, now: Timestamp) -> Self {
        let shared = Shared {
            arrivals: Vec::new(),
            barrier: None,
            close: false,
            now,
            progress: Progress { queued: vec![0; partition_count], ..Progress::default() },
        };
        Self { shared: Arc::new(Mutex::new(shared)), rung: Arc::default() }
    }

    /// Where each partition stood as the last barrier passed; how many records were taken before it, and how many of
    /// these were skipped.
    pub(crate) fn take_standings(&self) -> (Vec<Standing>, (u64, u64)) {
        let mut shared = self.lock();
        let progress = &mut shared.progress;
        (std::mem::take(&mut progress.at_barrier), std::mem::take(&mut progress.taken_at_barrier))
    }

    /// Whether a barrier was put in that was not taken out.
    #[inline]
    pub(super) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Relaxed)
    }

    /// It is being looked into.
    pub(super) fn quiet(&self) {
        self.rung.store(false, Ordering::Relaxed);
    }
}
