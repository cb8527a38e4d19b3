//! One passage of elements through a pipeline, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::barrier::{Barrier, Gathered, Gathering, Reject, Tally};
use crate::chunk::{BucketChange, Chunk};
use crate::element::Element;
use crate::flow::{Elements, Flow};
use crate::record::{Origin, Record};
use crate::testing::builders::at;
use crate::testing::{ScriptedStream, TestFlow};
use crate::time::Timestamp;

/// What is put into a pipeline.
pub(super) enum Stimulus<T> {
    Element(Element<T>),
    /// Nothing is there at the moment.
    Pause,
    /// The end of an epoch.
    Barrier,
    /// State comes back.
    Restore {
        chunks: Vec<Chunk>,
        last: bool,
    },
}

/// What came out of a pipeline.
pub(super) struct Passage<U> {
    pub(super) records: Vec<Record<U>>,
    /// Watermarks that came by themselves.
    pub(super) watermarks: Vec<Timestamp>,
    /// All watermarks, those that came with records too.
    pub(super) before: Vec<Timestamp>,
    /// The barriers by their number.
    pub(super) barriers: Vec<usize>,
    pub(super) chunks: Vec<Chunk>,
    pub(super) rejects: Vec<Reject>,
    pub(super) tally: Tally,
}

impl<U> Passage<U> {
    pub(super) fn new() -> Self {
        Self {
            records: Vec::new(),
            watermarks: Vec::new(),
            before: Vec::new(),
            barriers: Vec::new(),
            chunks: Vec::new(),
            rejects: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// This one and the one after a restart.
    pub(super) fn and(mut self, after: Self) -> Self {
        self.records.extend(after.records);
        self.rejects.extend(after.rejects);
        self.tally.merge(after.tally);
        self.chunks.extend(after.chunks);
        self
    }

    /// Takes in what an epoch gathered.
    pub(super) fn absorb(&mut self, gathered: Gathered) {
        self.tally.merge(gathered.tally);
        self.rejects.extend(gathered.rejects);
        self.chunks.extend(gathered.chunks);
    }
}

/// An epoch under way: its barrier's number, and the records that it reads.
struct Expected {
    gathering: Gathering,
    read: BTreeSet<Origin>,
}

/// What comes out of a stream until its end, by at most this many polls that wait.
fn polled<S: Elements>(stream: S, most_polls: usize) -> Passage<S::Value> {
    let mut stream = Box::pin(stream);
    let mut context = Context::from_waker(Waker::noop());
    let (mut passage, mut pauses) = (Passage::new(), 0);
    loop {
        match stream.as_mut().poll_next(&mut context) {
            Poll::Ready(Some(element)) => passage.take(element),
            Poll::Ready(None) => return passage,
            Poll::Pending => {
                pauses += 1;
                assert!(pauses < most_polls, "the pipeline waits for something");
            }
        }
    }
}

/// Sends steps through a pipeline.
#[expect(clippy::panic, reason = "a law that is broken panics")]
pub(super) fn pass<T, S>(
    pipeline: &impl Fn(TestFlow<T>) -> Flow<S>,
    steps: Vec<Stimulus<T>>,
) -> Passage<S::Value>
where
    T: Clone + Send + Unpin + 'static,
    S: Elements,
{
    let most_polls = steps.len() + 1;
    let (script, epochs, restores) = script(steps);
    let flow = pipeline(Flow::from_elements(script));
    if let Err(error) = flow.topology() {
        panic!("{error}");
    }
    let mut passage = polled(flow.into_elements(), most_polls);
    for gathering in restores {
        finished(gathering);
    }
    for Expected { gathering, read } in epochs {
        passage.gather(gathering, &read);
    }
    passage
}

/// The elements of the steps, with a barrier each where one is wanted.
fn script<T>(steps: Vec<Stimulus<T>>) -> (ScriptedStream<T>, Vec<Expected>, Vec<Gathering>) {
    let (mut epochs, mut restores, mut read) = (Vec::new(), Vec::new(), BTreeSet::new());
    let script = steps.into_iter().map(|step| match step {
        Stimulus::Pause => None,
        Stimulus::Element(element) => {
            if let Element::Record(record, _) = &element {
                read.extend(record.origin);
            }
            Some(element)
        }
        Stimulus::Barrier => {
            // Numbered by the wall clock.
            let (barrier, gathering) = Barrier::new(at(i64::try_from(epochs.len()).unwrap_or(0)));
            epochs.push(Expected { gathering, read: std::mem::take(&mut read) });
            Some(Element::Barrier(barrier))
        }
        Stimulus::Restore { chunks, last } => {
            let (barrier, gathering) = Barrier::restoring(at(0), chunks, last);
            restores.push(gathering);
            Some(Element::Barrier(barrier))
        }
    });
    let script = ScriptedStream::new(script.collect::<Vec<_>>());
    (script, epochs, restores)
}

#[expect(clippy::panic, reason = "a law that is broken panics")]
pub(super) fn finished(gathering: Gathering) -> Gathered {
    match gathering.finish() {
        Ok(Ok(gathered)) => gathered,
        Ok(Err(_)) => panic!("a barrier did not come out"),
        Err(error) => panic!("{error}"),
    }
}

impl<U> Passage<U> {
    pub(super) fn take(&mut self, element: Element<U>) {
        match element {
            Element::Record(record, watermark) => {
                self.records.push(record);
                self.before.push(watermark);
            }
            Element::Watermark(watermark) => {
                self.watermarks.push(watermark);
                self.before.push(watermark);
            }
            Element::Barrier(barrier) => {
                if !barrier.is_restoring() {
                    let number = usize::try_from(barrier.wall_clock().as_millis());
                    self.barriers.extend(number);
                }
                barrier.complete();
            }
        }
    }

    /// Takes in what an epoch gathered, which read these records.
    fn gather(&mut self, gathering: Gathering, read: &BTreeSet<Origin>) {
        let gathered = finished(gathering);
        for reject in &gathered.rejects {
            let origin = reject.origin;
            let known = read.iter().any(|read| {
                (read.partition(), read.offset()) == (origin.partition(), origin.offset())
            });
            assert!(known, "{origin} was rejected in another epoch than it was read in");
        }
        let (accounted, records) = (gathered.tally.total(), read.len());
        let fits = usize::try_from(accounted).is_ok_and(|accounted| accounted <= records);
        assert!(fits, "an epoch of {records} records accounts for {accounted}");
        self.absorb(gathered);
    }
}

/// The log of a pipeline's state, as a place keeps it.
#[derive(Clone, Default)]
pub(super) struct StateLog(BTreeMap<(Arc<str>, i64), Vec<Chunk>>);

impl StateLog {
    pub(super) fn apply(&mut self, chunk: &Chunk) {
        let bucket = (Arc::clone(&chunk.operator), chunk.bucket);
        match &chunk.change {
            BucketChange::Append(_) => self.0.entry(bucket).or_default().push(chunk.clone()),
            BucketChange::Replace(_) => {
                self.0.insert(bucket, vec![chunk.clone()]);
            }
            BucketChange::Drop => {
                self.0.remove(&bucket);
            }
        }
    }

    /// All chunks.
    pub(super) fn chunks(self) -> Vec<Chunk> {
        self.0.into_values().flatten().collect()
    }

    /// All chunks, this many at a time; at least one page, as there is always a last one.
    pub(super) fn pages<T>(self, size: usize) -> Vec<Stimulus<T>> {
        let chunks = self.chunks();
        let mut pages: Vec<Stimulus<T>> = chunks
            .chunks(size)
            .map(|page| Stimulus::Restore { chunks: page.to_vec(), last: false })
            .collect();
        if pages.is_empty() {
            pages.push(Stimulus::Restore { chunks: Vec::new(), last: false });
        }
        if let Some(Stimulus::Restore { last, .. }) = pages.last_mut() {
            *last = true;
        }
        pages
    }
}
