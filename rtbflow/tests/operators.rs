//! Every operator keeps the laws of operators.

use std::time::Duration;

use rtbflow::operators::interval_join::{Bound, IntervalJoin};
use rtbflow::operators::window::{Count, Late, Tumbling};
use rtbflow::testing::{laws, timed, values};
use rtbflow::{BadRecord, Either, Element, Timestamp};

/// Numbers with event times that rise by about 100 ms, now and then fall back far enough to be late.
fn numbers() -> Vec<Element<i64>> {
    timed((0..60).map(|n| (n, n * 100 - if n % 9 == 5 { 1_500 } else { (n * 7) % 50 })))
}

#[test]
fn map_filter_and_their_kin() {
    laws::operator(numbers(), |flow| flow.map(|n| n * 2));
    laws::operator(numbers(), |flow| flow.map_record(|n| (n.value, n.timestamp, n.origin)));
    laws::operator(numbers(), |flow| flow.filter(|n| n % 3 == 0));
    laws::operator(numbers(), |flow| flow.filter(|_| false));
    laws::operator(numbers(), |flow| flow.filter_map(|n| (n % 3 == 0).then_some(n)));
    laws::operator(numbers(), |flow| {
        flow.flat_map(|n| vec![n; usize::try_from(n % 3).unwrap_or(0)])
    });
    laws::operator(numbers(), |flow| flow.inspect(|_| {}));
    laws::operator(numbers(), |flow| flow.filter(|n| n % 2 == 0).map(|n| n + 1).boxed());
}

#[test]
fn dead_letter() {
    let odd_is_bad = |n: i64| if n % 2 == 0 { Ok(n) } else { Err(BadRecord::new("odd")) };
    laws::operator(numbers(), move |flow| flow.map(odd_is_bad).dead_letter());
}

#[test]
fn event_time() {
    let time = |n: &i64| Timestamp::from_millis(n * 10 - (n % 4) * 30);
    laws::operator(values(0..60), move |flow| {
        flow.event_time("time", time, Duration::from_millis(50))
    });
}

#[test]
fn combine() {
    laws::operator_with(
        numbers(),
        |flow| flow.map(|n| (n % 3, n)).key_by(|pair| pair.0).combine(|sum, next| sum.1 += next.1),
        |records| {
            let mut sums = [0; 3];
            for record in records {
                sums[usize::try_from(record.value.0).unwrap_or(0)] += record.value.1;
            }
            sums
        },
    );
}

#[test]
fn window() {
    for late in [Late::Drop, Late::DeadLetter] {
        for lateness_ms in [0, 500, 5_000] {
            let window = Tumbling::of(Duration::from_secs(1))
                .allowed_lateness(Duration::from_millis(lateness_ms))
                .late(late);
            laws::operator(numbers(), move |flow| {
                flow.key_by(|n| n % 3).window(window).aggregate("counts", Count)
            });
        }
    }
}

#[test]
fn window_after_event_time() {
    let window = Tumbling::of(Duration::from_millis(100)).late(Late::DeadLetter);
    let time = |n: &i64| Timestamp::from_millis(n * 10 - (n % 7) * 30);
    laws::operator(values(0..60), move |flow| {
        flow.event_time("time", time, Duration::from_millis(50))
            .key_by(|n| n % 3)
            .window(window)
            .aggregate("counts", Count)
    });
}

#[test]
fn window_that_discards_what_it_has_emitted() {
    let window = Tumbling::of(Duration::from_secs(1))
        .allowed_lateness(Duration::from_secs(1))
        .late(Late::DeadLetter);
    laws::operator_with(
        numbers(),
        move |flow| {
            flow.key_by(|n| n % 3)
                .window(window)
                .discarding()
                .early(Duration::from_millis(2))
                .aggregate("counts", Count)
        },
        |records| {
            let mut counts = std::collections::BTreeMap::new();
            for record in records {
                let window = (record.value.window.end, record.value.key);
                *counts.entry(window).or_insert(0) += record.value.value;
            }
            counts
        },
    );
}

