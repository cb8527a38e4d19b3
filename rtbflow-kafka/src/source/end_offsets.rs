//! Where partitions begin and end, asked of a client that reads nothing.
//!
//! The reading client cannot be asked: its answers wait behind its fetches, its cached watermarks are
//! as old as the last fetch and know nothing of open transactions. A second client answers within a
//! millisecond, and its answer is a proof: what it says holds as of the question. An answer that does
//! not come proves nothing.
//!
//! Now and then it looks at the topics: whether they are still the same, by their ids, and how many partitions
//! they have. The group notices that of the topic that it is held on only, and only once a member happens to
//! be given a new one.

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
use crate::client::native::{Described, describe};
use crate::client::offsets::{Found, offsets, serve_events};
use crate::source::mailbox::{Changed, EndOffsets, Mailbox, StartOffsets};
use crate::source::truncation::{Doubt, cuts};

/// How long one question may take.
const LONGEST_QUESTION: Duration = Duration::from_secs(1);
/// The pause after a question that failed and that somebody waits for.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The pause between two log lines about a broker that does not answer.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// A topic as it was when the source was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) topic: Topic,
    pub(crate) partitions: u32,
    /// Its id; `None` where the brokers are older than the ids.
    pub(crate) id: Option<TopicId>,
}

/// The topics that are looked at now and then.
#[derive(Debug)]
pub(crate) struct Looks {
    /// Where they are.
    pub(crate) kafka: Kafka,
    pub(crate) known: Vec<Known>,
    /// The pause between two looks.
    pub(crate) pause: Duration,
}

impl Looks {
    /// What is not any more as it was. A topic that is not there now is not there for the moment.
    fn compare(&self, found: &BTreeMap<String, Described>) -> Option<Changed> {
        self.known.iter().find_map(|known| {
            let now = found.get(known.topic.name())?;
            match (known.id, now.id) {
                (Some(was), Some(is)) if was != is => Some(Changed::MadeAnew(known.topic, was, is)),
                _ => (now.partitions != known.partitions)
                    .then_some(Changed::Recounted(known.topic, now.partitions)),
            }
        })
    }
}

/// The thread that asks; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct OffsetLookup(Arc<Wishes>);

#[derive(Debug, Default)]
struct Wishes {
    wish: Mutex<Wish>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone)]
struct Wish {
    partitions: Vec<Partition>,
    starts_for: Option<u64>,
    /// The positions that reading is to begin at, whose terms are known.
    doubts: BTreeMap<Partition, Doubt>,
    /// The topics are to be looked at; the number goes with the answer.
    look_for: Option<u64>,
    stop: bool,
}

impl OffsetLookup {
    /// Starts to ask with `client`, once each `interval`, and to put the answers into the mailbox.
    pub(crate) fn start(
        client: BaseConsumer<Context>,
        clock: Arc<dyn Clock>,
        interval: Duration,
        looks: Looks,
        mailbox: Arc<Mailbox>,
    ) -> Result<Self> {
        let wishes = Arc::new(Wishes::default());
        let lookup = Self(Arc::clone(&wishes));
        let next_look = Deadline::after(looks.pause);
        let asking = Asking { client, clock, mailbox, looks, next_look, silent: None };
        spawn("rtbflow-kafka-ends", move || asking.run(&wishes, interval))?;
        Ok(lookup)
    }

    /// From now on these partitions are asked for.
    pub(crate) fn watch(&self, partitions: Vec<Partition>) {
        self.0.change(|wish| wish.partitions = partitions);
    }

    /// Looks at the topics at once, and says so with this number.
    pub(crate) fn look(&self, number: u64) {
        self.0.change(|wish| wish.look_for = Some(number));
    }

    /// Asks at once, and for the partitions' starts too, until an answer comes.
    pub(crate) fn ask_starts(&self, generation: u64, doubts: BTreeMap<Partition, Doubt>) {
        self.0.change(|wish| (wish.starts_for, wish.doubts) = (Some(generation), doubts));
    }
}

impl Drop for OffsetLookup {
    fn drop(&mut self) {
        self.0.change(|wish| wish.stop = true);
    }
}

