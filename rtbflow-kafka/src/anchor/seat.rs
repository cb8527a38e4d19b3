//! One task at the place: its producer, which is the fence, and what is known of where it stands.
//!
//! ```text
//!   claim    changelog there? ─▶ new producer, init_transactions ─▶ read positions ─▶ write the new owner
//!   commit   stands at "from", by what this producer knows? ─▶ one transaction
//!            anything else ─▶ read positions: applied, fenced, or ─▶ new producer, and look again
//! ```
//!
//! `init_transactions` ends whatever a former producer of the task has begun, and from then on the broker
//! refuses it. So what this producer has read and written itself is where the place stands, for as long
//! as it is not refused: comparing with that is comparing with the place. Whenever it fails, for whatever
//! reason, it is thrown away, and with it all that is known: the outcome is then read, not guessed.
//!
//! Two instances could refuse each other for ever by making new producers. They do not: a new one is made
//! for a commit only if the positions, as they are read first, still carry this owner's mark.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer, PurgeConfig};
use rtbflow::epoch::{ChunkPage, Claim, Epoch, Patience, Position, Step, Verdict};
use rtbflow::state::Chunk;
use rtbflow::{Error, Partition, Result};
use tracing::{debug, warn};

use crate::anchor::changelog::{Lengths, Positions, write_positions};
use crate::anchor::replay::{Range, Replay};
use crate::anchor::room::{Room, changelog};
use crate::client::blocking::drop_elsewhere;
use crate::client::context::Context;
use crate::client::deadline::Deadline;
use crate::client::failure::code;
use crate::producer::batch::RecordBatch;
use crate::producer::produce::Sending;
use crate::producer::records::StagedBatch;
use crate::producer::refusal::{Refused, Row, rows};

/// How long an open transaction may be waited for before a new producer ends it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// How long reading waits for the transactions of others.
const LONGEST_DECISION: Duration = Duration::from_secs(20);
/// The pause before a claim that was interrupted by a rival is made again, and what is added for some.
const RIVAL_PAUSE: Duration = Duration::from_millis(10);
/// One poll while what was purged is reported.
const PURGE_POLL: Duration = Duration::from_millis(1);
/// The number of what is no row of the results.
const NO_ROW: usize = usize::MAX;
/// Bytes of chunks in a page, unless a single one has more.
const PAGE_BYTES: usize = 4 << 20;

/// An epoch in a form that a thread can take along.
pub(crate) struct Order {
    /// Without what was staged.
    pub(crate) epoch: Epoch,
    pub(crate) batches: Vec<StagedBatch>,
}

/// One task at the place.
#[derive(Default)]
pub(crate) struct Seat {
    /// The task's producer, if it has not failed, and where the place stands for as long as it does not.
    held: Option<Held>,
    /// How long the logs of the buckets are while the place stands at these positions.
    lengths: Option<(Positions, Lengths)>,
    /// What is being restored, and the mark that the next page is asked for with.
    restoring: Option<(String, VecDeque<Chunk>)>,
    /// How much longer a commit may take.
    pub(crate) patience: Patience,
    /// Whether a record was delivered by the last commit, though not all of them.
    got_on: bool,
    /// Whether the commit before failed in time that it got on in.
    failed: bool,
}

struct Held {
    producer: BaseProducer<Context>,
    stands: Positions,
}

impl Seat {
    /// Drops the producer: it failed, or it is not known what became of what it sent.
    fn let_go(&mut self) {
        if let Some(held) = self.held.take() {
            drop_elsewhere(held.producer);
        }
    }

    /// Makes a new producer, and reads where the place stands behind it.
    fn open(&mut self, room: &Room<'_>, deadline: Deadline) -> Result<&mut Held> {
        self.let_go();
        let producer = room.producer(deadline)?;
        let replay = room.replay()?;
        let read = decided(&replay, deadline).and_then(|range| replay.positions(range));
        match read {
            Ok(stands) => Ok(self.held.insert(Held { producer, stands })),
            Err(error) => {
                drop_elsewhere(producer);
                Err(error)
            }
        }
    }

