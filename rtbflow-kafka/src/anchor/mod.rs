//! Kafka as the place: results, state and positions in one transaction.
//!
//! Everything that an anchor keeps is in one compacted topic, the *changelog* of the job, with one
//! partition for each task: its positions and its state. A commit is one transaction over the results'
//! topics and the task's partition of the changelog.

mod changelog;
mod forget;
mod replay;
mod room;
mod seat;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use rtbflow::barrier::Gathered;
use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Kept, Position, Task, Verdict};
use rtbflow::sink::Place;
use rtbflow::state::Chunk;
use rtbflow::{Error, Result};
use tokio::time::timeout;

use crate::client::blocking::{blocking, drop_elsewhere};
use crate::client::create::TopicSpec;
use crate::client::deadline::Deadline;
use crate::client::kafka::Kafka;
use crate::producer::records::{Records, StagedBatch};
use crate::producer::refusal::of_epoch;
use crate::producer::result_topics::Results;
use replay::OffsetClients;
use room::Room;
use seat::{Order, Seat};

/// How long a call may take, unless it has much to write or to read, and it is not said otherwise.
const LONGEST_CALL: Duration = Duration::from_secs(10);
/// How many times longer a transaction may be open than a call may take, and how long brokers allow it to be, unless
/// asked otherwise.
const OPEN_FOR_CALLS: u32 = 3;
const LONGEST_TRANSACTION: Duration = Duration::from_mins(15);
/// How long a claim may take: it may have to wait for the end of another's transaction.
const LONGEST_CLAIM: Duration = Duration::from_secs(30);
/// How long reading the whole state may take. It is given up much earlier when nothing comes.
const LONGEST_RESTORE: Duration = Duration::from_secs(600);
/// What a call may take beside its own deadline until it counts as stuck.
const GRACE: Duration = Duration::from_secs(10);

/// A Kafka cluster as the place of a job's results, state and positions: one transaction an epoch, and
/// each record once for whoever reads with `isolation.level=read_committed`. To write to Kafka beside
/// another place, see [`KafkaWriter`](crate::KafkaWriter).
///
/// A clone is another handle on the same place.
///
/// # What it keeps
/// One topic, `{job}.changelog`: compacted, one partition a task, made on the first claim unless
/// [`create_changelog`](Self::create_changelog) forbids it. Each commit writes the task's positions there
/// behind the changes of its state. Nothing is kept in the group's offsets, which expire when a group is
/// away for long; so the source may be of another cluster, or no Kafka at all. To make a job begin anew,
/// stop it and let the anchor [`forget`](Anchor::forget) it: what was written stays, and is written again.
///
/// Each task has a transactional id, `{job}-{task}`: whoever claims the task takes it over, and the broker
/// refuses the former owner from then on.
///
/// # What it does not promise
/// - Readers without `read_committed` see what was aborted and written again.
/// - An instance that dies in the middle of a commit leaves a transaction open, and readers wait behind it:
///   until another instance claims the task (6 s after a crash, by the group's session time-out), at the
///   latest for `transaction.timeout.ms` (30 s; more where commits [take long](Self::call_timeout)).
/// - The client library does not know the transactions of KIP-890. A record of a commit that is
///   delayed in the network for longer than its transaction lasts, and arrives after it, would be taken for
///   part of the next transaction or leave one open. Positions and state cannot be torn apart by that,
///   being in one partition, but a result could be; the client waits for each acknowledgement before it
///   commits, so it takes a connection that is lost and whose bytes arrive later. Whoever moves money by
///   such results should recognise a repeat by its business key.
///
/// - An unclean leader election loses the last records of single partitions: of a result, or of the changelog,
///   whose epochs are then read and written again.
///
/// # Limits
/// The number of tasks is that of the changelog's partitions: when the source has another number of
/// partitions later, the job is refused with a message that says what to do. The state of a task is read
/// into memory before the first page of it is restored. A piece of state larger than 768 KiB is cut into
/// records of that size, so a limit below 1 MiB (`max.message.bytes`) does not fit.
///
/// ```
/// use std::time::Duration;
/// use rtbflow::{Job, Timestamp};
/// use rtbflow::operators::window::{Count, Late, Tumbling, Windowed};
/// use rtbflow_kafka::Kafka;
///
/// #[derive(serde::Deserialize)]
/// struct Click { ad_id: String, timestamp: Timestamp }
///
/// let kafka = Kafka::new("127.0.0.1:9092");
/// let clicks = kafka.topic("clicks").json::<Click>().event_time(|click| click.timestamp, Duration::from_secs(5));
/// let place = kafka.anchor();
/// let job = Job::new("clicks-per-ad")?.source(clicks).anchor(place.clone()).pipeline(move |clicks| {
///     clicks.key_by(|click| click.ad_id.clone())
///         .window(Tumbling::of(Duration::from_mins(5)).late(Late::DeadLetter))
///         .aggregate("clicks", Count)
///         .to(place.records("clicks-per-ad").key(|window: &Windowed<String, u64>| &window.key).json())
/// });
/// assert!(job.topology()?.to_string().contains("kafka"));
/// # Ok::<(), rtbflow::Error>(())
/// ```
#[derive(Clone)]
pub struct KafkaAnchor {
    inner: Arc<Inner>,
}

