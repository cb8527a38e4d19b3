//! What a job lacks where its servers are is one error, before anything is read.
#![expect(clippy::unwrap_used, reason = "a test stops where something is missing")]

use std::future::pending;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use rtbflow::epoch::{
    Anchor, ChunkPage, Claim, DeadLetter, DeadLetters, Epoch, JobName, Memory, Position, Task,
    Verdict, Writer,
};
use rtbflow::sink::Place;
use rtbflow::source::{Context, FixedFeed, MemoryBatch, MemorySource, Source};
use rtbflow::{Error, Job, Result};

fn missing(what: &str) -> Result<()> {
    Err(Error::config(format!("look for {what}: it is not there")))
}

fn unread<T>() -> Result<T> {
    Err(Error::permanent("read something"))
}

/// A topic that is not there.
struct NoTopic(MemorySource<u8>);

impl Source for NoTopic {
    type Batch = MemoryBatch<u8>;
    type Feed = FixedFeed<MemoryBatch<u8>>;

    fn topics(&self) -> Vec<String> {
        self.0.topics()
    }

    async fn check(&self) -> Result<()> {
        missing("the topic")
    }

    async fn open(&self, _: Context) -> Result<Self::Feed> {
        unread()
    }
}

/// A table that is not there.
#[derive(Clone)]
struct NoTable(Place);

impl Anchor for NoTable {
    fn place(&self) -> Place {
        self.0
    }

    fn topics(&self) -> Vec<String> {
        vec!["results".to_owned()]
    }

    async fn prepare(&self, _: &JobName) -> Result<()> {
        missing("the table")
    }

    async fn claim(&self, _: &JobName, _: &Claim) -> Result<Vec<Position>> {
        unread()
    }

    async fn restore(&self, _: &JobName, _: Task, _: Option<String>) -> Result<ChunkPage> {
        unread()
    }

    async fn commit(&self, _: &JobName, _: &[Epoch]) -> Result<Vec<Verdict>> {
        unread()
    }
}

/// An index that is not there.
struct NoIndex(Place);

impl Writer for NoIndex {
    fn place(&self) -> Place {
        self.0
    }

    fn topics(&self) -> Vec<String> {
        vec!["alerts".to_owned()]
    }

    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        async { missing("the index") }.boxed()
    }

    fn write<'a>(&'a self, _: &'a [Epoch]) -> BoxFuture<'a, Result<()>> {
        async { unread() }.boxed()
    }
}

/// Nowhere to put dead letters; and for which topics that was asked.
#[derive(Clone, Default)]
struct NoLetters(Arc<Mutex<Vec<String>>>);

impl DeadLetters for NoLetters {
    fn prepare<'a>(&'a self, topics: &'a [String]) -> BoxFuture<'a, Result<()>> {
        self.0.lock().unwrap().extend_from_slice(topics);
        async { missing("the dead-letter topics") }.boxed()
    }

    fn deliver<'a>(&'a self, _: &'a str, _: &'a [DeadLetter]) -> BoxFuture<'a, Result<()>> {
        async { unread() }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn all_that_is_missing_is_one_error_and_nothing_is_read() {
    let letters = NoLetters::default();
    let place = Memory::new();
    let out = place.collected::<u8>();
    let into = out.clone();
    let job = Job::new("lacks")
        .source(NoTopic(MemorySource::new("numbers", vec![vec![1]])))
        .anchor(NoTable(place.place()))
        .writer(NoIndex(Place::new("elsewhere")))
        .dead_letters(letters.clone())
        .pipeline(move |numbers| numbers.to(into.sink()));
    let error = job.run_until(pending()).await.unwrap_err();
    assert!(error.is_config(), "{error:?}");
    let report = error.report();
    for what in ["the table", "the topic", "the dead-letter topics", "the index"] {
        assert!(report.contains(&format!("look for {what}: it is not there")), "{report}");
    }
    // What is refused of any of them would become a letter beside it.
    assert_eq!(*letters.0.lock().unwrap(), ["alerts", "numbers", "results"]);
    assert_eq!(out.values(), [0; 0]);
}
