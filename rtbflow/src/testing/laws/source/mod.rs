//! The laws of sources: what is read, from where, in which order, and where it ends.

mod reading;

use std::collections::BTreeMap;
use std::pin::pin;

use futures::StreamExt;
use futures::future::{Either, select};

use crate::dead_letter::DeadLetter;
use crate::error::BadRecord;
use crate::record::Partition;
use crate::source::{Batch, Delivery, Feed, Source, SourceEvent};
use crate::testing::laws::law;

use reading::{Offsets, Reading, Until};

/// Records that were written somewhere, and a source that reads them.
pub trait SourceUnderTest: Sync {
    /// The source.
    type Source: Source<Batch: Batch>;

    /// A source as another life of the same instance would make it. All of them read the same records.
    fn source(&self) -> Self::Source;

    /// All records there are, each as a dead letter that came back unchanged; the reasons do not count.
    /// In the order of the offsets within each partition; at least two records in one of them.
    fn records(&self) -> Vec<DeadLetter>;
}

/// Checks that a source keeps the laws of [`Source`], [`Feed`] and [`Batch`]. It opens the source about
/// ten times, one after another, under names of jobs that are new at each call.
///
/// ```
/// use rtbflow::source::MemorySource;
/// use rtbflow::epoch::DeadLetter;
/// use rtbflow::testing::builders::letter;
/// use rtbflow::testing::laws::{self, SourceUnderTest};
///
/// struct Numbers;
///
/// impl SourceUnderTest for Numbers {
///     type Source = MemorySource<u32>;
///
///     fn source(&self) -> MemorySource<u32> {
///         MemorySource::new("numbers", vec![vec![1, 2, 3], vec![4]])
///     }
///
///     fn records(&self) -> Vec<DeadLetter> {
///         [(0, 0), (0, 1), (0, 2), (1, 0)].map(|(number, offset)| letter("numbers", number, offset)).into()
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// laws::source(&Numbers).await;
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// If a law is broken; stderr says which.
pub async fn source<S: SourceUnderTest>(under_test: &S) {
    macro_rules! check {
        ($($law:ident: $name:literal;)+) => {
            $(law($name, Box::pin($law(&Expected::of(under_test)))).await;)+
        };
    }
    check! {
        until_end: "until the end, every record is read once, in the order of the offsets, then it ends";
        live: "without an end to reach, every record is read, then the end is proved or reached";
        from_anywhere: "reading begins where the job says, in each partition";
        goes_on: "a second life goes on where the first one stood";
        given_up: "an assignment that was given up changes nothing";
        cancelled: "no event is lost when the wait for it is cancelled";
        unchanged: "a dead letter is the record as it was";
    }
}

/// What there is to read.
struct Expected<'a, S> {
    under_test: &'a S,
    records: BTreeMap<Partition, Vec<DeadLetter>>,
}

impl<'a, S: SourceUnderTest> Expected<'a, S> {
    fn of(under_test: &'a S) -> Self {
        let mut records: BTreeMap<Partition, Vec<DeadLetter>> = BTreeMap::new();
        for letter in under_test.records() {
            records.entry(letter.origin.partition()).or_default().push(letter);
        }
        let enough = records.values().any(|letters| letters.len() >= 2);
        assert!(enough, "the laws need a partition with two records");
        Self { under_test, records }
    }

    /// The offsets from these on; from the first where there is none.
    fn from(&self, from: &Offsets) -> BTreeMap<Partition, Vec<i64>> {
        let mut expected = BTreeMap::new();
        for (partition, letters) in &self.records {
            let first = from.get(partition).copied().unwrap_or(i64::MIN);
            let all = letters.iter().map(|letter| letter.origin.offset());
            let offsets: Vec<i64> = all.filter(|offset| *offset >= first).collect();
            if !offsets.is_empty() {
                expected.insert(*partition, offsets);
            }
        }
        expected
    }

    /// For each partition the place after this share of its records, in hundredths.
    fn share(&self, percent: usize) -> Offsets {
        let place = |letters: &Vec<DeadLetter>| {
            let at = letters.len() * percent / 100;
            let last = letters.last().map_or(0, |letter| letter.origin.offset() + 1);
            letters.get(at).map_or(last, |letter| letter.origin.offset())
        };
        self.records.iter().map(|(partition, letters)| (*partition, place(letters))).collect()
    }

    async fn open(&self, until_end: bool) -> Reading<S::Source> {
        let partitions = self.records.keys().copied().collect();
        Reading::open(&self.under_test.source(), until_end, partitions).await
    }

    /// Opens the source and reads to the end.
    async fn check(&self, from: &Offsets) {
        let mut reading = self.open(true).await;
        reading.begin(from);
        assert_eq!(reading.read(Until::Finished).await, self.from(from), "read from {from:?}");
        reading.close().await;
    }
}

