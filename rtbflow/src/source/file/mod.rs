//! A source of the lines of files.

mod lines;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{TryFutureExt, future, stream};
use serde::de::DeserializeOwned;

use lines::Lines;

use crate::clock::Clock;
use crate::codec::{Decoder, Json, json};
use crate::error::{Error, Result};
use crate::raw_record::RawRecord;
use crate::record::{Partition, Topic};
use crate::source::{
    ByDecoder, Context, Decoded, Delivery, FixedFeed, RawBatch, RawBuffer, RawRecords, Source,
};

/// Lines in one batch.
const MOST_LINES: usize = 500;
/// Bytes in one batch, but for its last line.
const MOST_BATCH_BYTES: usize = 256 << 10;

/// A source of the lines of files, read to their ends: JSON lines, CSV, or whatever a decoder makes of
/// them.
///
/// An offset is the number of a line, from 0; of a CSV file, that of a row behind the header. A file can
/// be read again, so a job over it recovers exactly, as long as nobody changes what was read. To go on
/// where it stood, the job reads over the lines that it has committed. Empty lines are passed over, a
/// line of more than 16 MiB ends the job, and so does a file that has fewer lines than were read of it.
///
/// It is read in pieces of 256 KiB on the job's own threads, which a local disk does not mind. To follow
/// a file that grows, make a [`StreamSource`](crate::source::StreamSource) of its lines.
///
/// # Examples
/// ```
/// use rtbflow::Job;
/// use rtbflow::epoch::Memory;
/// use rtbflow::source::FileSource;
///
/// #[derive(Clone, serde::Deserialize)]
/// struct Click { price: u64 }
///
/// # let folder = std::env::temp_dir().join(format!("rtbflow-clicks-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("clicks.jsonl");
/// std::fs::write(&path, "{\"price\": 7}\nnot a click\n{\"price\": 5}\n")?;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let place = Memory::new();
/// let prices = place.collected::<u64>();
/// let job = Job::new("clicks").source(FileSource::new(&path).json::<Click>()).anchor(place.clone());
/// let report = job.pipeline({
///     let prices = prices.clone();
///     move |clicks| clicks.map(|click| click.price).to(prices.sink())
/// });
/// let report = report.run().await?;
/// assert_eq!(prices.values(), [7, 5]);
/// assert_eq!(report.dead_lettered, 1);
/// # Ok::<(), rtbflow::Error>(())
/// # })?;
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct FileSource {
    topic: Topic,
    paths: Arc<Vec<PathBuf>>,
    form: Form,
    /// Why it cannot be read, as far as that is known.
    refused: Option<String>,
}

/// What stands in a file.
#[derive(Debug, Clone)]
enum Form {
    Lines,
    /// Rows of CSV behind this header; a quoted field may go over several lines.
    #[cfg(feature = "csv")]
    Rows {
        header: Arc<Vec<u8>>,
    },
}

impl FileSource {
    /// The lines of one file. Its name is that of the topic, and the job's positions are kept by it.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        // A path without a name, such as `/`, is no file: opening it says so.
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self::several(&name, [path])
    }

    /// The lines of several files, each a partition and thereby a task. A partition's number is the
    /// file's place in the list, which must stay the same.
    #[must_use]
    pub fn several(topic: &str, paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        let paths = paths.into_iter().map(Into::into).collect();
        Self { topic: Topic::new(topic), paths: Arc::new(paths), form: Form::Lines, refused: None }
    }

    /// Each line is a JSON value; see [`json`](crate::codec::json()).
    #[must_use]
    pub fn json<T: DeserializeOwned + Send + 'static>(self) -> Decoded<Self, ByDecoder<Json<T>>> {
        self.decode(json())
    }

    /// Each line is decoded; one that does not decode becomes a dead letter.
    #[must_use]
    pub fn decode<D: Decoder>(self, decoder: D) -> Decoded<Self, ByDecoder<D>> {
        Decoded::new(self, decoder)
    }

    /// Rows of comma-separated values, as [RFC 4180](https://www.rfc-editor.org/rfc/rfc4180) has them;
    /// the first row of each file names the columns. See [`csv`](crate::codec::csv()).
    ///
    /// The header is that of the first file. If it cannot be read, the job ends with a configuration error when
    /// it is run, as it does for all that is set wrongly.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::Job;
    /// use rtbflow::epoch::Memory;
    /// use rtbflow::source::FileSource;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Click { campaign: String, price: u64 }
    ///
    /// # let folder = std::env::temp_dir().join(format!("rtbflow-csv-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let path = folder.join("clicks.csv");
    /// std::fs::write(&path, "price,campaign\n7,\"spring, late\"\n5,autumn\n")?;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let place = Memory::new();
    /// let out = place.collected::<(String, u64)>();
    /// let job = Job::new("clicks").source(FileSource::new(&path).csv::<Click>()).anchor(place.clone());
    /// let job = job.pipeline({
    ///     let out = out.clone();
    ///     move |clicks| clicks.map(|click| (click.campaign, click.price)).to(out.sink())
    /// });
    /// job.run().await?;
    /// assert_eq!(out.values(), [("spring, late".into(), 7), ("autumn".into(), 5)]);
    /// # Ok::<(), rtbflow::Error>(())
    /// # })?;
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "csv")]
    #[must_use]
    pub fn csv<T>(self) -> Decoded<Self, ByDecoder<crate::codec::Csv<T>>>
    where
        T: DeserializeOwned + Send + 'static,
    {
        match self.header() {
            Ok((header, columns)) => {
                let form = Form::Rows { header: Arc::new(header) };
                Self { form, ..self }.decode(columns)
            }
            Err(error) => {
                let refused = Some(error.report());
                Self { refused, ..self }.decode(crate::codec::csv([""; 0]))
            }
        }
    }

    /// The header of the first file, and the decoder of what stands under it.
    #[cfg(feature = "csv")]
    fn header<T>(&self) -> Result<(Vec<u8>, crate::codec::Csv<T>)> {
        let Some(first) = self.paths.first() else {
            return Err(Error::config(
                "read CSV files: the list of files is empty; name one or more",
            ));
        };
        let header = Lines::open(first)?.header(first)?;
        let columns = crate::codec::Csv::of_header(&header).map_err(|bad| {
            Error::config(format!("read the header of {}", first.display())).because(bad)
        })?;
        Ok((header, columns))
    }
}

