//! Drives a whole pipeline by hand: records, time, commits and crashes, one step after another.

mod line;
mod outputs;
mod pipeline;
mod store;

use std::fmt;
use std::time::Duration;

pub use line::Line;
pub use outputs::Outputs;
pub use store::StateBucket;

use line::Input;
use pipeline::{build, gathered, poll};
use store::DrivenStore;

use crate::barrier::{Barrier, Tally};
use crate::chunk::Chunk;
use crate::clock::Clock;
use crate::element::Element;
use crate::epoch::Epoch;
use crate::error::{BadRecord, Error, Result};
use crate::flow::{End, Flow};
use crate::position::Task;
use crate::testing::ManualClock;
use crate::testing::builders::{at, read};
use crate::time::Timestamp;
use crate::topology::Topology;

/// Drives a pipeline by hand, as one task, without a job, a server, or a runtime.
///
/// For the operators alone, [`run`](crate::testing::run) is shorter; what a job makes of a pipeline when
/// things go wrong, the [simulation](crate::testing::sim) tells.
///
/// # Time and state
/// A record that is sent raises the watermark to its event time, unless
/// [`out_of_orderness`](Self::out_of_orderness) says otherwise. Nothing comes out before a
/// [`commit`](Self::commit), as in a job: it sends a barrier down the pipeline, and what the sinks and
/// operators put in is committed in one step. A [`crash`](Self::crash) loses what the operators have in
/// memory, brings their state back from the last commit or an earlier one, and reads what came after it
/// again.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::window::{Count, Late, Tumbling};
/// use rtbflow::testing::TestDriver;
/// use rtbflow::testing::builders::at;
///
/// let mut driver = TestDriver::<u32>::new(|campaigns, outputs| {
///     campaigns
///         .key_by(|campaign| *campaign)
///         .window(Tumbling::of(Duration::from_secs(10)).late(Late::DeadLetter))
///         .aggregate("clicks", Count)
///         .map(|window| (window.key, window.value))
///         .to(outputs.sink("counts"))
/// });
/// driver.send(7, at(1_000)).send(8, at(2_000)).send(7, at(9_999));
/// driver.expect::<(u32, u64)>("counts", []);
/// assert!(driver.state_bytes("clicks") > 0);
///
/// // The window is open; nothing of it is lost.
/// driver.crash();
/// driver.advance_watermark(at(10_000));
/// driver.expect("counts", [(7_u32, 2_u64), (8, 1)]);
/// assert_eq!(driver.state_bytes("clicks"), 0);
///
/// driver.send(7, at(3_000)).commit();
/// assert_eq!(driver.dead_letters().len(), 1);
/// ```
pub struct TestDriver<T> {
    pipeline: Box<dyn Fn(Flow<Line<T>>, &Outputs) -> End>,
    outputs: Outputs,
    clock: ManualClock,
    out_of_orderness: Duration,
    input: Input<T>,
    end: End,
    store: DrivenStore,
}

impl<T> fmt::Debug for TestDriver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDriver")
            .field("outputs", &self.outputs)
            .field("commits", &self.store.commits())
            .finish_non_exhaustive()
    }
}