    /// Takes over the partitions of a claim.
    pub(crate) fn claim(
        &mut self,
        room: &Room<'_>,
        claim: &Claim,
        deadline: Deadline,
    ) -> Result<Vec<Position>> {
        room.ensure_changelog(deadline)?;
        (self.lengths, self.restoring) = (None, None);
        let mut tried: Option<Positions> = None;
        loop {
            let attempt = self.claim_once(room, claim, tried.as_ref(), deadline);
            let (error, written) = match attempt {
                Ok(claimed) => return Ok(claimed),
                Err(answer) => answer,
            };
            self.let_go();
            tried = written.map(|written| *written).or(tried);
            if !error.is_transient() || deadline.is_over() {
                return Err(error);
            }
            debug!(task = %room.task, "claim again: {}", error.report());
            // Rivals that make way for each other for the same time would meet again.
            let more = Duration::from_millis(claim.owner % 64);
            thread::park_timeout(RIVAL_PAUSE + more);
        }
    }

    /// One attempt, and if it fails while it writes, what it wrote.
    fn claim_once(
        &mut self,
        room: &Room<'_>,
        claim: &Claim,
        tried: Option<&Positions>,
        deadline: Deadline,
    ) -> Result<Vec<Position>, (Error, Option<Box<Positions>>)> {
        let early = |error| (error, None);
        let held = self.open(room, deadline).map_err(early)?;
        let of = |stands: &Positions| -> Vec<Position> {
            let at = claim.partitions.iter();
            at.map(|partition| stands.get(partition).copied().unwrap_or_default()).collect()
        };
        if tried.is_some_and(|tried| *tried == held.stands) {
            return Ok(of(&held.stands));
        }
        let mut stands = held.stands.clone();
        for partition in &claim.partitions {
            stands.claim(*partition, claim.owner);
        }
        let mut records = RecordBatch::default();
        write_positions(&stands, &mut records).map_err(early)?;
        let number = room.partition().map_err(early)?;
        let sent =
            room.transact(&held.producer, deadline, |sending| send_all(sending, number, &records));
        match sent {
            Ok(()) => {
                held.stands = stands;
                Ok(of(&held.stands))
            }
            Err(error) => Err((error, Some(Box::new(stands)))),
        }
    }

    /// Commits an epoch. One that got on, but not to its end, may take longer the next time; one that did not is of
    /// no broker that would do more in more time.
    pub(crate) fn commit(
        &mut self,
        room: &Room<'_>,
        order: &Order,
        deadline: Deadline,
    ) -> Result<Verdict> {
        self.got_on = false;
        let verdict = self.decide(room, order, deadline);
        match &verdict {
            Ok(_) => {
                self.failed = false;
                self.patience.shorten();
            }
            // The first time a broker may have died or frozen meanwhile: more time would be more silence.
            Err(error) if error.is_transient() && self.got_on => {
                if std::mem::replace(&mut self.failed, true) {
                    self.patience.lengthen();
                }
            }
            Err(_) => {}
        }
        verdict
    }

    fn decide(&mut self, room: &Room<'_>, order: &Order, deadline: Deadline) -> Result<Verdict> {
        let step = |stands: &Positions| stands.step(&order.epoch);
        let known = self.held.as_ref().map(|held| step(&held.stands));
        if known != Some(Step::Apply) {
            // What this producer knows may be of yesterday: another may have come since.
            match self.look(room)?.map(|stands| (step(&stands), stands)) {
                Some((Step::Fenced, _)) => return Ok(Verdict::Fenced),
                Some((Step::Applied, stands)) => {
                    self.settle(order, stands);
                    return Ok(Verdict::COMMITTED);
                }
                Some((Step::Apply, _)) | None => {}
            }
            let stands = &self.open(room, deadline)?.stands;
            match step(stands) {
                Step::Fenced => return Ok(Verdict::Fenced),
                Step::Applied => {
                    let stands = stands.clone();
                    self.settle(order, stands);
                    return Ok(Verdict::COMMITTED);
                }
                Step::Apply => {}
            }
        }
        self.apply(room, order, deadline).map(|()| Verdict::COMMITTED)
    }

    /// Where the place stands, without disturbing anybody; `None` if that is not decided at the moment.
    fn look(&self, room: &Room<'_>) -> Result<Option<Positions>> {
        if room.count(PATIENCE)?.is_none() {
            return Ok(Some(Positions::default()));
        }
        let replay = room.replay()?;
        let range = replay.range(PATIENCE)?;
        range.map(|range| replay.positions(range)).transpose()
    }

