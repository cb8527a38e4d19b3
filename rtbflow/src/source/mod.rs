//! Where records come from: the contract of a source, and sources that need no server.
//!
//! A [`Source`] is opened once for each run of a job and then tells, as [`SourceEvent`]s, which tasks
//! this instance has to run and with what input; each task reads the [`Delivery`]s of its partitions by
//! itself. Positions belong to the job's anchor: the job says where the source begins in each
//! partition, and the source never keeps a position of its own that anything relies on.
//!
//! ```text
//!   Source::open ─▶ Feed ─▶ Assigned { tasks } ─▶ job claims positions ─▶ begin(positions)
//!                       │                              each task reads its partitions' deliveries
//!                       └─▶ Revoked { tasks } ─▶ tasks finish their epoch, commit ─▶ done()
//! ```

mod assignment;
mod batch;
mod channel;
mod cogroup;
mod decoded;
mod decoding;
mod delivery;
mod event_time;
mod file;
mod fixed;
mod iterator;
mod layout;
mod memory;
mod raw;
mod stream;
mod tick;
mod together;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use assignment::{Assignment, PartitionInput, Revocation, SourceEvent, TaskInput};
pub use batch::{Batch, Content, Incoming};
pub use channel::{Pusher, channel};
pub use cogroup::CoGroup;
pub use decoded::{Decoded, DecodedFeed};
pub use decoding::{ByDecoder, ByTopic, DecodedBatch, Decoding};
pub use delivery::Delivery;
pub use event_time::EventTime;
pub use file::FileSource;
pub use fixed::FixedFeed;
pub use iterator::IteratorSource;
pub use layout::Layout;
pub use memory::{MemoryBatch, MemorySource};
pub use raw::{Headers, RawBatch, RawBuffer, RawRecords};
pub use stream::StreamSource;
pub use tick::TickSource;
pub use together::Together;

pub use crate::raw_record::{RawHeader, RawRecord};

use crate::clock::Clock;
use crate::dead_letter::Original;
use crate::error::Result;
use crate::position::{JobName, Position};
use crate::record::{Origin, Partition, Topic};

/// Something that records can be read from.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source of records",
    note = "give the job a source before its pipeline: `.source(…)`"
)]
pub trait Source: Send + Sync + 'static {
    /// What it hands over at a time.
    type Batch: Send + 'static;
    /// One opened run.
    type Feed: Feed<Batch = Self::Batch>;

    /// The names of its topics, each once. Where there are several, the partitions of a task are those that
    /// hold the same keys: see [`Layout`].
    fn topics(&self) -> Vec<String>;

    /// By how much the event times in a partition of this topic may be out of order: its watermark stays
    /// this far behind its highest event time.
    fn out_of_orderness(&self, topic: Topic) -> Duration {
        let _ = topic;
        Duration::ZERO
    }

    /// Whether it ends by itself, as what is in memory or in a file does. Then what comes out depends on its
    /// records alone, and not on the wall clock: none is [too far ahead](crate::Job::max_ahead) of that unless
    /// the job says so.
    fn is_bounded(&self) -> bool {
        false
    }

    /// Whether the source is put together rightly: asked as the job starts, before anything is connected. Right
    /// unless overridden; one that wraps another asks that.
    ///
    /// # Errors
    /// A configuration error that names all that is wrong: the job does not start, and reports it with whatever
    /// else is.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Reads another source together with this one, where neither has a group: something in memory, a
    /// file, a stream. The values of this one are then [`Either::Left`](crate::Either::Left), those of the
    /// other [`Either::Right`](crate::Either::Right). More sources follow by calling it again, and nest.
    ///
    /// So a pipeline over two topics runs without a server. With Kafka it is
    /// [`Decoded::with`] that does this.
    ///
    /// # Time and state
    /// As of any co-group: partitions whose numbers agree modulo the greatest common divisor of the counts
    /// are one task's, with one order of records and one watermark, the lowest of its partitions'. Each source
    /// keeps its own event time and out-of-orderness.
    ///
    /// # Errors
    /// Opening fails where a topic is named twice.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::epoch::Memory;
    /// use rtbflow::source::{MemorySource, Source};
    /// use rtbflow::{Either, Job, Timestamp};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let orders = MemorySource::new("orders", vec![vec![10, 30]])
    ///     .event_time(|ms| Timestamp::from_millis(*ms), Duration::ZERO);
    /// let parcels = MemorySource::new("parcels", vec![vec![20, 40]])
    ///     .event_time(|ms| Timestamp::from_millis(*ms), Duration::ZERO);
    /// let place = Memory::new();
    /// let out = place.collected::<String>();
    /// let job = Job::new("both").source(orders.with(parcels)).anchor(place.clone()).pipeline({
    ///     let out = out.clone();
    ///     move |both| {
    ///         let lines = both.map(|one| match one {
    ///             Either::Left(order) => format!("order {order}"),
    ///             Either::Right(parcel) => format!("parcel {parcel}"),
    ///         });
    ///         lines.to(out.sink())
    ///     }
    /// });
    /// job.run().await?;
    /// assert_eq!(out.values(), ["order 10", "parcel 20", "order 30", "parcel 40"]);
    /// # Ok::<(), rtbflow::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn with<R>(self, other: R) -> Together<Self, R>
    where
        Self: Sized + Source<Feed = FixedFeed<<Self as Source>::Batch>>,
        R: Source<Feed = FixedFeed<<R as Source>::Batch>>,
    {
        Together::new(self, other)
    }

    /// Looks whether everything is there that is to be read, without reading or joining anything. Called once
    /// before the source is opened, together with what else the job looks at, so that all that is missing is
    /// said at once. Has a deadline of its own.
    ///
    /// # Errors
    /// A configuration error that names all that is missing; transient if the server is away.
    fn check(&self) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Reads single records again, as they stand in the source, in the order of `origins`: for dead letters of
    /// records that were read in an earlier epoch, such as those that a join has held. `None` for a record
    /// that is not there any more, and for any where a source cannot do this, which is the default. Has a
    /// deadline of its own.
    ///
    /// # Errors
    /// Transient if the server is away: it is asked again.
    fn read_again(
        &self,
        origins: &[Origin],
    ) -> impl Future<Output = Result<Vec<Option<Original>>>> + Send {
        std::future::ready(Ok(vec![None; origins.len()]))
    }

    /// Connects and begins to ask for partitions. A job opens its source again after a transient
    /// error.
    ///
    /// # Errors
    /// Transient if the server is away; a configuration error if it cannot be used.
    fn open(&self, context: Context) -> impl Future<Output = Result<Self::Feed>> + Send;
}

