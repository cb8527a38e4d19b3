//! Where partitions begin and end, asked of a client that reads nothing.
//!
//! The reading client cannot be asked: its answers wait behind its fetches, its cached watermarks are
//! as old as the last fetch and know nothing of open transactions. A second client answers within a
//! millisecond, and its answer is a proof: what it says holds as of the request. An answer that does
//! not come proves nothing.
//!
//! Now and then it checks the topics: whether they are still the same, by their ids, and how many partitions
//! they have. The group notices that only of the topic that it subscribes to, and only once a member happens to
//! be assigned a new partition.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;
use rtbflow::epoch::TopicId;
use rtbflow::{Clock, Error, ErrorKind, Partition, Result, Topic};
use tracing::{info, warn};

use crate::client::blocking::{drop_elsewhere, spawn};
use crate::client::context::Callbacks;
use crate::client::deadline::Deadline;
use crate::client::failure::{code, failure, kind};
use crate::client::native::describe;
use crate::client::offsets::{ListedOffsets, Offsets, offsets, serve_events};
use crate::source::mailbox::{EndOffsets, ReaderMailbox, StartOffsets};
use crate::source::topic_watch::TopicWatch;
use crate::source::truncation::{OffsetAndEpoch, cuts};

/// What its client is called in log lines.
pub(crate) const CLIENT: &str = "ends";
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after a request that failed and that somebody waits for.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long a client may answer nothing before another one asks in its place.
const CLIENT_PATIENCE: Duration = Duration::from_secs(8);
/// The pause between two log lines about a broker that does not answer.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// The thread that asks; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct OffsetLookup(Arc<Requests>);

#[derive(Debug, Default)]
struct Requests {
    current: Mutex<Request>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone)]
struct Request {
    partitions: Vec<Partition>,
    starts_for: Option<u64>,
    /// The positions that reading is to begin at, where their leader epochs are known.
    to_validate: BTreeMap<Partition, OffsetAndEpoch>,
    /// The topics are to be checked; the number goes with the answer.
    check: Option<u64>,
    stop: bool,
}

impl OffsetLookup {
    /// Starts to ask with `client`, once each `interval`, and to put the answers into the mailbox.
    pub(crate) fn start(
        client: BaseConsumer<Callbacks>,
        clock: Arc<dyn Clock>,
        interval: Duration,
        watch: TopicWatch,
        mailbox: Arc<ReaderMailbox>,
    ) -> Result<Self> {
        let requests = Arc::new(Requests::default());
        let lookup = Self(Arc::clone(&requests));
        let next_check = Deadline::after(watch.pause);
        let worker = Worker { client, clock, mailbox, watch, next_check, silent: None };
        spawn("rtbflow-kafka-ends", move || worker.run(&requests, interval))?;
        Ok(lookup)
    }

    /// From now on these partitions are asked for.
    pub(crate) fn watch(&self, partitions: Vec<Partition>) {
        self.0.change(|request| request.partitions = partitions);
    }

    /// Checks the topics at once; the answer comes with this number.
    pub(crate) fn check_topics(&self, number: u64) {
        self.0.change(|request| request.check = Some(number));
    }

    /// Asks at once, and for the partitions' starts too, until an answer comes.
    pub(crate) fn ask_starts(
        &self,
        generation: u64,
        to_validate: BTreeMap<Partition, OffsetAndEpoch>,
    ) {
        self.0.change(|request| {
            (request.starts_for, request.to_validate) = (Some(generation), to_validate)
        });
    }
}

