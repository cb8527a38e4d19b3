//! Where partitions begin and end, asked of a client that reads nothing.
//!
//! The reading client can not be asked: its answers wait behind its fetches, its cached watermarks are
//! as old as the last fetch and know nothing of open transactions. A second client answers within a
//! millisecond, and its answer is a proof: what it says holds as of the question. An answer that does
//! not come proves nothing.
//!
//! Now and then it looks how many partitions there are. The group notices that of the topic that it is
//! held on only, and only once a member happens to be given a new one.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::{Clock, Partition, Result, Timestamp, Topic};
use tracing::{info, warn};

use crate::blocking::spawn;
use crate::context::Context;
use crate::deadline::Deadline;
use crate::kafka::{Kafka, serve_events};
use crate::mailbox::Mailbox;

/// How long one question may take.
const LONGEST_QUESTION: Duration = Duration::from_secs(1);
/// The pause after a question that failed and that somebody waits for.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The pause between two log lines about a broker that does not answer.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug)]
pub(crate) struct Ends {
    /// The wall-clock time before the question was sent.
    pub(crate) asked: Timestamp,
    /// The last stable offset of each partition, where it is known.
    pub(crate) ends: BTreeMap<Partition, i64>,
    /// The first offset of each partition, and the assignment that wanted to know.
    pub(crate) starts: Option<(u64, BTreeMap<Partition, i64>)>,
}

/// Asks for one kind of offset of these partitions, in one question.
pub(crate) fn offsets(
    client: &BaseConsumer<Context>,
    partitions: &[Partition],
    kind: Offset,
    longest: Duration,
) -> KafkaResult<BTreeMap<Partition, i64>> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition_offset(partition.topic.name(), partition.number, kind)?;
    }
    let list = client.offsets_for_times(list, longest)?;
    let found = partitions.iter().filter_map(|partition| {
        let element = list.find_partition(partition.topic.name(), partition.number)?;
        let offset = element.error().is_ok().then(|| element.offset().to_raw())??;
        (offset >= 0).then_some((*partition, offset))
    });
    Ok(found.collect())
}

/// The topics whose partitions are counted now and then.
#[derive(Debug)]
pub(crate) struct Counts {
    /// Where they are.
    pub(crate) kafka: Kafka,
    /// How many partitions each had when the source was opened.
    pub(crate) known: Vec<(Topic, u32)>,
    /// The pause between two looks.
    pub(crate) pause: Duration,
}

/// The thread that asks; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Asker(Arc<Wishes>);

#[derive(Debug, Default)]
struct Wishes {
    wish: Mutex<Wish>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone)]
struct Wish {
    partitions: Vec<Partition>,
    starts_for: Option<u64>,
    stop: bool,
}

impl Asker {
    /// Starts to ask with `client`, once each `interval`, and to put the answers into the mailbox.
    pub(crate) fn start(
        client: BaseConsumer<Context>,
        clock: Arc<dyn Clock>,
        interval: Duration,
        counts: Counts,
        mailbox: Arc<Mailbox>,
    ) -> Result<Self> {
        let wishes = Arc::new(Wishes::default());
        let asker = Self(Arc::clone(&wishes));
        let next_count = Deadline::after(counts.pause);
        let asking = Asking { client, clock, mailbox, counts, next_count, silent: None };
        spawn("rtbflow-kafka-ends", move || asking.run(&wishes, interval))?;
        Ok(asker)
    }

    /// From now on these partitions are asked for.
    pub(crate) fn watch(&self, partitions: Vec<Partition>) {
        self.0.change(|wish| wish.partitions = partitions);
    }

    /// Asks at once, and for the partitions' starts too, until an answer comes.
    pub(crate) fn ask_starts(&self, generation: u64) {
        self.0.change(|wish| wish.starts_for = Some(generation));
    }
}

impl Drop for Asker {
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
        let idle = |wish: &mut Wish| !wish.stop && (patient || wish.starts_for.is_none());
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
    counts: Counts,
    next_count: Deadline,
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
            if self.next_count.is_over() {
                self.next_count = Deadline::after(self.counts.pause);
                self.count();
            }
            if wish.partitions.is_empty() {
                continue;
            }
            let answer = self.ask(&wish);
            failed = answer.is_err();
            match answer {
                Ok(answer) => self.hand_over(answer, wishes),
                Err(error) => self.complain(&error),
            }
        }
    }

    /// Tells of a topic that has another count of partitions than when the source was opened. No answer
    /// is no news.
    fn count(&self) {
        let Counts { kafka, known, .. } = &self.counts;
        for (topic, before) in known {
            let found = kafka.partitions(&self.client, topic.name(), Duration::ZERO);
            if let Some(count) = found.ok().flatten().filter(|count| count != before) {
                self.mailbox.put(|slots| slots.recounted = Some((*topic, count)));
            }
        }
    }

    fn ask(&self, wish: &Wish) -> KafkaResult<Ends> {
        let asked = self.clock.now();
        let ask = |kind| offsets(&self.client, &wish.partitions, kind, LONGEST_QUESTION);
        let ends = ask(Offset::End)?;
        let starts = wish
            .starts_for
            .map(|generation| ask(Offset::Beginning).map(|starts| (generation, starts)));
        Ok(Ends { asked, ends, starts: starts.transpose()? })
    }

    fn hand_over(&mut self, mut answer: Ends, wishes: &Wishes) {
        if self.silent.take().is_some() {
            info!("Kafka answers again where partitions end");
        }
        let answered = answer.starts.as_ref().map(|(generation, _)| *generation);
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
                "Kafka does not say where partitions end; lag and idleness are not known: {error}"
            );
        }
    }
}
