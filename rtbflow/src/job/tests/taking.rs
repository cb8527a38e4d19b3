//! The intake: which record is taken next, what time it is, and where each partition stands.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Stream;

use crate::activity::Activity;
use crate::barrier::{Barrier, Gathered};
use crate::element::Element;
use crate::error::BadRecord;
use crate::job::intake::{Arrival, Bounds, Intake, IntakeMailbox, Progress};
use crate::job::tests::{BOUNDS, Written, positions};
use crate::position::Position;
use crate::record::{Partition, Topic};
use crate::source::Content;
use crate::testing::builders::at;

/// An intake whose state was brought back.
struct Desk {
    intake: Intake<Written>,
    mailbox: IntakeMailbox<Written>,
}

impl Desk {
    /// Partitions at these event times, with offset 0.
    fn new(event_times: &[Option<i64>], bounds: Bounds) -> Self {
        let at_zero: Vec<_> = event_times.iter().map(|ms| (Some(0), *ms)).collect();
        Self::of(&positions(&at_zero), bounds, |_| Duration::ZERO)
    }

    fn of(
        positions: &[(Partition, Position)],
        bounds: Bounds,
        out_of_orderness: impl Fn(Topic) -> Duration,
    ) -> Self {
        let (intake, mailbox) =
            Intake::new(positions, bounds, out_of_orderness, (at(0), Activity::default()));
        let mut desk = Self { intake, mailbox };
        let (barrier, gathering) = Barrier::restoring(at(0), Vec::new(), true);
        desk.mailbox.send(barrier);
        desk.take();
        assert!(gathering.finish().unwrap().is_ok());
        desk
    }

    fn arrives(&self, lane: usize, arrival: Arrival<Written>) {
        self.mailbox.lock().arrive(lane, arrival).unwrap();
    }

    fn records(&self, lane: usize, first: i64, times: &[i64]) {
        let batch = Written::from(first, times.iter().copied());
        self.arrives(lane, Arrival::Batch(Arc::new(batch)));
    }

    fn at_end(&self, lane: usize, asked: i64, offset: i64) {
        self.at_end_by(lane, asked, asked, offset);
    }

    /// The partition is proved to stand at its end, by a wall clock and one that nobody sets.
    fn at_end_by(&self, lane: usize, asked: i64, steady: i64, offset: i64) {
        let steady = at(steady).since(at(0));
        self.arrives(lane, Arrival::AtEnd { asked: at(asked), steady, offset });
    }

    /// All that comes out until it waits: `partition@offset` for a record, `w` and a time for a watermark.
    fn take(&mut self) -> Vec<String> {
        let mut context = Context::from_waker(Waker::noop());
        let mut out = Vec::new();
        loop {
            match Pin::new(&mut self.intake).poll_next(&mut context) {
                Poll::Ready(Some(Element::Record(record, _))) => {
                    let origin = record.origin.unwrap();
                    out.push(format!("{}@{}", origin.partition().number, origin.offset()));
                }
                Poll::Ready(Some(Element::Watermark(at))) if at == crate::Timestamp::MAX => {
                    out.push("w+inf".into());
                }
                Poll::Ready(Some(Element::Watermark(at))) => {
                    out.push(format!("w{}", at.as_millis()));
                }
                Poll::Ready(Some(Element::Barrier(barrier))) => barrier.complete(),
                Poll::Ready(None) => panic!("the intake ended"),
                Poll::Pending => return out,
            }
        }
    }

    /// Ends the epoch: where the partitions stand, and what was gathered.
    fn epoch(&mut self) -> (Progress, Gathered) {
        let (barrier, gathering) = Barrier::new(at(0));
        self.mailbox.send(barrier);
        self.take();
        let progress = self.mailbox.lock().progress.clone();
        (progress, gathering.finish().unwrap().unwrap())
    }
}

#[test]
fn an_idle_partition_goes_on_with_the_wall_clock_from_where_it_stood() {
    let mut desk = Desk::new(&[None], BOUNDS);
    desk.records(0, 0, &[5_000]);
    desk.at_end(0, 100_000, 1);
    assert_eq!(desk.take(), ["0@0", "w5000"]);
    // Proved, but not for long enough.
    desk.at_end(0, 100_999, 1);
    assert_eq!(desk.take(), [""; 0]);
    desk.at_end(0, 101_000, 1);
    assert_eq!(desk.take(), [""; 0]);
    desk.at_end(0, 101_700, 1);
    assert_eq!(desk.take(), ["w5700"]);
    // A record ends it; its time stays where it got to, and the idle time is counted anew.
    desk.records(0, 1, &[5_100]);
    desk.at_end(0, 102_000, 2);
    assert_eq!(desk.take(), ["0@1"]);
    desk.at_end(0, 103_500, 2);
    assert_eq!(desk.take(), ["w6200"]);
}

