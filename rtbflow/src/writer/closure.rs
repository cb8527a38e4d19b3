//! A writer that is a closure.

use std::fmt;
use std::future::{self, Future};
use std::marker::PhantomData;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::epoch::{Epoch, Writer};
use crate::error::Result;
use crate::record::Record;
use crate::staged::Place;
use crate::writer::Rows;

/// A writer that gives the records of each commit to a closure; see [`writer`] and [`async_writer`].
/// Clones are the same writer.
pub struct Closure<T> {
    place: Place,
    write: Arc<Write<T>>,
    row: PhantomData<fn(T)>,
}

type Write<T> = dyn Fn(Vec<Record<T>>) -> BoxFuture<'static, Result<()>> + Send + Sync;

/// A writer that gives the records of each commit to a closure, which must not wait. For one that does,
/// take [`async_writer`].
///
/// It is called before the place commits: **at least once**. After a crash or an error the same records
/// come again, so what it does has to bear that. A transient error makes the job call it again, any other
/// ends the job.
///
/// # Examples
/// ```
/// use std::sync::{Arc, Mutex};
/// use rtbflow::Job;
/// use rtbflow::epoch::Memory;
/// use rtbflow::writer::writer;
/// use rtbflow::source::IteratorSource;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let seen = Arc::new(Mutex::new(Vec::new()));
/// let remember = writer({
///     let seen = Arc::clone(&seen);
///     move |records| Ok(seen.lock().unwrap().extend(records.into_iter().map(|record| record.value)))
/// });
/// let job = Job::new("numbers").source(IteratorSource::new("numbers", || 1..=3)).anchor(Memory::new());
/// let job = job.writer(remember.clone()).pipeline(move |numbers| numbers.to(remember.sink()));
/// job.run().await?;
/// assert_eq!(*seen.lock().unwrap(), [1, 2, 3]);
/// # Ok::<(), rtbflow::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a writer is given to the job, and its sink ends a flow"]
pub fn writer<T>(
    write: impl Fn(Vec<Record<T>>) -> Result<()> + Send + Sync + 'static,
) -> Closure<T> {
    async_writer(move |records| future::ready(write(records)))
}

/// A writer that gives the records of each commit to a closure and waits for what it returns. For one
/// that does not wait take [`writer`], which states the guarantee: at least once.
///
/// # Examples
/// ```
/// use rtbflow::Job;
/// use rtbflow::epoch::Memory;
/// use rtbflow::writer::async_writer;
/// use rtbflow::source::IteratorSource;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let (sender, mut receiver) = tokio::sync::mpsc::channel(100);
/// let send = async_writer(move |records| {
///     let sender = sender.clone();
///     async move {
///         for record in records {
///             let _ = sender.send(record.value).await;
///         }
///         Ok(())
///     }
/// });
/// let job = Job::new("numbers").source(IteratorSource::new("numbers", || 1..=3)).anchor(Memory::new());
/// let job = job.writer(send.clone()).pipeline(move |numbers| numbers.to(send.sink()));
/// job.run().await?;
/// assert_eq!(receiver.recv().await, Some(1));
/// # Ok::<(), rtbflow::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a writer is given to the job, and its sink ends a flow"]
pub fn async_writer<T, W>(write: impl Fn(Vec<Record<T>>) -> W + Send + Sync + 'static) -> Closure<T>
where
    W: Future<Output = Result<()>> + Send + 'static,
{
    let write: Arc<Write<T>> = Arc::new(move |records| write(records).boxed());
    Closure { place: Place::new("closure"), write, row: PhantomData }
}

impl<T: Clone + Send + Sync + 'static> Closure<T> {
    /// A sink of this writer.
    #[must_use]
    pub fn sink(&self) -> Rows<T> {
        Rows::new(self.place)
    }
}

impl<T> Clone for Closure<T> {
    fn clone(&self) -> Self {
        Self { place: self.place, write: Arc::clone(&self.write), row: PhantomData }
    }
}

impl<T> fmt::Debug for Closure<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Closure({})", std::any::type_name::<T>())
    }
}

impl<T: Clone + Send + Sync + 'static> Writer for Closure<T> {
    fn place(&self) -> Place {
        self.place
    }

    fn write<'a>(&'a self, epochs: &'a [Epoch]) -> BoxFuture<'a, Result<()>> {
        match Rows::of(epochs, self.place).map(|rows| rows.cloned().collect::<Vec<_>>()) {
            Ok(records) if records.is_empty() => future::ready(Ok(())).boxed(),
            Ok(records) => (self.write)(records),
            Err(error) => future::ready(Err(error)).boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::epoch::Memory;
    use crate::error::Error;
    use crate::job::Job;
    use crate::source::IteratorSource;
    use crate::testing::builders::record;
    use crate::testing::laws;

    #[test]
    fn its_sink_keeps_the_laws_of_sinks() {
        let writer = writer(|_| Ok(()));
        laws::sink(|| writer.sink(), &[record("a", 0)]);
    }

    /// What a closure is given that fails once, and how the job ends.
    async fn failing(error: fn() -> Error) -> (Vec<i32>, Result<()>) {
        let calls = Arc::new(Mutex::new((Vec::new(), Some(error()))));
        let shared = Arc::clone(&calls);
        let writer = writer(move |records: Vec<Record<i32>>| {
            let mut calls = shared.lock().unwrap();
            calls.0.extend(records.into_iter().map(|record| record.value));
            calls.1.take().map_or(Ok(()), Err)
        });
        let source = IteratorSource::new("numbers", || [7]);
        let job = Job::new("numbers").source(source).anchor(Memory::new());
        let job = job.writer(writer.clone()).pipeline(move |numbers| numbers.to(writer.sink()));
        let ended = job.run_until(future::pending()).await.map(drop);
        let given = calls.lock().unwrap().0.clone();
        (given, ended)
    }

    #[tokio::test(start_paused = true)]
    async fn a_transient_error_calls_it_again_and_another_ends_the_job() {
        let (given, ended) = failing(|| Error::transient("write: away")).await;
        assert!(ended.is_ok());
        assert_eq!(given, [7, 7]);
        let (given, ended) = failing(|| Error::permanent("write: never")).await;
        assert!(ended.is_err());
        assert_eq!(given, [7]);
    }
}
