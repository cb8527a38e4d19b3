//! A writer of JSON lines into files that are whole or absent.

use std::fmt;
use std::fs::{self, File};
use std::future;
use std::io::{self, BufWriter, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;

use crate::epoch::{Epoch, Writer};
use crate::error::{Error, Result};
use crate::record::Record;
use crate::staged::Place;
use crate::writer::Rows;

/// A writer of JSON lines into the files of a folder: one file per commit and task, which appears whole, by
/// renaming, and is on the disk when it does.
///
/// A file is named after the task and the number of its commit, such as `0-00000000000000000012.jsonl`:
/// in the order of their names, a task's files are in the order of its commits. Whatever else stands in
/// the folder, such as a file that was not finished, has another ending.
///
/// They are written before the place commits: **at least once**. After a crash in between, what stands in
/// a file is read again and stands in a later one too. How many files there are follows from
/// [`Job::commit_interval`](crate::Job::commit_interval), which is short unless it is set.
///
/// # Examples
/// ```
/// use rtbflow::Job;
/// use rtbflow::epoch::Memory;
/// use rtbflow::writer::JsonFiles;
/// use rtbflow::source::IteratorSource;
///
/// # let folder = std::env::temp_dir().join(format!("rtbflow-json-files-{}", std::process::id()));
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let files = JsonFiles::new(&folder);
/// let job = Job::new("squares").source(IteratorSource::new("numbers", || 1..=3)).anchor(Memory::new());
/// let job = job
///     .writer(files.clone())
///     .pipeline(move |numbers| numbers.map(|n| (n, n * n)).to(files.sink()));
/// job.run().await?;
/// # Ok::<(), rtbflow::Error>(())
/// # })?;
/// let paths: Vec<_> = std::fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
/// assert_eq!(std::fs::read_to_string(paths[0].path())?, "[1,1]\n[2,4]\n[3,9]\n");
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JsonFiles<T> {
    place: Place,
    folder: PathBuf,
    row: PhantomData<fn(T)>,
}

impl<T> Clone for JsonFiles<T> {
    fn clone(&self) -> Self {
        Self { place: self.place, folder: self.folder.clone(), row: PhantomData }
    }
}

impl<T> fmt::Debug for JsonFiles<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonFiles({})", self.folder.display())
    }
}

impl<T: Serialize + Clone + Send + Sync + 'static> JsonFiles<T> {
    /// A writer into this folder, which is made if it is missing as the job starts.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { place: Place::new("json-files"), folder: folder.into(), row: PhantomData }
    }

    /// A sink of this writer.
    #[must_use]
    pub fn sink(&self) -> Rows<T> {
        Rows::new(self.place)
    }

    /// Writes what an epoch has staged, if anything, into a file of its own.
    fn write_epoch(&self, epoch: &Epoch) -> Result<()> {
        let mut rows = Rows::<T>::of(std::slice::from_ref(epoch), self.place)?.peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let advance = epoch.advances.first();
        let advance =
            advance.ok_or_else(|| Error::broken("an epoch with rows is of no partition"))?;
        let name = format!("{}-{:020}", epoch.task.number, advance.to.commit);
        self.write_file(&name, rows).map_err(|error| self.failed(error))
    }

    fn write_file<'a>(
        &self,
        name: &str,
        records: impl Iterator<Item = &'a Record<T>>,
    ) -> io::Result<()> {
        let unfinished = self.folder.join(format!("{name}.unfinished"));
        let mut file = BufWriter::new(File::create(&unfinished)?);
        for Record { value, .. } in records {
            serde_json::to_writer(&mut file, value)?;
            file.write_all(b"\n")?;
        }
        file.into_inner()?.sync_all()?;
        fs::rename(&unfinished, self.folder.join(format!("{name}.jsonl")))
    }
}

impl<T> JsonFiles<T> {
    fn failed(&self, error: io::Error) -> Error {
        let what = format!("write JSON lines into {}", self.folder.display());
        // What has no JSON form has none the next time either; a full disk may have room again.
        let useless =
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput);
        let error_of = if useless { Error::permanent } else { Error::transient };
        error_of(what).because(error)
    }
}