impl Drop for OffsetLookup {
    fn drop(&mut self) {
        self.0.change(|request| request.stop = true);
    }
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Request> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Request)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// The request after a pause, which ends early when somebody asks for the starts, for a check or for the end.
    fn wait(&self, pause: Duration, patient: bool) -> Request {
        let request = self.lock();
        let idle = |request: &mut Request| {
            !request.stop && (patient || (request.starts_for.is_none() && request.check.is_none()))
        };
        let woken = self.changed.wait_timeout_while(request, pause, idle);
        woken.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// How many requests had no answer, and when to say so again.
struct Silence {
    requests: u64,
    next_log: Deadline,
    next_client: Deadline,
}

struct Worker {
    client: BaseConsumer<Callbacks>,
    clock: Arc<dyn Clock>,
    mailbox: Arc<ReaderMailbox>,
    watch: TopicWatch,
    next_check: Deadline,
    silent: Option<Silence>,
}

impl Worker {
    fn run(mut self, requests: &Requests, interval: Duration) {
        let mut failed = false;
        loop {
            let pause = if failed { interval.min(RETRY_PAUSE) } else { interval };
            let request = requests.wait(pause, failed);
            if request.stop {
                return;
            }
            serve_events(&self.client);
            failed = false;
            // The topics first: ends of a topic that was made anew are no ends of the one that is read.
            if self.next_check.is_over() || request.check.is_some() {
                failed = self.check_topics(request.check, requests).is_err();
            }
            // Until something is assigned there is nothing else to ask.
            if !request.partitions.is_empty() {
                failed |= self.answer(&request, requests).is_err();
                self.replace_silent_client();
            }
        }
    }

    /// Asks once, and passes on what comes of it. An error says that nobody has answered.
    fn answer(&mut self, request: &Request, requests: &Requests) -> Result<(), ()> {
        match self.ask(request) {
            Ok(answer) => {
                self.publish(answer, requests);
                return Ok(());
            }
            Err(error) if error.is_transient() => self.warn_of_silence(&error),
            // No broker will ever answer this: the reader ends with it.
            Err(error) => self.mailbox.update(|slots| slots.refused = Some(error)),
        }
        Err(())
    }

    fn failure(&self, error: &KafkaError) -> Error {
        failure("ask Kafka for the end offsets of partitions", error, &self.watch.kafka.secrets())
    }

    /// Checks that the topics are still as they were when the source was opened. No answer means nothing.
    fn check_topics(&mut self, number: Option<u64>, requests: &Requests) -> Result<(), KafkaError> {
        let names: Vec<&str> = self.watch.topics.iter().map(|opened| opened.topic.name()).collect();
        let found = match describe(&self.client, &names, REQUEST_TIMEOUT) {
            Ok(found) => found,
            // A user who may not ask has not seen any ids either.
            Err(error) if code(&error).is_some_and(|code| kind(code) != ErrorKind::Transient) => {
                BTreeMap::new()
            }
            Err(error) => return Err(error),
        };
        self.next_check = Deadline::after(self.watch.pause);
        let changed = self.watch.compare(&found);
        if number.is_some() {
            requests.change(|request| {
                request.check = request.check.filter(|wanted| Some(*wanted) != number)
            });
        }
        if changed.is_some() || number.is_some() {
            self.mailbox.update(|slots| {
                slots.changed = changed.or(slots.changed);
                // A check that nobody asked for answers nobody.
                slots.checked = number.unwrap_or(slots.checked);
            });
        }
        Ok(())
    }

    /// The ids that the topics have now, of those that had ids when the source was opened.
    ///
    /// # Errors
    /// Transient if one of them is not known at the moment: without its id nobody would notice that it is another.
    fn ids(&self) -> Result<BTreeMap<Topic, TopicId>> {
        let topics = self.watch.with_ids();
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names: Vec<&str> = topics.iter().map(|topic| topic.name()).collect();
        let found = describe(&self.client, &names, REQUEST_TIMEOUT);
        let found = found.map_err(|error| self.failure(&error))?;
        let id = |topic: &Topic| {
            let id = found.get(topic.name()).and_then(|found| found.id);
            let unknown = || {
                Error::transient(format!("ask Kafka for the id of topic {topic}: it has none now"))
            };
            Ok((*topic, id.ok_or_else(unknown)?))
        };
        topics.iter().map(id).collect()
    }

    fn ask(&self, request: &Request) -> Result<EndOffsets> {
        // Before the request: what it answers holds as of then, and not as of when the answer came.
        let asked = self.clock.now();
        let ListedOffsets { offsets: ends, leader_epochs } = self.offsets(request, Offset::End)?;
        let starts = match request.starts_for {
            Some(generation) => {
                Some(self.ask_starts(request, generation, &ends, &leader_epochs)?)
            }
            None => None,
        };
        Ok(EndOffsets { asked, ends, leader_epochs, starts })
    }

    fn ask_starts(
        &self,
        request: &Request,
        generation: u64,
        ends: &Offsets,
        leader_epochs: &BTreeMap<Partition, i32>,
    ) -> Result<StartOffsets> {
        let offsets = self.offsets(request, Offset::Beginning)?.offsets;
        let mut to_validate = request.to_validate.clone();
        // In one leader epoch a log only grows, and one that ends before the position is seen to by its offsets. A
        // broker that says no epoch is too old to validate anything.
        to_validate.retain(|partition, at| {
            let beyond = ends.get(partition).is_some_and(|end| at.offset > *end);
            let epoch = leader_epochs.get(partition);
            !beyond && epoch.is_some_and(|epoch| *epoch != at.leader_epoch)
        });
        let cuts = cuts(&self.watch.kafka, &to_validate)?;
        Ok(StartOffsets { generation, offsets, ids: self.ids()?, cuts })
    }

    fn offsets(&self, request: &Request, kind: Offset) -> Result<ListedOffsets> {
        let found = offsets(&self.client, &request.partitions, kind, REQUEST_TIMEOUT);
        found.map_err(|error| self.failure(&error))
    }

    fn publish(&mut self, mut answer: EndOffsets, requests: &Requests) {
        if self.silent.take().is_some() {
            info!("Kafka answers again with the end offsets of partitions");
        }
        let answered = answer.starts.as_ref().map(|starts| starts.generation);
        if answered.is_some() {
            requests.change(|request| {
                if request.starts_for == answered {
                    request.starts_for = None;
                }
            });
        }
        self.mailbox.update(|slots| {
            // The newest ends count, but starts that nobody has read yet are not asked for again.
            if answer.starts.is_none() {
                answer.starts = slots.ends.take().and_then(|unread| unread.starts);
            }
            slots.ends = Some(answer);
        });
    }

    fn warn_of_silence(&mut self, error: &Error) {
        let fresh = || Silence {
            requests: 0,
            next_log: Deadline::after(Duration::ZERO),
            next_client: Deadline::after(CLIENT_PATIENCE),
        };
        let silent = self.silent.get_or_insert_with(fresh);
        silent.requests += 1;
        if silent.next_log.is_over() {
            silent.next_log = Deadline::after(LOG_PAUSE);
            warn!(
                questions = silent.requests,
                "Kafka does not answer with the end offsets of partitions; lag and idleness are \
                 unknown: {}",
                error.report()
            );
        }
    }

    /// Lets another client ask where this one has answered nothing for long. librdkafka 2.12.1 was seen to take all brokers
    /// for down, minutes after a broker that had frozen was there again, while new clients of the same process had their
    /// answers at once.
    fn replace_silent_client(&mut self) {
        let Some(silent) = &mut self.silent else { return };
        if !silent.next_client.is_over() {
            return;
        }
        silent.next_client = Deadline::after(CLIENT_PATIENCE);
        match self.watch.kafka.query_client(CLIENT) {
            Ok(client) => drop_elsewhere(mem::replace(&mut self.client, client)),
            // The one that there is asks on.
            Err(error) => warn!("make another client to ask Kafka for offsets: {}", error.report()),
        }
    }
}