struct Inner {
    kafka: Kafka,
    place: Place,
    results: Results,
    creates: bool,
    call_timeout: Duration,
    /// Whether the changelog is known to keep what is written.
    lasting: AtomicBool,
    offset_clients: OnceLock<OffsetClients>,
    seats: Mutex<Seats>,
}

/// The seats of the tasks that this handle has claimed or committed for; one call at a time uses one.
type Seats = HashMap<(JobName, u32), Arc<tokio::sync::Mutex<Seat>>>;

impl Drop for Inner {
    fn drop(&mut self) {
        let seats = std::mem::take(&mut *self.seats.lock().unwrap_or_else(PoisonError::into_inner));
        drop_elsewhere((seats, self.offset_clients.take()));
    }
}

impl fmt::Debug for KafkaAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaAnchor({})", self.inner.kafka.servers())
    }
}

impl Kafka {
    /// This cluster as the place of a job's results, state and positions.
    #[must_use]
    pub fn anchor(&self) -> KafkaAnchor {
        let place = (Place::new("kafka"), Results::default());
        KafkaAnchor::new(self.clone(), place, (true, LONGEST_CALL))
    }
}

impl KafkaAnchor {
    fn new(
        kafka: Kafka,
        (place, results): (Place, Results),
        (creates, call_timeout): (bool, Duration),
    ) -> Self {
        let (lasting, offset_clients, seats) =
            (AtomicBool::new(false), OnceLock::new(), Mutex::default());
        let inner =
            Inner { kafka, place, results, creates, call_timeout, lasting, offset_clients, seats };
        Self { inner: Arc::new(inner) }
    }

    fn anew(&self, creates: bool, call_timeout: Duration) -> Self {
        let Inner { kafka, place, results, .. } = &*self.inner;
        Self::new(kafka.clone(), (*place, results.clone()), (creates, call_timeout))
    }

    /// Whether a changelog that is missing is made; it is, unless it is said otherwise.
    #[must_use]
    pub fn create_changelog(&self, creates: bool) -> Self {
        self.anew(creates, self.inner.call_timeout)
    }

    /// How long a call may take (10 s), and a little more by the size of an epoch. A commit that takes longer is made
    /// again; if its brokers took any record of it, it then may take twice as long, up to 64 times, so that
    /// an epoch gets through a thin line. A transaction may be open for three times that, 15 minutes at most.
    #[must_use]
    pub fn call_timeout(&self, timeout: Duration) -> Self {
        self.anew(self.inner.creates, timeout)
    }

    /// Another handle on the same place with producers of its own, where a clone shares them: as another
    /// instance would have it.
    #[must_use]
    pub fn with_own_connections(&self) -> Self {
        self.anew(self.inner.creates, self.inner.call_timeout)
    }

    /// A sink of records for a topic.
    pub fn records<T>(&self, topic: impl Into<String>) -> Records<T> {
        let topic: Arc<str> = topic.into().into();
        let limit = self.inner.results.limit(&topic);
        Records::new(self.inner.place, topic, limit)
    }

    fn seat(&self, job: &JobName, task: Task) -> Arc<tokio::sync::Mutex<Seat>> {
        let mut seats = self.inner.seats.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(seats.entry((job.clone(), task.number)).or_default())
    }

    /// Makes a call on a thread of its own, with the seat of a task. A call that was given up goes on by
    /// itself; the next one waits for its end. `longest` is how long it may take, by the seat's patience.
    async fn with_seat<T: Send + 'static>(
        &self,
        attempt: String,
        (job, task): (&JobName, Task),
        longest: impl Fn(u32) -> Duration,
        call: impl FnOnce(&mut Seat, &Room<'_>, Deadline) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let attempt = format!("{attempt} at {}", self.inner.kafka.servers());
        let seat = self.seat(job, task).lock_owned();
        let Ok(mut seat) = timeout(longest(1) + GRACE, seat).await else {
            return Err(Error::transient(format!("{attempt}: an earlier call does not end")));
        };
        let times = seat.patience.times();
        let longest = longest(times);
        let (inner, job) = (Arc::clone(&self.inner), job.clone());
        blocking(&attempt, longest + GRACE, move || {
            let room = inner.room(&job, task, times)?;
            call(&mut seat, &room, Deadline::after(longest))
        })
        .await
    }

    /// Makes a call on a thread of its own that is about all tasks of a job.
    async fn with_job<T: Send + 'static>(
        &self,
        attempt: String,
        job: &JobName,
        longest: Duration,
        call: impl FnOnce(&Room<'_>, Deadline) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let attempt = format!("{attempt} at {}", self.inner.kafka.servers());
        let (inner, job) = (Arc::clone(&self.inner), job.clone());
        blocking(&attempt, longest + GRACE, move || {
            let room = inner.room(&job, Task { number: 0, of: 1 }, 1)?;
            call(&room, Deadline::after(longest))
        })
        .await
    }