/// Brings what was renamed in a folder to the disk, where the system knows of that.
fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

impl<T: Serialize + Clone + Send + Sync + 'static> Writer for JsonFiles<T> {
    fn place(&self) -> Place {
        self.place
    }

    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        let made = fs::create_dir_all(&self.folder).map_err(|error| {
            Error::config(format!("make the folder {}", self.folder.display())).because(error)
        });
        future::ready(made).boxed()
    }

    fn write<'a>(&'a self, epochs: &'a [Epoch]) -> BoxFuture<'a, Result<()>> {
        let mut epochs_with_rows =
            epochs.iter().filter(|epoch| epoch.staged_for(self.place).next().is_some()).peekable();
        if epochs_with_rows.peek().is_none() {
            return future::ready(Ok(())).boxed();
        }
        let written = epochs_with_rows.try_for_each(|epoch| self.write_epoch(epoch));
        let written = written.and_then(|()| sync(&self.folder).map_err(|error| self.failed(error)));
        future::ready(written).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::barrier::Gathered;
    use crate::epoch::Advance;
    use crate::position::{Position, Task};
    use crate::record::{Partition, Topic};
    use crate::sink::Sink;
    use crate::testing::builders::record;
    use crate::testing::laws;

    fn folder() -> PathBuf {
        std::env::temp_dir().join(format!("rtbflow-json-{:016x}", rand::random::<u64>()))
    }

    /// An epoch of a task that brings it to a commit, with this row.
    fn epoch<T>(files: &JsonFiles<T>, number: u32, commit: u64, row: T) -> Epoch
    where
        T: Serialize + Clone + Send + Sync + 'static,
    {
        let (mut sink, mut gathered) = (files.sink(), Gathered::default());
        sink.write(&record(row, 0));
        sink.stage(&mut gathered.staged);
        let from = Position { commit: commit - 1, ..Position::default() };
        let to = Position { commit, ..Position::default() };
        let partition = Partition::new(Topic::new("test"), 0);
        Epoch::new(Task { number, of: 2 }, vec![Advance { partition, from, to }], gathered)
    }

    fn files_in(folder: &Path) -> BTreeMap<String, String> {
        let file = |entry: io::Result<fs::DirEntry>| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        };
        fs::read_dir(folder).unwrap().map(file).collect()
    }

    #[test]
    fn its_sink_keeps_the_laws_of_sinks() {
        let files = JsonFiles::new(folder());
        laws::sink(|| files.sink(), &[record("a", 0)]);
    }

    #[tokio::test]
    async fn an_epoch_that_is_written_again_takes_the_place_of_its_file() {
        let folder = folder();
        let files = JsonFiles::new(&folder);
        files.prepare().await.unwrap();
        let epochs = [epoch(&files, 0, 7, "a\n"), epoch(&files, 1, 3, "b")];
        for _ in 0..2 {
            files.write(&epochs).await.unwrap();
            let expected = [
                ("0-00000000000000000007.jsonl", "\"a\\n\"\n"),
                ("1-00000000000000000003.jsonl", "\"b\"\n"),
            ];
            let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
            assert_eq!(files_in(&folder), expected.into());
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn what_has_no_json_form_ends_the_job_and_a_folder_that_is_away_is_waited_for() {
        let folder = folder();
        let files = JsonFiles::new(&folder);
        files.prepare().await.unwrap();
        let bad = epoch(&files, 0, 1, BTreeMap::from([(vec![1], 1)]));
        assert!(!files.write(&[bad]).await.unwrap_err().is_transient());
        assert!(files_in(&folder).keys().all(|name| !name.ends_with(".jsonl")));
        fs::remove_dir_all(&folder).unwrap();
        let good = epoch(&files, 0, 1, BTreeMap::new());
        assert!(files.write(&[good]).await.unwrap_err().is_transient());
    }
}