#[test]
fn branches() {
    laws::operator(numbers(), |flow| {
        let (odd, even) = flow.split_by(|n| n % 2 == 1);
        odd.map(|n| n * 10).union(even)
    });
    laws::operator(numbers(), |flow| {
        let (numbers, others) = flow.tee();
        numbers.filter(|n| n % 3 == 0).union(others.map(|n| -n))
    });
    let kind = |n: i64| if n % 3 == 0 { Either::Left(n) } else { Either::Right(n.to_string()) };
    laws::operator(numbers(), move |flow| {
        let (numbers, texts) = flow.map(kind).split();
        numbers.map(|n| n.to_string()).boxed().union(texts.filter(|text| text.len() > 1))
    });
}

#[test]
fn windows_on_branches_and_behind_them() {
    let window = Tumbling::of(Duration::from_millis(500)).late(Late::DeadLetter);
    laws::operator(numbers(), move |flow| {
        let (odd, even) = flow.split_by(|n| n % 2 == 1);
        let odd = odd.key_by(|n| n % 3).window(window).aggregate("odd", Count);
        let even = even.key_by(|n| n % 3).window(window).aggregate("even", Count);
        odd.union(even)
    });
    // What is late behind the union was late before it, wherever epochs and pauses lie.
    laws::operator(numbers(), move |flow| {
        let (odd, even) = flow.split_by(|n| n % 2 == 1);
        odd.union(even).key_by(|n| n % 3).window(window).aggregate("counts", Count)
    });
}

/// Records of two kinds and a few keys, with times that lie apart by up to 300 ms; some are late.
fn sides() -> Vec<Element<Either<(i64, i64), (i64, i64)>>> {
    let side =
        |n: i64| if n % 3 == 0 { Either::Left((n % 2, n)) } else { Either::Right((n % 2, n)) };
    timed((0..50).map(|n| (side(n), n * 40 + (n * 37) % 90 - if n % 11 == 7 { 400 } else { 0 })))
}

#[test]
fn interval_join() {
    let (before, after) = (Duration::from_millis(120), Duration::from_millis(60));
    let join = IntervalJoin::between(Bound::before(before), Bound::after(after).exclusive());
    let narrow = |left: &(i64, i64)| {
        let before = Duration::from_millis(u64::try_from(left.1 * 3).unwrap_or(0));
        (Bound::before(before), Bound::same())
    };
    macro_rules! keeps_the_laws {
        ($join:expr) => {
            laws::operator(sides(), move |flow| {
                flow.key_by_either(|left| left.0, |right| right.0).interval_join("join", $join)
            });
        };
    }
    keeps_the_laws!(join.late(Late::Drop));
    keeps_the_laws!(join.left_outer().late(Late::DeadLetter));
    keeps_the_laws!(join.full_outer().late_joins());
    keeps_the_laws!(join.last_touch().full_outer().late_joins());
    keeps_the_laws!(join.first_touch().full_outer().late_joins());
    keeps_the_laws!(join.first_touch().left_outer().narrowed(narrow).late(Late::Drop));
    keeps_the_laws!(join.last_touch().narrowed(narrow).late_joins());
    let ttl = |left: &(i64, i64), right: &(i64, i64)| {
        Duration::from_millis((left.1 + right.1).unsigned_abs())
    };
    keeps_the_laws!(join.full_outer().ttl(ttl).late(Late::DeadLetter));
    keeps_the_laws!(join.first_touch().narrowed(narrow).left_outer().late_joins());
    keeps_the_laws!(join.first_touch().narrowed(narrow).ttl(ttl).left_outer().late_joins());
}

#[test]
fn join_of_branches() {
    let join = IntervalJoin::between(Bound::same(), Bound::after(Duration::from_millis(200)));
    laws::operator(sides(), move |flow| {
        let (left, right) = flow.split();
        left.key_by(|left| left.0)
            .connect(right.filter(|right| right.1 % 4 != 0).key_by(|right| right.0))
            .interval_join("join", join.full_outer().late(Late::DeadLetter))
    });
}

/// Operators that do one thing wrong: the laws must tell.
mod broken {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rtbflow::operators::{Logic, Outbox, Snapshot};
    use rtbflow::state::{Chunk, ChunkReader, ChunkWriter};
    use rtbflow::testing::laws;
    use rtbflow::{Record, Result, Timestamp};

