//! A writer that prints each record to the standard output.

use std::fmt;
use std::future;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::epoch::{Epoch, Writer};
use crate::error::{Error, Result};
use crate::record::Record;
use crate::staged::Place;
use crate::writer::Rows;

/// A writer that prints each record on a line of the standard output, as `text` writes it down.
///
/// For looking at a pipeline, and for programs whose output another reads. It is printed before the place
/// commits: **at least once**.
///
/// # Examples
/// ```
/// use rtbflow::Job;
/// use rtbflow::epoch::Memory;
/// use rtbflow::writer::stdout;
/// use rtbflow::source::IteratorSource;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let print = stdout(|n| format!("number {n}"));
/// let job = Job::new("numbers").source(IteratorSource::new("numbers", || 1..=3)).anchor(Memory::new());
/// let job = job.writer(print.clone()).pipeline(move |numbers| numbers.to(print.sink()));
/// assert_eq!(job.run().await?.records_in(), 3);
/// # Ok::<(), rtbflow::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a writer is given to the job, and its sink ends a flow"]
pub fn stdout<T>(text: impl Fn(&T) -> String + Send + Sync + 'static) -> Stdout<T> {
    let text: Arc<Text<T>> = Arc::new(text);
    Stdout { place: Place::new("stdout"), text, row: PhantomData }
}

/// A writer that prints; see [`stdout`]. Clones are the same writer.
pub struct Stdout<T> {
    place: Place,
    text: Arc<Text<T>>,
    row: PhantomData<fn(T)>,
}

type Text<T> = dyn Fn(&T) -> String + Send + Sync;

impl<T> Clone for Stdout<T> {
    fn clone(&self) -> Self {
        Self { place: self.place, text: Arc::clone(&self.text), row: PhantomData }
    }
}

impl<T> fmt::Debug for Stdout<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stdout")
    }
}

impl<T: Clone + Send + Sync + 'static> Stdout<T> {
    /// A sink of this writer.
    #[must_use]
    pub fn sink(&self) -> Rows<T> {
        Rows::new(self.place)
    }

    /// Prints what epochs have staged to `out`.
    fn print(&self, epochs: &[Epoch], mut out: impl Write) -> Result<()> {
        let mut rows = Rows::<T>::of(epochs, self.place)?;
        let printed =
            rows.try_for_each(|Record { value, .. }| writeln!(out, "{}", (self.text)(value)));
        printed
            .and_then(|()| out.flush())
            .map_err(|error| Error::permanent("print to the standard output").because(error))
    }
}

impl<T: Clone + Send + Sync + 'static> Writer for Stdout<T> {
    fn place(&self) -> Place {
        self.place
    }

    fn write<'a>(&'a self, epochs: &'a [Epoch]) -> BoxFuture<'a, Result<()>> {
        let printed = self.print(epochs, io::BufWriter::new(io::stdout().lock()));
        future::ready(printed).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::barrier::Gathered;
    use crate::position::Task;
    use crate::sink::Sink;
    use crate::testing::builders::record;
    use crate::testing::laws;

    #[test]
    fn its_sink_keeps_the_laws_of_sinks() {
        let stdout = stdout(|text: &&str| text.to_string());
        laws::sink(|| stdout.sink(), &[record("a", 0)]);
    }

    #[test]
    fn prints_a_line_a_record() {
        let (stdout, mut gathered) = (stdout(|n: &i32| format!("<{n}>")), Gathered::default());
        let mut sink = stdout.sink();
        sink.write(&record(1, 0));
        sink.write(&record(2, 0));
        sink.stage(&mut gathered.staged);
        let epoch = Epoch::new(Task { number: 0, of: 1 }, Vec::new(), gathered);
        let mut out = Vec::new();
        stdout.print(&[epoch], &mut out).unwrap();
        assert_eq!(out, b"<1>\n<2>\n");
    }
}