impl Source for FileSource {
    type Batch = RawBatch;
    type Feed = FixedFeed<RawBatch>;

    fn topics(&self) -> Vec<String> {
        vec![self.topic.to_string()]
    }

    fn is_bounded(&self) -> bool {
        true
    }

    fn validate(&self) -> Result<()> {
        self.refused.as_ref().map_or(Ok(()), |refused| Err(Error::config(refused)))
    }

    async fn open(&self, context: Context) -> Result<Self::Feed> {
        for path in &*self.paths {
            let lines = Lines::open(path)?;
            self.form.skip_header(lines, path)?;
        }
        let partitions = (0_i32..).zip(&*self.paths).map(|(n, _)| Partition::new(self.topic, n));
        let (paths, form) = (Arc::clone(&self.paths), self.form.clone());
        Ok(FixedFeed::new(partitions.collect(), move |partition, from| {
            let path = usize::try_from(partition.number).ok().and_then(|n| paths.get(n).cloned());
            let path =
                path.ok_or_else(|| Error::broken("a partition is to be read that is no file"));
            let (form, clock) = (form.clone(), Arc::clone(&context.clock));
            let lines =
                path.map(|path| FileReader { path, form, clock }.deliveries(from.unwrap_or(0)));
            future::ready(lines).try_flatten_stream()
        }))
    }
}

impl Form {
    /// Reads over what stands before the first record.
    fn skip_header(&self, lines: Lines, path: &Path) -> Result<Lines> {
        match self {
            Self::Lines => {
                let _ = path;
                Ok(lines)
            }
            #[cfg(feature = "csv")]
            Self::Rows { header } => {
                let mut lines = lines;
                if lines.header(path)? != **header {
                    return Err(Error::config(format!(
                        "read {}: its header is not that of the first file",
                        path.display()
                    )));
                }
                lines.number = 0;
                Ok(lines)
            }
        }
    }
}

struct FileReader {
    path: PathBuf,
    form: Form,
    clock: Arc<dyn Clock>,
}

impl FileReader {
    /// What stands in the file from a line on, then the end.
    fn deliveries(self, from: i64) -> impl futures::Stream<Item = Result<Delivery<RawBatch>>> {
        let mut lines = None;
        let mut ended = false;
        stream::iter(std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let batch = match &mut lines {
                Some(lines) => self.batch(lines),
                None => self.begin(from).and_then(|begun| self.batch(lines.insert(begun))),
            };
            let delivery = batch.map(|batch| match batch.is_empty() {
                true => Delivery::Finished,
                false => Delivery::Batch(batch),
            });
            ended = !matches!(delivery, Ok(Delivery::Batch(_)));
            Some(delivery)
        }))
    }

    /// Opens the file and passes over this many lines.
    fn begin(&self, from: i64) -> Result<Lines> {
        let mut lines = self.form.skip_header(Lines::open(&self.path)?, &self.path)?;
        while lines.number < from {
            if !self.read(&mut lines)? {
                return Err(Error::permanent(format!(
                    "go on in {} at line {from}, counted from 0: the file has {} lines",
                    self.path.display(),
                    lines.number
                )));
            }
        }
        Ok(lines)
    }

    /// The next lines; none at the end.
    fn batch(&self, lines: &mut Lines) -> Result<RawBatch> {
        let timestamp = self.clock.now();
        let mut batch = RawBuffer::with_capacity(MOST_LINES, 0);
        let mut bytes = 0;
        while batch.len() < MOST_LINES && bytes < MOST_BATCH_BYTES {
            let offset = lines.number;
            if !self.read(lines)? {
                break;
            }
            let value = Some(lines.content());
            bytes += lines.line.len();
            if lines.content() != b"" {
                batch.push(RawRecord { offset, timestamp, key: None, value }, []);
            }
        }
        Ok(batch.into())
    }

    /// Reads the next line or row. False at the end.
    fn read(&self, lines: &mut Lines) -> Result<bool> {
        let read = match &self.form {
            Form::Lines => lines.read_line(),
            #[cfg(feature = "csv")]
            Form::Rows { .. } => lines.read_row(),
        };
        lines.checked(read, &self.path)
    }
}

#[cfg(test)]
mod tests;