    /// The epoch was applied before, by an attempt whose answer did not come.
    fn settle(&mut self, order: &Order, stands: Positions) {
        let stood = order.epoch.advances.iter().map(|advance| (advance.partition, advance.from));
        let mut before = stands.clone();
        before.extend(stood);
        self.lengths =
            self.lengths.take().filter(|(at, _)| *at == before).map(|(_, mut lengths)| {
                let lengthened = lengths.write(&order.epoch.chunks, &mut RecordBatch::default());
                lengths.apply(lengthened);
                (stands, lengths)
            });
    }

    fn apply(&mut self, room: &Room<'_>, order: &Order, deadline: Deadline) -> Result<()> {
        let Err(error) = self.write(room, order, deadline) else { return Ok(()) };
        match self.refused(room, order, deadline) {
            // Nothing of it was applied, and its producer is as good as before.
            Ok(Some(refused)) if !refused.refusals().is_empty() => Err(refused),
            Ok(refused) => {
                self.let_go();
                Err(refused.unwrap_or(error))
            }
            Err(unknown) => {
                self.let_go();
                Err(error.because(unknown))
            }
        }
    }

    /// The error that names the rows that a broker refuses for what they are, if it does; the transaction is
    /// aborted then.
    fn refused(&self, room: &Room<'_>, order: &Order, deadline: Deadline) -> Result<Option<Error>> {
        let Some(Held { producer, .. }) = &self.held else { return Ok(None) };
        let undelivered = producer.client().context().take_undelivered();
        let refused = Refused {
            kafka: room.kafka,
            results: room.results,
            given: &order.batches,
            undelivered: &undelivered,
        };
        if !refused.is_any() {
            return Ok(None);
        }
        let failed = |error| room.failure("abort a transaction", &error);
        abort(producer, deadline)
            .map_err(|error| goes_no_further(&error).unwrap_or(failed(error)))?;
        let error = refused.error(|rows| {
            producer.begin_transaction().map_err(failed)?;
            let attempt = "find out which records are refused";
            let sending = Sending { producer, attempt, deadline };
            let sent = send_rows(&sending, rows).and_then(|()| sending.settle());
            let undelivered = producer.client().context().take_undelivered();
            abort(producer, deadline).map_err(failed)?;
            match sent {
                Err(error) if undelivered.is_empty() => Err(error),
                _ => Ok(!undelivered.is_empty()),
            }
        });
        let _ = producer.client().context().take_undelivered();
        error
    }

    fn write(&mut self, room: &Room<'_>, order: &Order, deadline: Deadline) -> Result<()> {
        let Order { epoch, batches } = order;
        let Some(held) = &mut self.held else { return Err(Error::permanent("find the producer")) };
        self.restoring = None;
        let known = self.lengths.take().filter(|(at, _)| *at == held.stands);
        let mut lengths = match known {
            Some((_, lengths)) => Some(lengths),
            None if epoch.chunks.is_empty() => None,
            None => Some(read_lengths(room, &held.stands, deadline)?),
        };
        let mut changes = RecordBatch::default();
        let lengthened = lengths.as_ref().map(|lengths| lengths.write(&epoch.chunks, &mut changes));
        let mut stands = held.stands.clone();
        stands.extend(epoch.advances.iter().map(|advance| (advance.partition, advance.to)));
        write_positions(&stands, &mut changes)?;
        let partition = room.partition()?;
        let delivered = |held: &Held| held.producer.client().context().delivered();
        let before = delivered(held);
        let sent = room.transact(&held.producer, deadline, |sending| {
            rows(batches).try_for_each(|row| row.send(sending))?;
            send_all(sending, partition, &changes)
        });
        if let Err(error) = sent {
            self.got_on = delivered(held) > before;
            // If it turns out to have been applied, this is what it began with.
            self.lengths = lengths.map(|lengths| (held.stands.clone(), lengths));
            return Err(error);
        }
        held.stands.clone_from(&stands);
        self.lengths = lengths.take().zip(lengthened).map(|(mut lengths, lengthened)| {
            lengths.apply(lengthened);
            (stands, lengths)
        });
        Ok(())
    }

