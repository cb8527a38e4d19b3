//! A writer into a channel, which another part of the service reads.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::lock::Mutex;
use futures::{FutureExt, SinkExt, Stream, StreamExt};

use crate::epoch::{Epoch, Writer};
use crate::error::{Error, Result};
use crate::record::Record;
use crate::staged::Place;
use crate::writer::Rows;

/// A writer into a channel, and the records that come out of it.
///
/// The channel holds `capacity` records and one more; whoever does not read them holds the job's commits
/// back. When the [`Results`] are dropped, the job ends with an error.
///
/// They are there before the place has committed: **at least once**, and after a crash what a reader has
/// seen may come again.
///
/// # Examples
/// ```
/// use futures::StreamExt;
/// use rtbflow::Job;
/// use rtbflow::epoch::Memory;
/// use rtbflow::writer::channel;
/// use rtbflow::source::IteratorSource;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let (writer, results) = channel::<u64>(100);
/// let job = Job::new("squares").source(IteratorSource::new("numbers", || 1..=3)).anchor(Memory::new());
/// let job = job
///     .writer(writer.clone())
///     .pipeline(move |numbers| numbers.map(|n| n * n).to(writer.sink()));
/// let job = tokio::spawn(job.run());
/// let squares: Vec<u64> = results.map(|record| record.value).collect().await;
/// assert_eq!(squares, [1, 4, 9]);
/// job.await??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn channel<T>(capacity: usize) -> (ChannelWriter<T>, Results<T>) {
    let (sender, receiver) = mpsc::channel(capacity);
    let writer =
        ChannelWriter { place: Place::new("channel"), sender: Arc::new(Mutex::new(sender)) };
    (writer, Results(receiver))
}

/// The end of a [`channel`] that a job writes to. Clones write to the same.
pub struct ChannelWriter<T> {
    place: Place,
    sender: Arc<Mutex<mpsc::Sender<Record<T>>>>,
}

impl<T> Clone for ChannelWriter<T> {
    fn clone(&self) -> Self {
        Self { place: self.place, sender: Arc::clone(&self.sender) }
    }
}

impl<T> fmt::Debug for ChannelWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelWriter")
    }
}

impl<T: Clone + Send + Sync + 'static> ChannelWriter<T> {
    /// A sink of this writer.
    #[must_use]
    pub fn sink(&self) -> Rows<T> {
        Rows::new(self.place)
    }
}

impl<T: Clone + Send + Sync + 'static> Writer for ChannelWriter<T> {
    fn place(&self) -> Place {
        self.place
    }

    fn write<'a>(&'a self, epochs: &'a [Epoch]) -> BoxFuture<'a, Result<()>> {
        async move {
            let mut sender = self.sender.lock().await;
            for record in Rows::<T>::of(epochs, self.place)? {
                sender.send(record.clone()).await.map_err(|_| {
                    Error::permanent("write into a channel: whoever read it is gone")
                })?;
            }
            Ok(())
        }
        .boxed()
    }
}

/// What a job writes into a [`channel`]: a stream, which ends when the job has.
pub struct Results<T>(mpsc::Receiver<Record<T>>);

impl<T> fmt::Debug for Results<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Results")
    }
}

impl<T> Stream for Results<T> {
    type Item = Record<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Record<T>>> {
        self.0.poll_next_unpin(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::Memory;
    use crate::job::Job;
    use crate::source::IteratorSource;
    use crate::testing::builders::record;
    use crate::testing::laws;

    #[test]
    fn its_sink_keeps_the_laws_of_sinks() {
        let (writer, _results) = channel(1);
        laws::sink(|| writer.sink(), &[record("a", 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_gone_ends_the_job() {
        let (writer, results) = channel(1);
        drop(results);
        let source = IteratorSource::new("numbers", || [7]);
        let job = Job::new("numbers").source(source).anchor(Memory::new());
        let job = job.writer(writer.clone()).pipeline(move |numbers| numbers.to(writer.sink()));
        let error = job.run_until(std::future::pending()).await.unwrap_err();
        assert!(error.to_string().contains("gone"), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_holds_the_job_back() {
        let (writer, results) = channel(2);
        let source = IteratorSource::new("numbers", || 0..10_000);
        let job = Job::new("numbers").source(source).anchor(Memory::new());
        let account = job.account();
        let job = job.writer(writer.clone()).pipeline(move |numbers| numbers.to(writer.sink()));
        let run = job.run_until(tokio::time::sleep(std::time::Duration::from_secs(60)));
        let _ = run.await;
        assert_eq!(account.report().commits, 0);
        assert_eq!(results.count().await, 3, "the capacity, and one for the writer");
    }
}