/// What a source is given when it is opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Context {
    /// The job, whose name is the consumer group too.
    pub job: JobName,
    /// The clock for [`Delivery::AtEnd`].
    pub clock: Arc<dyn Clock>,
    /// Read only what is there now: each partition ends with [`Delivery::Finished`] where it ended when
    /// the source was opened.
    pub until_end: bool,
    /// How long a partition must be proved to stand at its end before its event time ticks on. Proofs
    /// should come several times within it: a task does not go by one that is older, and waits for the
    /// partition again.
    pub idle_timeout: Duration,
    /// The name that this instance has at the moment, which no other has: its group gives it what a former holder had.
    /// `None` if the job's [instances](crate::Job::instances) have none.
    pub instance: Option<Arc<str>>,
}

impl Context {
    /// For this job: it reads on and on, and a partition is idle after ten seconds.
    #[must_use]
    pub fn new(job: JobName, clock: Arc<dyn Clock>) -> Self {
        let idle_timeout = Duration::from_secs(10);
        Self { job, clock, until_end: false, idle_timeout, instance: None }
    }

    /// Whether only what is there now is read; `false` if nothing is said.
    #[must_use]
    pub fn until_end(self, until_end: bool) -> Self {
        Self { until_end, ..self }
    }

    /// How long a partition must be proved to stand at its end; ten seconds if nothing is said.
    #[must_use]
    pub fn idle_timeout(self, idle_timeout: Duration) -> Self {
        Self { idle_timeout, ..self }
    }
}

/// An opened source.
pub trait Feed: Send + 'static {
    /// What it hands over at a time.
    type Batch: Send + 'static;

    /// The next event; pending for as long as nothing changes. Cancel safe.
    ///
    /// # Errors
    /// Transient if the source has to be opened again, anything else if that would not help.
    fn next(&mut self) -> impl Future<Output = Result<SourceEvent<Self::Batch>>> + Send;

    /// Tells how far was committed, each second: for tools that show lag, and for a source that keeps what
    /// may have to be read again. No position is taken from it; must not wait.
    fn committed(&mut self, positions: &[(Partition, Position)]);

    /// Leaves the group and gives everything back, within some seconds.
    fn close(self) -> impl Future<Output = ()> + Send;
}