impl Wishes {
    fn lock(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Wish)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// The wish after a pause, which ends early when somebody wants the starts or the end of it all.
    fn wait(&self, pause: Duration, patient: bool) -> Wish {
        let wish = self.lock();
        let idle = |wish: &mut Wish| {
            !wish.stop && (patient || (wish.starts_for.is_none() && wish.look_for.is_none()))
        };
        let woken = self.changed.wait_timeout_while(wish, pause, idle);
        woken.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// Since when there is no answer, and when to say so again.
struct Silence {
    questions: u64,
    next_line: Deadline,
}

struct Asking {
    client: BaseConsumer<Context>,
    clock: Arc<dyn Clock>,
    mailbox: Arc<Mailbox>,
    looks: Looks,
    next_look: Deadline,
    silent: Option<Silence>,
}

impl Asking {
    fn run(mut self, wishes: &Wishes, interval: Duration) {
        let mut failed = false;
        loop {
            let pause = if failed { interval.min(RETRY_PAUSE) } else { interval };
            let wish = wishes.wait(pause, failed);
            if wish.stop {
                return;
            }
            serve_events(&self.client);
            failed = false;
            if self.next_look.is_over() || wish.look_for.is_some() {
                failed = self.look(wish.look_for, wishes).is_err();
            }
            if wish.partitions.is_empty() {
                continue;
            }
            let answer = self.ask(&wish);
            failed |= answer.is_err();
            match answer {
                Ok(answer) => self.hand_over(answer, wishes),
                Err(error) if error.rdkafka_error_code().is_some_and(|code| !is_passing(code)) => {
                    let secrets = self.looks.kafka.secrets();
                    let error =
                        failure("ask Kafka for the end offsets of partitions", &error, &secrets);
                    self.mailbox.put(|slots| slots.refused = Some(error));
                }
                Err(error) => self.complain(&error),
            }
        }
    }

    /// Looks whether the topics are still as they were when the source was opened. No answer is no news.
    fn look(&mut self, number: Option<u64>, wishes: &Wishes) -> KafkaResult<()> {
        let names: Vec<&str> = self.looks.known.iter().map(|known| known.topic.name()).collect();
        let found = match describe(&self.client, &names, LONGEST_QUESTION) {
            Ok(found) => found,
            // Whoever may not look has not seen any ids either.
            Err(error) if error.rdkafka_error_code().is_some_and(|code| !is_passing(code)) => {
                BTreeMap::new()
            }
            Err(error) => return Err(error),
        };
        self.next_look = Deadline::after(self.looks.pause);
        let changed = self.looks.compare(&found);
        if number.is_some() {
            wishes.change(|wish| {
                wish.look_for = wish.look_for.filter(|wanted| Some(*wanted) != number)
            });
        }
        if changed.is_some() || number.is_some() {
            self.mailbox.put(|slots| {
                slots.changed = changed.or(slots.changed);
                slots.looked = number.unwrap_or(slots.looked);
            });
        }
        Ok(())
    }

    /// The ids that the topics have now, of those that had ids when the source was opened.
    fn ids(&self) -> KafkaResult<BTreeMap<Topic, TopicId>> {
        let known = self.looks.known.iter().filter(|known| known.id.is_some());
        let topics: Vec<Topic> = known.map(|known| known.topic).collect();
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names: Vec<&str> = topics.iter().map(|topic| topic.name()).collect();
        let found = describe(&self.client, &names, LONGEST_QUESTION)?;
        let id = |topic: &Topic| Some((*topic, found.get(topic.name())?.id?));
        Ok(topics.iter().filter_map(id).collect())
    }

    fn ask(&self, wish: &Wish) -> KafkaResult<EndOffsets> {
        let asked = self.clock.now();
        let ask = |kind| offsets(&self.client, &wish.partitions, kind, LONGEST_QUESTION);
        let Found { offsets: ends, terms } = ask(Offset::End)?;
        let starts = wish.starts_for.map(|generation| {
            let offsets = ask(Offset::Beginning)?.offsets;
            let mut doubts = wish.doubts.clone();
            // In one term a log only grows.
            doubts.retain(|partition, doubt| {
                let beyond = ends.get(partition).is_some_and(|end| doubt.offset > *end);
                !beyond && terms.get(partition).is_some_and(|term| *term != doubt.term)
            });
            let cuts = cuts(&self.looks.kafka, &doubts)?;
            Ok(StartOffsets { generation, offsets, ids: self.ids()?, cuts })
        });
        let starts: Option<KafkaResult<StartOffsets>> = starts;
        Ok(EndOffsets { asked, ends, terms, starts: starts.transpose()? })
    }

    fn hand_over(&mut self, mut answer: EndOffsets, wishes: &Wishes) {
        if self.silent.take().is_some() {
            info!("Kafka answers again with the end offsets of partitions");
        }
        let answered = answer.starts.as_ref().map(|starts| starts.generation);
        if answered.is_some() {
            wishes.change(|wish| {
                if wish.starts_for == answered {
                    wish.starts_for = None;
                }
            });
        }
        self.mailbox.put(|slots| {
            if answer.starts.is_none() {
                answer.starts = slots.ends.take().and_then(|unread| unread.starts);
            }
            slots.ends = Some(answer);
        });
    }

    fn complain(&mut self, error: &KafkaError) {
        let fresh = || Silence { questions: 0, next_line: Deadline::after(Duration::ZERO) };
        let silent = self.silent.get_or_insert_with(fresh);
        silent.questions += 1;
        if silent.next_line.is_over() {
            silent.next_line = Deadline::after(LOG_PAUSE);
            warn!(
                questions = silent.questions,
                "Kafka does not answer with the end offsets of partitions; lag and idleness are \
                 unknown: {error}"
            );
        }
    }
}

fn is_passing(code: RDKafkaErrorCode) -> bool {
    kind(code) == ErrorKind::Transient
}