async fn until_end<S: SourceUnderTest>(expected: &Expected<'_, S>) {
    expected.check(&Offsets::new()).await;
}

async fn live<S: SourceUnderTest>(expected: &Expected<'_, S>) {
    let mut reading = expected.open(false).await;
    reading.begin(&Offsets::new());
    let all = expected.from(&Offsets::new());
    assert_eq!(reading.read(Until::AtEnd).await, all);
    reading.close().await;
}

async fn from_anywhere<S: SourceUnderTest>(expected: &Expected<'_, S>) {
    for percent in [1, 34, 67, 100] {
        expected.check(&expected.share(percent)).await;
    }
    // Right behind a record: in a topic with gaps nothing need stand there.
    let behind = expected.share(0).into_iter().map(|(partition, at)| (partition, at + 1));
    expected.check(&behind.collect()).await;
}

async fn goes_on<S: SourceUnderTest>(expected: &Expected<'_, S>) {
    let middle = expected.share(50);
    let mut first = expected.open(true).await;
    first.begin(&Offsets::new());
    let mut read = first.read(Until::Offsets(&middle)).await;
    first.close().await;
    let mut second = expected.open(true).await;
    second.begin(&middle);
    for (partition, offsets) in second.read(Until::Finished).await {
        read.entry(partition).or_default().extend(offsets);
    }
    assert_eq!(read, expected.from(&Offsets::new()), "both lives together");
    second.close().await;
}

async fn given_up<S: SourceUnderTest>(expected: &Expected<'_, S>) {
    expected.open(true).await.close().await;
    expected.check(&Offsets::new()).await;
}

async fn cancelled<S: SourceUnderTest>(expected: &Expected<'_, S>) {
    let context = reading::context(true);
    let opened = expected.under_test.source().open(context).await;
    let Ok(mut feed) = opened else {
        assert!(opened.is_ok(), "open: {:?}", opened.err());
        return;
    };
    let mut missing = expected.records.len();
    while missing > 0 {
        let event = {
            let next = pin!(feed.next());
            match select(next, pin!(tokio::task::yield_now())).await {
                Either::Left((event, _)) => event,
                Either::Right(_) => continue,
            }
        };
        match event {
            Ok(SourceEvent::Assigned(assignment)) => {
                let partitions = assignment.tasks.iter().map(|input| input.partitions.len());
                missing = missing.saturating_sub(partitions.sum());
            }
            Ok(SourceEvent::Revoked(_)) => missing = expected.records.len(),
            Err(error) => assert!(error.is_transient(), "next: {error:?}"),
        }
    }
    feed.close().await;
}

async fn unchanged<S: SourceUnderTest>(expected: &Expected<'_, S>) {
    let mut reading = expected.open(true).await;
    reading.begin(&Offsets::new());
    for input in reading.inputs() {
        let letters = expected.records.get(&input.partition).cloned().unwrap_or_default();
        let mut letters = letters.into_iter().peekable();
        while let Some(Ok(delivery)) = input.deliveries.next().await {
            match delivery {
                Delivery::Batch(batch) => has_letters(&batch, input.partition, &mut letters),
                Delivery::Reached { .. } => {}
                Delivery::AtEnd { .. } | Delivery::Finished => break,
            }
        }
        assert_eq!(letters.next(), None, "{} ended early", input.partition);
    }
    reading.close().await;
}

/// A batch of the next records, each of which is its own dead letter.
fn has_letters(
    batch: &impl Batch,
    partition: Partition,
    letters: &mut impl Iterator<Item = DeadLetter>,
) {
    assert_eq!(batch.is_empty(), batch.len() == 0);
    assert!(batch.get(batch.len()).is_none(), "a record beyond the batch");
    let why = BadRecord::new("why");
    // The last is asked for first: a batch keeps its records until it goes.
    let last = batch.len().checked_sub(1).and_then(|last| batch.get(last));
    for index in 0..batch.len() {
        let Some(incoming) = batch.get(index) else {
            assert_eq!(None, Some(index), "a batch of {} records ends early", batch.len());
            return;
        };
        let expected = letters.next().map(|letter| DeadLetter { reason: why.clone(), ..letter });
        assert!(expected.is_some(), "{partition} has no record at {}", incoming.offset);
        let found = batch.dead_letter(partition, incoming.offset, why.clone());
        assert_eq!(found, expected, "{partition} at {}", incoming.offset);
    }
    let beyond = last.map_or(0, |last| last.offset + 1);
    let found = batch.dead_letter(partition, beyond, why.clone());
    assert_eq!(found, None, "{partition} at {beyond}, which is not in the batch");
}
