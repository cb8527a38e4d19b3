//! The place: a Kafka cluster, and one session per task.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rtbflow::epoch::{JobName, Task};
use rtbflow::sink::Place;
use rtbflow::{Error, Result};
use tokio::time::{sleep, timeout};

use crate::anchor::options::{GRACE, Options};
use crate::anchor::replay::OffsetClients;
use crate::anchor::session::Session;
use crate::anchor::target::Target;
use crate::client::blocking::{blocking, drop_elsewhere};
use crate::client::deadline::{Deadline, Moment};
use crate::client::kafka::Kafka;
use crate::producer::records::KafkaSinkBuilder;
use crate::producer::result_topics::ResultTopics;

/// A Kafka cluster as the place of a job's results, state and positions: one transaction per epoch, and
/// each record once for whoever reads with `isolation.level=read_committed`. To write to Kafka beside
/// another place, see [`KafkaWriter`](crate::KafkaWriter).
///
/// A clone is another handle on the same place.
///
/// # What it keeps
/// One topic, `{job}.changelog`: compacted, one partition per task, made on the first claim unless
/// [`create_changelog`](Self::create_changelog) forbids it. Each commit writes the task's positions there
/// behind the changes of its state. Nothing is kept in the group's offsets, which expire when a group is
/// away for long; so the source may be of another cluster, or no Kafka at all. To make a job begin anew,
/// stop it and let the anchor [`forget`](rtbflow::epoch::Anchor::forget) it: what was written stays, and is
/// written again.
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
/// let job = Job::new("clicks-per-ad").source(clicks).anchor(place.clone()).pipeline(move |clicks| {
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
    pub(crate) inner: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) kafka: Kafka,
    pub(crate) place: Place,
    pub(crate) results: ResultTopics,
    pub(crate) options: Options,
    /// Whether the changelog is known to be compacted only.
    is_compacted: AtomicBool,
    offset_clients: Mutex<Option<Arc<OffsetClients>>>,
    sessions: Mutex<Sessions>,
    /// Whether idle clients are looked for.
    is_tidied: AtomicBool,
}

/// The shortest pause between two looks for idle clients.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// The sessions of the tasks that this handle has claimed or committed for; each is used by one call at a time.
type Sessions = HashMap<(JobName, u32), Arc<tokio::sync::Mutex<Session>>>;

impl Drop for Shared {
    fn drop(&mut self) {
        let sessions = self.sessions.get_mut().unwrap_or_else(PoisonError::into_inner);
        let clients = self.offset_clients.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop_elsewhere((std::mem::take(sessions), clients.take()));
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
        let (place, results) = (Place::new("kafka"), ResultTopics::default());
        KafkaAnchor::new(self.clone(), place, results, Options::default())
    }
}