impl<T: Clone + Send + Unpin + 'static> TestDriver<T> {
    /// A driver of a pipeline, which ends in sinks of its outputs. The closure is called once for each
    /// life of the pipeline and must build the same operators each time.
    ///
    /// # Panics
    /// If the pipeline cannot be built, or has sinks of another place.
    #[must_use]
    #[track_caller]
    pub fn new(pipeline: impl Fn(Flow<Line<T>>, &Outputs) -> End + 'static) -> Self {
        let (input, outputs) = (Input::default(), Outputs::default());
        let end = build(&pipeline, &input, &outputs);
        let mut driver = Self {
            pipeline: Box::new(pipeline),
            outputs,
            clock: ManualClock::new(at(0)),
            out_of_orderness: Duration::ZERO,
            input,
            end,
            store: DrivenStore::default(),
        };
        driver.restore();
        driver
    }

    /// A driver of a pipeline that goes on from state which another has committed: the same pipeline in an
    /// earlier release, say, whose [`stored`](Self::stored) chunks are kept in the repository. Nothing else
    /// is brought back: say where the watermark was by [`advance_watermark`](Self::advance_watermark).
    ///
    /// # Errors
    /// If an operator refuses the state.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[track_caller]
    pub fn opening(
        chunks: Vec<Chunk>,
        pipeline: impl Fn(Flow<Line<T>>, &Outputs) -> End + 'static,
    ) -> Result<Self> {
        let mut driver = Self::new(pipeline);
        driver.store = DrivenStore::holding(chunks);
        let (barrier, gathering) = Barrier::restoring(driver.clock.now(), driver.stored(), true);
        driver.input.put_first(barrier);
        poll(&mut driver.end);
        match gathering.finish()? {
            Ok(_) => Ok(driver),
            Err(_) => Err(Error::permanent("bring state back: an operator keeps the barrier")),
        }
    }

    /// By how much a record may be out of order: the watermark stays this far behind the highest event
    /// time. Default: not at all.
    #[must_use]
    pub fn out_of_orderness(self, out_of_orderness: Duration) -> Self {
        Self { out_of_orderness, ..self }
    }

    /// Sends a record, and then the watermark if it rises by it.
    ///
    /// # Panics
    /// If the pipeline waits for something that nobody brings.
    #[track_caller]
    pub fn send(&mut self, value: T, at: Timestamp) -> &mut Self {
        let offset = self.input.records();
        let record = read(value, at.as_millis(), offset);
        self.input.put(Element::Record(record, self.input.watermark()));
        poll(&mut self.end);
        if at != Timestamp::MIN && at - self.out_of_orderness > self.input.watermark() {
            self.advance_watermark(at - self.out_of_orderness);
        }
        self
    }

    /// Raises the watermark: everything with an earlier event time has been seen. [`Timestamp::MAX`] is the
    /// end of all time.
    ///
    /// # Panics
    /// If it falls, or if the pipeline waits for something that nobody brings.
    #[track_caller]
    pub fn advance_watermark(&mut self, to: Timestamp) -> &mut Self {
        let stands = self.input.watermark();
        assert!(to >= stands, "a watermark never falls, and this one stands at {stands}, not {to}");
        self.input.put(Element::Watermark(to));
        poll(&mut self.end);
        self
    }

    /// Moves the wall clock on, and lets the operators know by a [`commit`](Self::commit).
    ///
    /// # Panics
    /// As `commit`.
    #[track_caller]
    pub fn advance_wall_clock(&mut self, by: Duration) -> &mut Self {
        self.clock.advance(by);
        self.commit();
        self
    }

    /// Sends a barrier and commits what comes with it. Returns the number of the commit, from 1.
    ///
    /// # Panics
    /// If the barrier does not come out, or an operator fails.
    #[track_caller]
    pub fn commit(&mut self) -> usize {
        let (barrier, gathering) = Barrier::new(self.clock.now());
        self.input.put(Element::Barrier(barrier));
        poll(&mut self.end);
        let gathered = gathered(gathering);
        let rejects = gathered.rejects.clone();
        let epoch = Epoch::new(Task { number: 0, of: 1 }, Vec::new(), gathered);
        self.outputs.append(std::slice::from_ref(&epoch));
        self.store.commit(epoch, rejects, self.input.passed(), self.outputs.counts());
        self.commits()
    }

    /// How many commits there are.
    #[must_use]
    pub fn commits(&self) -> usize {
        self.store.commits()
    }

    /// The process ends, and another begins where the last commit stands: what came after it is read
    /// again.
    ///
    /// # Panics
    /// If the state cannot be brought back.
    #[track_caller]
    pub fn crash(&mut self) -> &mut Self {
        self.crash_back_to(self.commits())
    }

    /// As [`crash`](Self::crash), as if this commit had been the last; 0 is the very beginning. Later ones
    /// never happened, and what they emitted is taken back.
    ///
    /// # Panics
    /// If there was no such commit, or the state cannot be brought back.
    #[track_caller]
    pub fn crash_back_to(&mut self, commit: usize) -> &mut Self {
        assert!(commit <= self.commits(), "there are {} commits, not {commit}", self.commits());
        let passed = self.store.rewind(commit, &self.outputs);
        self.input.rewind(passed);
        self.end = build(&self.pipeline, &self.input, &self.outputs);
        self.restore();
        poll(&mut self.end);
        self
    }

    /// Brings the state back, and then the watermark that held.
    #[track_caller]
    fn restore(&mut self) {
        let chunks = self.store.chunks();
        let (barrier, gathering) = Barrier::restoring(self.clock.now(), chunks, true);
        self.input.put_first(barrier);
        poll(&mut self.end);
        let _ = gathered(gathering);
    }

    /// Commits, and expects that exactly these values have come out of an output since the last time.
    ///
    /// # Panics
    /// If others came out, if there is no such output, or if it has records of another type.
    #[track_caller]
    pub fn expect<U>(&mut self, output: &str, values: impl IntoIterator<Item = U>)
    where
        U: Clone + PartialEq + fmt::Debug + Send + Sync + 'static,
    {
        self.commit();
        let found: Vec<U> = self.take(output);
        let expected: Vec<U> = values.into_iter().collect();
        assert!(found == expected, "{output:?} emitted {found:?}, not {expected:?}");
    }

    /// What was committed to an output since the last time.
    ///
    /// # Panics
    /// If there is no such output, or if it has records of another type.
    #[must_use]
    #[track_caller]
    pub fn take<U: Clone + Send + Sync + 'static>(&mut self, output: &str) -> Vec<U> {
        self.outputs.take(output).into_iter().map(|record| record.value).collect()
    }

    /// As [`take`](Self::take), with event times and origins.
    ///
    /// # Panics
    /// As `take`.
    #[must_use]
    #[track_caller]
    pub fn take_records<U>(&mut self, output: &str) -> Vec<crate::Record<U>>
    where
        U: Clone + Send + Sync + 'static,
    {
        self.outputs.take(output)
    }

    /// The state that is committed, by operator and bucket.
    #[must_use]
    pub fn state(&self) -> Vec<StateBucket> {
        self.store.state()
    }

    /// The chunks of state that are committed, in the order in which they are brought back.
    #[must_use]
    pub fn stored(&self) -> Vec<Chunk> {
        self.store.chunks()
    }

    /// Bytes of state of the operator of this name that are committed, in all its buckets.
    #[must_use]
    pub fn state_bytes(&self, operator: &str) -> usize {
        let state = self.state().into_iter();
        state.filter(|bucket| bucket.operator == operator).map(|bucket| bucket.bytes).sum()
    }

    /// The records that have become dead letters: where each was read, as the number in which it was sent,
    /// from 0; and why.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<(i64, BadRecord)> {
        self.store.dead_letters()
    }

    /// What became of the records that were not used for a result.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.store.tally()
    }

    /// What the pipeline is made of.
    ///
    /// # Panics
    /// Never: a pipeline that cannot be built is none that a driver has.
    #[must_use]
    #[expect(clippy::panic, reason = "the test kit fails as assertions do")]
    pub fn topology(&self) -> Topology {
        match self.end.tip.finish().fits() {
            Ok((topology, _)) => topology,
            Err(error) => panic!("{error}"),
        }
    }
}

#[cfg(test)]
mod tests;