#[test]
fn idle_time_never_passes_the_wall_clock_nor_goes_back() {
    let mut desk = Desk::new(&[None], BOUNDS);
    desk.records(0, 0, &[100_500]);
    desk.at_end(0, 100_000, 1);
    assert_eq!(desk.take(), ["0@0", "w100500"]);
    desk.at_end(0, 101_300, 1);
    assert_eq!(desk.take(), ["w100800"]);
    desk.at_end(0, 90_000, 1);
    assert_eq!(desk.take(), [""; 0]);

    let mut ahead = Desk::new(&[None], BOUNDS);
    ahead.records(0, 0, &[300_000]);
    ahead.at_end(0, 100_000, 1);
    ahead.take();
    ahead.at_end(0, 200_000, 1);
    assert_eq!(ahead.take(), [""; 0]);
    ahead.at_end(0, 350_000, 1);
    assert_eq!(ahead.take(), ["w350000"]);
}

#[test]
fn a_clock_that_is_set_back_does_not_hold_up_a_partition_that_is_idle() {
    let mut desk = Desk::new(&[None], BOUNDS);
    desk.records(0, 0, &[5_000]);
    desk.at_end(0, 4_000_000, 1);
    assert_eq!(desk.take(), ["0@0", "w5000"]);
    desk.at_end(0, 4_001_500, 1);
    assert_eq!(desk.take(), ["w5500"]);
    // By an hour, in a second: how much time has passed meanwhile is not known by the wall clock.
    desk.at_end_by(0, 400_000, 4_002_500, 1);
    assert_eq!(desk.take(), [""; 0]);
    desk.at_end_by(0, 400_700, 4_003_200, 1);
    assert_eq!(desk.take(), ["w6200"]);
}

#[test]
fn a_clock_that_is_set_forward_does_not_make_late_what_comes_to_a_partition_that_is_idle() {
    let mut desk = Desk::new(&[None], BOUNDS);
    desk.records(0, 0, &[5_000]);
    desk.at_end(0, 100_000, 1);
    assert_eq!(desk.take(), ["0@0", "w5000"]);
    desk.at_end(0, 101_500, 1);
    assert_eq!(desk.take(), ["w5500"]);
    // By an hour, in half a second.
    desk.at_end_by(0, 3_702_000, 102_000, 1);
    assert_eq!(desk.take(), ["w6000"]);
    desk.records(0, 1, &[6_100]);
    assert_eq!(desk.take(), ["0@1", "w6100"]);
    // Nor is it taken for idle any sooner.
    desk.at_end_by(0, 3_703_000, 103_000, 2);
    desk.at_end_by(0, 7_303_500, 103_500, 2);
    assert_eq!(desk.take(), [""; 0]);
}

#[test]
fn a_partition_without_records_holds_everything_back_until_it_is_proved() {
    let mut desk = Desk::new(&[None, None], BOUNDS);
    desk.records(0, 0, &[10, 20]);
    // Where nothing is known of any, the first begins; then partition 1 may have something earlier.
    assert_eq!(desk.take(), ["0@0"]);
    desk.at_end(1, 1_000, 0);
    assert_eq!(desk.take(), ["0@1"]);
    // Only after the idle time does the watermark not wait for it.
    desk.at_end(1, 2_000, 0);
    assert_eq!(desk.take(), ["w20"]);
    desk.records(1, 0, &[5]);
    assert_eq!(desk.take(), ["1@0"]);
}

#[test]
fn the_partition_whose_event_time_is_lowest_comes_first() {
    let mut desk = Desk::new(&[None; 3], BOUNDS);
    desk.records(0, 0, &[10, 40, 41]);
    desk.records(1, 0, &[20, 30]);
    desk.records(2, 0, &[15, 50]);
    // Each gives one, then the lowest goes on; partition 1 is then waited for.
    assert_eq!(desk.take(), ["0@0", "1@0", "2@0", "0@1", "2@1", "1@1", "w30"]);
    let (progress, _) = desk.epoch();
    assert_eq!(progress.queued, [1, 0, 0]);
    // In the middle of a batch: what was taken is passed, and the batch is kept.
    let standings: Vec<_> = progress
        .at_barrier
        .iter()
        .map(|at| (at.offset, at.event_time.map(|at| at.as_millis()), at.taken, at.consumed))
        .collect();
    assert_eq!(
        standings,
        [(Some(2), Some(40), 2, 0), (Some(2), Some(30), 2, 1), (Some(2), Some(50), 2, 1),]
    );
    assert_eq!((progress.taken_at_barrier, progress.total), ((6, 0), 6));
    // Proved to be at its end it is not waited for, though its time still counts.
    desk.at_end(1, 1_000, 2);
    assert_eq!(desk.take(), ["0@2"]);
    let (progress, _) = desk.epoch();
    assert_eq!((progress.taken_at_barrier, progress.total), ((1, 0), 7));
}