    async fn commit_one(&self, job: &JobName, epoch: &Epoch) -> Result<Verdict> {
        let attempt = format!("commit task {} of job {job} to Kafka", epoch.task);
        let order = self.order(epoch)?;
        let longest = self.inner.call_timeout + time_to_write(epoch);
        let longest = |times| longest.saturating_mul(times);
        self.with_seat(attempt, (job, epoch.task), longest, move |seat, room, deadline| {
            let open_for = room.open_for.max(deadline.left()).min(LONGEST_TRANSACTION);
            seat.commit(&Room { open_for, ..*room }, &order, deadline)
        })
        .await
    }

    fn order(&self, epoch: &Epoch) -> Result<Order> {
        let batches = StagedBatch::of((0, epoch), self.inner.place).collect::<Result<_>>()?;
        let bare = Gathered { chunks: epoch.chunks.clone(), ..Gathered::default() };
        Ok(Order { epoch: Epoch::new(epoch.task, epoch.advances.clone(), bare), batches })
    }
}

impl Inner {
    /// What calls need to know that may take this many times longer than asked for.
    fn room<'a>(&'a self, job: &'a JobName, task: Task, times: u32) -> Result<Room<'a>> {
        let Self { kafka, results, creates, lasting, .. } = self;
        let open_for = self.call_timeout.saturating_mul(OPEN_FOR_CALLS * times);
        let open_for = open_for.min(LONGEST_TRANSACTION);
        let (offset_clients, creates) = (self.offset_clients()?, *creates);
        Ok(Room { kafka, results, offset_clients, job, task, creates, open_for, lasting })
    }

    fn offset_clients(&self) -> Result<&OffsetClients> {
        if self.offset_clients.get().is_none() {
            // Of two that are made at once, one is used.
            let _ = self.offset_clients.set(OffsetClients::new(&self.kafka)?);
        }
        self.offset_clients.get().ok_or_else(|| Error::permanent("make a Kafka client"))
    }
}

/// What a commit may take beside the deadline of a call, by its size.
fn time_to_write(epoch: &Epoch) -> Duration {
    const ROWS_A_SECOND: usize = 5_000;
    const BYTES_A_SECOND: usize = 2 << 20;
    let rows: usize = epoch.staged.iter().map(|staged| staged.rows).sum();
    let bytes: usize = epoch.chunks.iter().map(Chunk::len).sum();
    let seconds = rows / ROWS_A_SECOND + bytes / BYTES_A_SECOND;
    Duration::from_secs(seconds.try_into().unwrap_or(u64::MAX))
}

impl Anchor for KafkaAnchor {
    fn place(&self) -> Place {
        self.inner.place
    }

    fn topics(&self) -> Vec<String> {
        self.inner.results.names()
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        let Inner { kafka, results, creates, .. } = &*self.inner;
        kafka.check(LONGEST_CALL).await?;
        let mut topics = results.names();
        topics.extend((!creates).then(|| TopicSpec::changelog(job, 0).name().to_owned()));
        kafka.are_there("write", topics).await?;
        results.look(kafka, LONGEST_CALL).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        let (attempt, claim) =
            (format!("claim task {} of job {job} in Kafka", claim.task), claim.clone());
        let longest = |_| LONGEST_CLAIM;
        self.with_seat(attempt, (job, claim.task), longest, move |seat, room, deadline| {
            seat.claim(room, &claim, deadline)
        })
        .await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        let attempt = format!("restore task {task} of job {job} from Kafka");
        let longest = |_| LONGEST_RESTORE;
        self.with_seat(attempt, (job, task), longest, move |seat, room, _| {
            seat.restore(room, from.as_deref())
        })
        .await
    }

    /// Each epoch is a transaction of its own, by the producer of its task.
    fn commits_apart(&self) -> bool {
        true
    }

    /// Those of several epochs are made at the same time.
    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let commits = epochs.iter().map(|epoch| self.commit_one(job, epoch));
        let verdicts = join_all(commits).await;
        let refused = verdicts.iter().zip(0..).filter_map(|(verdict, number)| {
            verdict.as_ref().err().map(|error| of_epoch(number, error))
        });
        let refused: Vec<_> = refused.flatten().collect();
        // What was applied of the others is found so when they are committed again.
        if refused.is_empty() {
            verdicts.into_iter().collect()
        } else {
            Err(Error::refused(refused))
        }
    }

    async fn kept(&self, job: &JobName) -> Result<Kept> {
        let attempt = format!("look for what is kept of job {job} in Kafka");
        self.with_job(attempt, job, LONGEST_RESTORE, forget::kept).await
    }

    /// Takes over all tasks, and then deletes the changelog, which is the one step: until it is gone, all is
    /// as it was, but for instances that still run, which are fenced. Results stay; whoever reads them sees
    /// those of the next run behind them.
    async fn forget(&self, job: &JobName) -> Result<()> {
        let attempt = format!("forget job {job} in Kafka");
        self.with_job(attempt, job, LONGEST_CLAIM, forget::forget).await
    }
}
