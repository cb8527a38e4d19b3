//! Results that are due at once and more than an epoch takes: barriers pass between them, and crashes come there.

use std::time::Duration;

use rtbflow::operators::interval_join::{Bound, IntervalJoin};
use rtbflow::operators::window::{Count, Late, Session, Sliding, Sum, Tumbling, Windowed};
use rtbflow::operators::{Logic, Outbox, Snapshot};
use rtbflow::state::{Chunk, ChunkReader, ChunkWriter};
use rtbflow::testing::builders::at;
use rtbflow::testing::sim::{Chance, SimLog, Simulation};
use rtbflow::{Either, Record, Result, Timestamp};

use crate::scenarios::numbers;

/// What a window counted: its kind, its start, the key, the count.
pub(crate) type Counted = (u8, i64, u64, u64);

const OUT_OF_ORDERNESS: Duration = Duration::from_secs(1);
const TEN: Duration = Duration::from_secs(10);

/// Numbers of which nearly each is a key of its own.
fn log(chance: &Chance, topic: &str) -> SimLog<u64> {
    let tasks = 1 + chance.below(2);
    let values = numbers(chance, tasks, 500, 1_000);
    SimLog::laid_out(chance, topic, u32::try_from(tasks).unwrap(), OUT_OF_ORDERNESS, values)
}

fn row(kind: u8) -> impl Fn(Windowed<u64, u64>) -> Counted + Copy {
    move |window| (kind, window.window.start.as_millis(), window.key, window.value)
}

/// Windows of all kinds, with many keys each, and windows over the results of windows.
pub(crate) fn windows() -> Simulation<u64, Counted> {
    let pipeline = |numbers: rtbflow::testing::sim::SimFlow<u64>,
                    ledger: &rtbflow::testing::sim::Ledger<Counted>| {
        let (one, other) = numbers.tee();
        let (tumbling, sliding) = one.tee();
        let (session, kept) = other.tee();
        let ten = Tumbling::of(TEN).late(Late::DeadLetter);
        let counts = tumbling.key_by(|n| n % 40).window(ten).aggregate("tumbling", Count);
        let (counts, again) = counts.tee();
        let twenty = Tumbling::of(2 * TEN).late(Late::Drop);
        let sums = again
            .key_by(|window: &Windowed<u64, u64>| window.key % 30)
            .window(twenty)
            .aggregate("of-tumbling", Sum::of(|window: &Windowed<u64, u64>| window.value));
        let every = Sliding::of(TEN).every(Duration::from_secs(3)).late(Late::Drop);
        let sliding = sliding.key_by(|n| n % 35).window(every).aggregate("sliding", Count);
        let gap = Session::gap(Duration::from_secs(2)).late(Late::Drop);
        let session = session.key_by(|n| n % 25).window(gap).aggregate("sessions", Count);
        let lasting = ten.allowed_lateness(Duration::from_secs(5));
        let kept = kept.key_by(|n| n % 20).window(lasting).aggregate("kept", Count);
        counts
            .map(row(0))
            .to(ledger.sink())
            .and(sums.map(row(1)).to(ledger.sink()))
            .and(sliding.map(row(2)).to(ledger.sink()))
            .and(session.map(row(3)).to(ledger.sink()))
            .and(kept.map(row(4)).to(ledger.sink()))
    };
    Simulation::new(|chance| log(chance, "numbers"), pipeline)
}

/// What a join, a delay and a debounce behind it make of two topics.
pub(crate) fn joined() -> Simulation<Either<u64, u64>, (u8, u64, u64)> {
    let both = |chance: &Chance| {
        let values = |chance: &Chance| numbers(chance, 1, 500, 1_000);
        let topic =
            |name: &str| SimLog::laid_out(chance, name, 1, OUT_OF_ORDERNESS, values(chance));
        SimLog::co_grouped(&topic("left"), &topic("right"))
    };
    Simulation::new(both, |sides, ledger| {
        let soon = IntervalJoin::between(Bound::same(), Bound::after(Duration::from_secs(3)));
        let joined = sides
            .key_by_either(|left| left % 17, |right| right % 17)
            .interval_join("join", soon.full_outer().late(Late::DeadLetter));
        let pair = |pair| match pair {
            rtbflow::operators::interval_join::EitherOrBoth::Left(left) => (0, left, 0),
            rtbflow::operators::interval_join::EitherOrBoth::Right(right) => (1, 0, right),
            rtbflow::operators::interval_join::EitherOrBoth::Both(left, right) => (2, left, right),
        };
        let (now, later) = joined.map(pair).tee();
        let held = later.delay("hold", TEN, |record| {
            let ms = record.timestamp.as_millis();
            at(ms - ms.rem_euclid(5_000) + 5_000)
        });
        // Each is a key of its own: which of two at the same time comes first may depend on what is at hand.
        let quiet = held.key_by(|row| *row).debounce("quiet", Duration::from_secs(7));
        now.to(ledger.sink()).and(quiet.map(|(kind, l, r)| (kind + 10, l, r)).to(ledger.sink()))
    })
}

/// Holds records until the watermark has passed them. It may forget what is left when a barrier comes between.
pub(crate) struct Held {
    pub(crate) forgets: bool,
    held: Vec<(Timestamp, u64)>,
    leaving: Vec<(Timestamp, u64)>,
}

impl Held {
    pub(crate) fn new(forgets: bool) -> Self {
        Self { forgets, held: Vec::new(), leaving: Vec::new() }
    }
}

impl Logic for Held {
    type In = u64;
    type Out = u64;
    const VERSION: u16 = 1;
    const RESUMES: bool = true;

    fn on_record(&mut self, record: Record<u64>, _: &mut Outbox<u64>) {
        self.held.push((record.timestamp, record.value));
    }

    fn results_due(&self) -> Timestamp {
        self.held.iter().map(|(time, _)| *time).min().unwrap_or(Timestamp::MAX)
    }

    fn on_watermark(&mut self, watermark: Timestamp, _: &mut Outbox<u64>) -> Option<Timestamp> {
        self.held.sort_unstable();
        let held = self.held.split_off(self.held.partition_point(|(time, _)| *time <= watermark));
        self.leaving = std::mem::replace(&mut self.held, held);
        self.leaving.reverse();
        Some(watermark)
    }

    fn more(&mut self, out: &mut Outbox<u64>) -> bool {
        let most = self.leaving.len().min(out.room());
        let leave = self.leaving.split_off(self.leaving.len() - most);
        leave.into_iter().rev().for_each(|(time, value)| out.push(Record::derived(value, time)));
        most > 0
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        let mut entries = ChunkWriter::new(Self::VERSION);
        let left = self.leaving.iter().filter(|_| !self.forgets);
        self.held.iter().chain(left).for_each(|entry| entries.put(entry));
        snapshot.replace(0, entries);
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        let mut entries = ChunkReader::open(chunk, Self::VERSION)?;
        while let Some(entry) = entries.next_entry()? {
            self.held.push(entry);
        }
        Ok(())
    }
}

/// An operator of a user's own, which may forget something.
pub(crate) fn held(forgets: bool) -> Simulation<u64, u64> {
    let pipeline = move |numbers: rtbflow::testing::sim::SimFlow<u64>,
                         ledger: &rtbflow::testing::sim::Ledger<u64>| {
        numbers.logic("held", "held", Held::new(forgets)).to(ledger.sink())
    };
    Simulation::new(|chance| log(chance, "numbers"), pipeline)
}