#[test]
fn a_proof_of_the_end_that_is_not_renewed_is_not_gone_by() {
    let mut desk = Desk::new(&[Some(10), Some(10)], BOUNDS);
    desk.mailbox.lock().now = at(100_000);
    desk.at_end(1, 99_900, 0);
    desk.records(0, 0, &[20, 30]);
    assert_eq!(desk.take(), ["0@0", "0@1"]);
    // The proof is as old as the idle time-out, and still holds; a moment later it does not.
    desk.mailbox.lock().now = at(100_900);
    desk.records(0, 2, &[40]);
    assert_eq!(desk.take(), ["0@2"]);
    desk.mailbox.lock().now = at(100_901);
    desk.records(0, 3, &[50, 60]);
    assert_eq!(desk.take(), [""; 0]);
    // What was on its way comes at last, in its order.
    desk.records(1, 0, &[45, 55]);
    assert_eq!(desk.take(), ["1@0", "0@3", "1@1", "0@4", "w55"]);
}

#[test]
fn each_topic_is_out_of_order_by_its_own_bound() {
    let lane = |topic| (Partition::new(Topic::new(topic), 0), Position::default());
    let bound = |topic: Topic| Duration::from_millis(if topic.name() == "late" { 50 } else { 5 });
    let mut desk = Desk::of(&[lane("prompt"), lane("late")], BOUNDS, bound);
    desk.records(0, 0, &[100, 200]);
    desk.records(1, 0, &[140, 300]);
    assert_eq!(desk.take(), ["0@0", "0@0", "0@1", "0@1", "w195"]);
}

#[test]
fn a_record_carries_the_watermark_before_it() {
    let at_100 = positions(&[(Some(0), Some(100))]);
    let mut desk = Desk::of(&at_100, BOUNDS, |_| Duration::from_millis(5));
    assert_eq!(desk.mailbox.lock().progress.watermark, Some(at(95)));
    desk.records(0, 0, &[200]);
    let mut context = Context::from_waker(Waker::noop());
    let first = Pin::new(&mut desk.intake).poll_next(&mut context);
    assert!(
        matches!(&first, Poll::Ready(Some(Element::Record(_, before))) if *before == at(95)),
        "{first:?}"
    );
    assert_eq!(desk.take(), ["w195"]);
}

#[test]
fn a_record_too_far_in_the_future_is_a_dead_letter_and_moves_no_time() {
    let bounds = Bounds { max_ahead: Some(Duration::from_secs(1)), ..BOUNDS };
    let mut desk = Desk::new(&[None], bounds);
    desk.mailbox.lock().now = at(10_000);
    desk.records(0, 0, &[i64::MAX, 11_001, 11_000, 3]);
    assert_eq!(desk.take(), ["0@2", "0@3", "w11000"]);
    let (progress, gathered) = desk.epoch();
    assert_eq!(progress.taken_at_barrier, (4, 0));
    assert_eq!((gathered.rejects.len(), gathered.tally.dead_lettered), (2, 2));
}

#[test]
fn every_record_is_accounted_for_once_and_none_below_the_position() {
    let mut desk = Desk::new(&[None], BOUNDS);
    desk.records(0, 0, &[1, 2, 3]);
    desk.take();
    let bad = || Content::Bad(BadRecord::new("not a number"));
    let records = vec![
        (1, Content::Value(2, at(2))),
        (2, bad()),
        (5, bad()),
        (7, Content::Tombstone),
        (9, Content::Value(4, at(4))),
    ];
    desk.arrives(0, Arrival::Batch(Arc::new(Written { records, bytes: 1 })));
    desk.arrives(0, Arrival::Batch(Arc::new(Written::from(10, []))));
    assert_eq!(desk.take(), ["0@9", "w4"]);
    let (progress, gathered) = desk.epoch();
    assert_eq!(progress.taken_at_barrier, (6, 1));
    let [standing] = progress.at_barrier[..] else { panic!("one partition") };
    assert_eq!((standing.offset, standing.taken, standing.consumed), (Some(10), 6, 3));
    let rejected: Vec<_> = gathered.rejects.iter().map(|reject| reject.origin.offset()).collect();
    assert_eq!((rejected, gathered.tally.total()), (vec![5], 1));
}

#[test]
fn time_ends_when_all_partitions_are_finished_and_the_job_wants_it() {
    let mut desk = Desk::new(&[None, None], BOUNDS);
    desk.mailbox.lock().close = true;
    desk.records(0, 0, &[10]);
    desk.arrives(0, Arrival::Finished);
    assert_eq!(desk.take(), ["0@0"]);
    desk.records(1, 0, &[20]);
    desk.arrives(1, Arrival::Finished);
    assert_eq!(desk.take(), ["1@0", "w10", "w+inf"]);
    assert!(desk.epoch().0.closed);

    let mut stopped = Desk::new(&[None], BOUNDS);
    stopped.arrives(0, Arrival::Finished);
    assert_eq!(stopped.take(), [""; 0]);
    assert!(!stopped.epoch().0.closed);
}