    /// Reads a page of the task's state.
    pub(crate) fn restore(&mut self, room: &Room<'_>, from: Option<&str>) -> Result<ChunkPage> {
        let begun = self.restoring.take().filter(|(mark, _)| Some(mark.as_str()) == from);
        let mut left = match begun {
            Some((_, left)) => left,
            None => self.scan(room, from)?,
        };
        let mut page = ChunkPage::default();
        let mut bytes = 0;
        while let Some(chunk) = left.pop_front() {
            bytes += chunk.len();
            page.chunks.push(chunk);
            if bytes >= PAGE_BYTES && !left.is_empty() {
                let mark = left.len().to_string();
                self.restoring = Some((mark.clone(), left));
                page.next = Some(mark);
                break;
            }
        }
        Ok(page)
    }

    /// Reads the whole changelog of the task; what is left of it for a page that begins at a mark.
    fn scan(&mut self, room: &Room<'_>, from: Option<&str>) -> Result<VecDeque<Chunk>> {
        if room.count(PATIENCE)?.is_none() {
            if self.held.is_some() {
                // What was claimed has a changelog, whatever the broker says.
                let topic = changelog(room.job);
                return Err(Error::transient(format!(
                    "restore state from {topic}: it is not there"
                )));
            }
            return Ok(VecDeque::new());
        }
        let replay = room.replay()?;
        let scan = replay.scan(decided(&replay, Deadline::after(LONGEST_DECISION))?)?;
        let positions = scan.positions.clone();
        let (lengths, chunks) = scan.finish()?;
        self.lengths = Some((positions, lengths));
        let mut chunks = VecDeque::from(chunks);
        if let Some(mark) = from {
            let bad = || Error::permanent(format!("restore state: {mark:?} is no mark of a page"));
            let left: usize = mark.parse().map_err(|_| bad())?;
            warn!(task = %room.task, "the changelog is read again: a page was lost");
            chunks.drain(..chunks.len().checked_sub(left).ok_or_else(bad)?);
        }
        Ok(chunks)
    }
}

/// The range of the changelog once all is decided in it.
pub(crate) fn decided(replay: &Replay<'_>, deadline: Deadline) -> Result<Range> {
    replay.range(deadline.left())?.ok_or_else(|| {
        let topic = replay.partition;
        Error::transient(format!(
            "read {topic}: a transaction of another instance is not decided yet"
        ))
    })
}

/// How long the logs are, by reading all of them: for a seat that has not restored the task itself.
fn read_lengths(room: &Room<'_>, stands: &Positions, deadline: Deadline) -> Result<Lengths> {
    let replay = room.replay()?;
    let scan = replay.scan(decided(&replay, deadline)?)?;
    if scan.positions != *stands {
        return Err(Error::transient(format!("commit task {}: another producer came", room.task)));
    }
    scan.finish().map(|(lengths, _)| lengths)
}

fn send_all(sending: &Sending<'_>, to: Partition, records: &RecordBatch) -> Result<()> {
    let mut messages = records.messages();
    let topic = to.topic.name();
    messages.try_for_each(|message| sending.send(topic, Some(to.number), NO_ROW, &message))
}

fn send_rows(sending: &Sending<'_>, rows: &[Row<'_>]) -> Result<()> {
    rows.iter().try_for_each(|row| row.send(sending))
}

/// What an abort's failure means for a record that is refused, where the brokers do not know how a producer goes on
/// after that (KIP-360).
#[cold]
fn goes_no_further(error: &KafkaError) -> Option<Error> {
    (code(error) == Some(Code::UnsupportedFeature)).then(|| {
        Error::config(
            "the brokers are older than Kafka 2.5, whose transactions cannot go on behind a refused record: it \
             cannot be made a dead letter",
        )
    })
}

/// Aborts a transaction in which something failed. What still waits is thrown away before: the client would wait
/// for it, and nothing would answer it.
fn abort(producer: &BaseProducer<Context>, deadline: Deadline) -> KafkaResult<()> {
    producer.purge(PurgeConfig::default().queue().inflight());
    while producer.in_flight_count() > 0 && !deadline.is_over() {
        producer.poll(PURGE_POLL);
    }
    let _ = producer.client().context().take_undelivered();
    producer.abort_transaction(deadline.left())
}