    use super::numbers;

    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        None,
        ForgetsItsState,
        AppendsWhatItReplaces,
        CountsBarriers,
        HoldsBackTheWatermark,
    }

    /// Numbers the records.
    struct Counter {
        count: i64,
        fault: Fault,
    }

    impl Logic for Counter {
        type In = i64;
        type Out = i64;
        const VERSION: u16 = 1;

        fn on_record(&mut self, record: Record<i64>, out: &mut Outbox<i64>) {
            self.count += 1;
            out.push(record.map(|_| self.count));
        }

        fn on_watermark(&mut self, watermark: Timestamp, _: &mut Outbox<i64>) -> Option<Timestamp> {
            let passes = self.fault != Fault::HoldsBackTheWatermark || watermark < Timestamp::MAX;
            passes.then_some(watermark)
        }

        fn on_barrier(&mut self, _: Timestamp, _: &mut Outbox<i64>) {
            self.count += i64::from(self.fault == Fault::CountsBarriers);
        }

        fn snapshot(&mut self, snapshot: &mut Snapshot) {
            let mut count = ChunkWriter::new(Self::VERSION);
            count.put(&self.count);
            if self.fault == Fault::AppendsWhatItReplaces {
                snapshot.append(0, count);
            } else {
                snapshot.replace(0, count);
            }
        }

        fn restore(&mut self, chunk: &Chunk) -> Result<()> {
            let count: i64 = ChunkReader::open(chunk, Self::VERSION)?.next_entry()?.unwrap_or(0);
            match self.fault {
                Fault::ForgetsItsState => {}
                // What is appended adds up.
                Fault::AppendsWhatItReplaces => self.count += count,
                Fault::None | Fault::CountsBarriers | Fault::HoldsBackTheWatermark => {
                    self.count = count;
                }
            }
            Ok(())
        }
    }

    /// Emits at each watermark as many numbers as records came. It may forget, when a barrier comes between
    /// them, how many are still due.
    #[derive(Default)]
    struct Burst {
        came: i64,
        due: i64,
        forgets: bool,
    }

    impl Logic for Burst {
        type In = i64;
        type Out = i64;
        const VERSION: u16 = 1;
        const RESUMES: bool = true;

        fn on_record(&mut self, _: Record<i64>, _: &mut Outbox<i64>) {
            self.came += 1;
        }

        fn on_watermark(&mut self, watermark: Timestamp, _: &mut Outbox<i64>) -> Option<Timestamp> {
            self.due += std::mem::take(&mut self.came);
            Some(watermark)
        }

        fn more(&mut self, out: &mut Outbox<i64>) -> bool {
            let room = self.due.min(i64::try_from(out.room()).unwrap_or(i64::MAX));
            self.due -= room;
            (0..room).for_each(|_| out.push(Record::derived(1, Timestamp::default())));
            room > 0
        }

        fn snapshot(&mut self, snapshot: &mut Snapshot) {
            let mut count = ChunkWriter::new(Self::VERSION);
            count.put(&(self.came + if self.forgets { 0 } else { self.due }));
            snapshot.replace(0, count);
        }

        fn restore(&mut self, chunk: &Chunk) -> Result<()> {
            self.came = ChunkReader::open(chunk, Self::VERSION)?.next_entry()?.unwrap_or(0);
            Ok(())
        }
    }

    #[test]
    fn what_is_due_when_a_barrier_passes_must_not_be_forgotten() {
        // Three records before each watermark.
        let input = || {
            let third = |(n, element)| (n % 6 != 1 && n % 6 != 3).then_some(element);
            numbers().into_iter().enumerate().filter_map(third).collect::<Vec<_>>()
        };
        let keeps = |forgets: bool| {
            let burst = move || Burst { forgets, ..Burst::default() };
            let check = || laws::operator(input(), |flow| flow.logic("burst", "burst", burst()));
            catch_unwind(AssertUnwindSafe(check)).is_ok()
        };
        assert!(keeps(false));
        assert!(!keeps(true));
    }

    fn keeps_the_laws(fault: Fault) -> bool {
        let check = || {
            laws::operator(numbers(), |flow| {
                flow.logic("count", "count", Counter { count: 0, fault })
            });
        };
        catch_unwind(AssertUnwindSafe(check)).is_ok()
    }

    #[test]
    fn operators_with_a_fault_break_the_laws() {
        assert!(keeps_the_laws(Fault::None));
        assert!(!keeps_the_laws(Fault::ForgetsItsState));
        assert!(!keeps_the_laws(Fault::AppendsWhatItReplaces));
        assert!(!keeps_the_laws(Fault::CountsBarriers));
        assert!(!keeps_the_laws(Fault::HoldsBackTheWatermark));
    }
}
