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
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;
use rtbflow::epoch::TopicId;
use rtbflow::{Clock, ErrorKind, Partition, Result, Topic};
use tracing::{info, warn};

use crate::client::blocking::spawn;
use crate::client::context::Context;
use crate::client::deadline::Deadline;
use crate::client::failure::{failure, kind};
use crate::client::kafka::Kafka;
use crate::client::native::{TopicDescription, describe};
use crate::client::offsets::{ListedOffsets, offsets, serve_events};
use crate::source::mailbox::{EndOffsets, Mailbox, StartOffsets, TopicChange};
use crate::source::truncation::{OffsetAndEpoch, cuts};

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after a request that failed and that somebody waits for.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The pause between two log lines about a broker that does not answer.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// A topic as it was when the source was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenedTopic {
    pub(crate) topic: Topic,
    pub(crate) partitions: u32,
    /// Its id; `None` where the brokers are older than the ids.
    pub(crate) id: Option<TopicId>,
}

/// The topics that are checked now and then.
#[derive(Debug)]
pub(crate) struct TopicWatch {
    /// Where they are.
    pub(crate) kafka: Kafka,
    pub(crate) topics: Vec<OpenedTopic>,
    /// The pause between two checks.
    pub(crate) pause: Duration,
}

impl TopicWatch {
    /// What is not any more as it was. A topic that is missing now may be there again in a moment.
    fn compare(&self, found: &BTreeMap<String, TopicDescription>) -> Option<TopicChange> {
        self.topics.iter().find_map(|opened| {
            let now = found.get(opened.topic.name())?;
            match (opened.id, now.id) {
                (Some(was), Some(is)) if was != is => {
                    Some(TopicChange::Recreated(opened.topic, was, is))
                }
                _ => (now.partitions != opened.partitions)
                    .then_some(TopicChange::Partitions(opened.topic, now.partitions)),
            }
        })
    }
}

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
        client: BaseConsumer<Context>,
        clock: Arc<dyn Clock>,
        interval: Duration,
        watch: TopicWatch,
        mailbox: Arc<Mailbox>,
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
}

struct Worker {
    client: BaseConsumer<Context>,
    clock: Arc<dyn Clock>,
    mailbox: Arc<Mailbox>,
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
            if self.next_check.is_over() || request.check.is_some() {
                failed = self.check_topics(request.check, requests).is_err();
            }
            if request.partitions.is_empty() {
                continue;
            }
            let answer = self.ask(&request);
            failed |= answer.is_err();
            match answer {
                Ok(answer) => self.publish(answer, requests),
                Err(error) if error.rdkafka_error_code().is_some_and(|code| !is_passing(code)) => {
                    let secrets = self.watch.kafka.secrets();
                    let error =
                        failure("ask Kafka for the end offsets of partitions", &error, &secrets);
                    self.mailbox.update(|slots| slots.refused = Some(error));
                }
                Err(error) => self.warn_of_silence(&error),
            }
        }
    }

    /// Checks that the topics are still as they were when the source was opened. No answer means nothing.
    fn check_topics(&mut self, number: Option<u64>, requests: &Requests) -> KafkaResult<()> {
        let names: Vec<&str> = self.watch.topics.iter().map(|opened| opened.topic.name()).collect();
        let found = match describe(&self.client, &names, REQUEST_TIMEOUT) {
            Ok(found) => found,
            // A user who may not ask has not seen any ids either.
            Err(error) if error.rdkafka_error_code().is_some_and(|code| !is_passing(code)) => {
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
                slots.checked = number.unwrap_or(slots.checked);
            });
        }
        Ok(())
    }

    /// The ids that the topics have now, of those that had ids when the source was opened.
    fn ids(&self) -> KafkaResult<BTreeMap<Topic, TopicId>> {
        let with_ids = self.watch.topics.iter().filter(|opened| opened.id.is_some());
        let topics: Vec<Topic> = with_ids.map(|opened| opened.topic).collect();
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names: Vec<&str> = topics.iter().map(|topic| topic.name()).collect();
        let found = describe(&self.client, &names, REQUEST_TIMEOUT)?;
        let id = |topic: &Topic| Some((*topic, found.get(topic.name())?.id?));
        Ok(topics.iter().filter_map(id).collect())
    }

    fn ask(&self, request: &Request) -> KafkaResult<EndOffsets> {
        let asked = self.clock.now();
        let ask = |kind| offsets(&self.client, &request.partitions, kind, REQUEST_TIMEOUT);
        let ListedOffsets { offsets: ends, leader_epochs } = ask(Offset::End)?;
        let starts = request.starts_for.map(|generation| {
            let offsets = ask(Offset::Beginning)?.offsets;
            let mut to_validate = request.to_validate.clone();
            // In one leader epoch a log only grows.
            to_validate.retain(|partition, at| {
                let beyond = ends.get(partition).is_some_and(|end| at.offset > *end);
                let epoch = leader_epochs.get(partition);
                !beyond && epoch.is_some_and(|epoch| *epoch != at.leader_epoch)
            });
            let cuts = cuts(&self.watch.kafka, &to_validate)?;
            Ok(StartOffsets { generation, offsets, ids: self.ids()?, cuts })
        });
        let starts: Option<KafkaResult<StartOffsets>> = starts;
        Ok(EndOffsets { asked, ends, leader_epochs, starts: starts.transpose()? })
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
            if answer.starts.is_none() {
                answer.starts = slots.ends.take().and_then(|unread| unread.starts);
            }
            slots.ends = Some(answer);
        });
    }

    fn warn_of_silence(&mut self, error: &KafkaError) {
        let fresh = || Silence { requests: 0, next_log: Deadline::after(Duration::ZERO) };
        let silent = self.silent.get_or_insert_with(fresh);
        silent.requests += 1;
        if silent.next_log.is_over() {
            silent.next_log = Deadline::after(LOG_PAUSE);
            warn!(
                questions = silent.requests,
                "Kafka does not answer with the end offsets of partitions; lag and idleness are \
                 unknown: {error}"
            );
        }
    }
}

fn is_passing(code: RDKafkaErrorCode) -> bool {
    kind(code) == ErrorKind::Transient
}