impl KafkaAnchor {
    fn new(kafka: Kafka, place: Place, results: ResultTopics, options: Options) -> Self {
        let inner = Shared {
            kafka,
            place,
            results,
            options,
            is_compacted: AtomicBool::new(false),
            offset_clients: Mutex::default(),
            sessions: Mutex::default(),
            is_tidied: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The same place with these options, and with sessions of its own.
    fn with_options(&self, options: Options) -> Self {
        let Shared { kafka, place, results, .. } = &*self.inner;
        Self::new(kafka.clone(), *place, results.clone(), options)
    }

    /// Whether a changelog that is missing is made; it is, by default.
    #[must_use]
    pub fn create_changelog(&self, creates: bool) -> Self {
        self.with_options(Options { creates_changelog: creates, ..self.inner.options })
    }

    /// How long a call may take (10 s), and a little more by the size of an epoch. A commit that takes longer is made
    /// again; if its brokers took any record of it, it then may take twice as long, up to 64 times, so that
    /// an epoch gets through a thin line. A transaction may be open for three times that, 15 minutes at most.
    #[must_use]
    pub fn call_timeout(&self, timeout: Duration) -> Self {
        self.with_options(Options { call_timeout: timeout, ..self.inner.options })
    }

    /// How long a task's producer is kept that nobody commits with (20 s). Each has threads and connections of its own;
    /// the first commit after that makes another, which takes some tens of milliseconds, unless somebody else has
    /// claimed the task meanwhile.
    #[must_use]
    pub fn idle_timeout(&self, timeout: Duration) -> Self {
        self.with_options(Options { idle_timeout: timeout, ..self.inner.options })
    }

    /// Another handle on the same place with producers of its own, where a clone shares them: as another
    /// instance would have it.
    #[must_use]
    pub fn with_own_connections(&self) -> Self {
        self.with_options(self.inner.options)
    }

    /// A sink of records for a topic.
    pub fn records<T>(&self, topic: impl Into<String>) -> KafkaSinkBuilder<T> {
        let topic: Arc<str> = topic.into().into();
        let limit = self.inner.results.limit(&topic);
        KafkaSinkBuilder::new(self.inner.place, topic, limit)
    }

    fn session(&self, job: &JobName, task: Task) -> Arc<tokio::sync::Mutex<Session>> {
        let mut sessions = self.inner.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sessions.entry((job.clone(), task.number)).or_default())
    }

    /// Makes a call on a thread of its own, with the session of a task. A call that was given up goes on by
    /// itself; the next one waits for its end. `longest` is how long it may take, by the session's patience.
    pub(crate) async fn with_session<T: Send + 'static>(
        &self,
        attempt: String,
        (job, task): (&JobName, Task),
        longest: impl Fn(u32) -> Duration,
        call: impl FnOnce(&mut Session, &Target<'_>, Deadline) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let attempt = format!("{attempt} at {}", self.inner.kafka.servers());
        let session = self.session(job, task).lock_owned();
        // One call at a time: two that use one producer would be in each other's transaction.
        let Ok(mut session) = timeout(longest(1).saturating_add(GRACE), session).await else {
            return Err(Error::transient(format!(
                "{attempt}: an earlier call for this task has not ended yet, and is waited for"
            )));
        };
        self.tidy();
        let times = session.patience.times();
        let longest = longest(times);
        let (inner, job) = (Arc::clone(&self.inner), job.clone());
        blocking(&attempt, longest.saturating_add(GRACE), move || {
            let clients = inner.offset_clients()?;
            let target = inner.target(&clients, (&job, task), times);
            let done = call(&mut session, &target, Deadline::after(longest));
            session.used = Moment::now();
            inner.note_outcome(&clients, done.as_ref().err());
            done
        })
        .await
    }

    /// Makes a call on a thread of its own that is about all tasks of a job.
    pub(crate) async fn with_job<T: Send + 'static>(
        &self,
        attempt: String,
        job: &JobName,
        longest: Duration,
        call: impl FnOnce(&Target<'_>, Deadline) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let attempt = format!("{attempt} at {}", self.inner.kafka.servers());
        let (inner, job) = (Arc::clone(&self.inner), job.clone());
        blocking(&attempt, longest + GRACE, move || {
            let clients = inner.offset_clients()?;
            let target = inner.target(&clients, (&job, Task { number: 0, of: 1 }), 1);
            let done = call(&target, Deadline::after(longest));
            inner.note_outcome(&clients, done.as_ref().err());
            done
        })
        .await
    }

    /// Gives back clients that nobody has used for a while, from the first call on and for as long as there is a
    /// handle.
    fn tidy(&self) {
        if self.inner.is_tidied.swap(true, Ordering::Relaxed) {
            return;
        }
        let (shared, pause) = (Arc::downgrade(&self.inner), self.inner.options.idle_timeout / 2);
        // Its end is that of the place, or of the runtime.
        drop(tokio::spawn(async move {
            loop {
                sleep(pause.max(SHORTEST_PAUSE)).await;
                match shared.upgrade() {
                    Some(shared) => shared.give_back(),
                    None => return,
                }
            }
        }));
    }
}

impl Shared {
    /// What a call goes to that may take this many times longer than usual.
    fn target<'a>(
        &'a self,
        offset_clients: &'a OffsetClients,
        (job, task): (&'a JobName, Task),
        times: u32,
    ) -> Target<'a> {
        let Self { kafka, results, options, is_compacted, .. } = self;
        Target {
            kafka,
            results,
            offset_clients,
            job,
            task,
            creates_changelog: options.creates_changelog,
            transaction_timeout: options.transaction_timeout(times),
            is_compacted,
        }
    }

    fn offset_clients(&self) -> Result<Arc<OffsetClients>> {
        let mut clients = self.offset_clients.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match &*clients {
            Some(clients) => Arc::clone(clients),
            None => Arc::clone(clients.insert(Arc::new(OffsetClients::new(&self.kafka)?))),
        })
    }

    /// Discards the clients that ask for offsets where a call has failed: they may have lost their brokers for good.
    fn note_outcome(&self, used: &Arc<OffsetClients>, error: Option<&Error>) {
        if error.is_some_and(Error::is_transient) {
            let mut clients = self.offset_clients.lock().unwrap_or_else(PoisonError::into_inner);
            drop_elsewhere(clients.take_if(|clients| Arc::ptr_eq(clients, used)));
        }
    }

    /// Gives back the clients that nobody has used for a while. A task without a producer is still the owner's: what
    /// its next commit makes a new one for is to be seen in the place.
    fn give_back(&self) {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle =
            |session: &Session| Moment::now().since(session.used) >= self.options.idle_timeout;
        let mut is_any_used = false;
        #[expect(clippy::iter_over_hash_type, reason = "each is given back by itself")]
        for session in sessions.values() {
            // One that is locked is at work.
            match session.try_lock() {
                Ok(mut session) if is_idle(&session) => session.discard_producer(),
                _ => is_any_used = true,
            }
        }
        drop(sessions);
        let mut clients = self.offset_clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clients) =
            clients.take_if(|clients| !is_any_used && Arc::strong_count(clients) == 1)
        {
            drop_elsewhere(clients);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_ask_for_offsets_are_replaced_where_a_call_has_failed() {
        // Nobody listens there; clients are made all the same.
        let shared = Kafka::new("127.0.0.1:1").anchor().inner;
        let first = shared.offset_clients().unwrap();
        shared.note_outcome(&first, None);
        shared.note_outcome(&first, Some(&Error::config("no right to it")));
        assert!(Arc::ptr_eq(&first, &shared.offset_clients().unwrap()));
        shared.note_outcome(&first, Some(&Error::transient("no answer")));
        let second = shared.offset_clients().unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        // Another call that failed by the same ones does not take the new ones away.
        shared.note_outcome(&first, Some(&Error::transient("no answer")));
        assert!(Arc::ptr_eq(&second, &shared.offset_clients().unwrap()));
    }
}
