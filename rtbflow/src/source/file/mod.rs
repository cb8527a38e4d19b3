//! A source of the lines of files.

mod lines;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::stream;
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
            let clock = Arc::clone(&context.clock);
            let reader = FileReader { path: path.unwrap_or_default(), form: form.clone(), clock };
            reader.deliveries(from.unwrap_or(0))
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
mod tests {
    use super::*;
    use crate::codec::{DecodeWith, decode_with};
    use crate::dead_letter::{DeadLetter, Original};
    use crate::epoch::Memory;
    use crate::error::BadRecord;
    use crate::job::{Job, Report};
    use crate::record::Origin;
    use crate::sink::Collected;
    use crate::testing::laws::{self, SourceUnderTest};

    /// A folder that is removed when this is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("rtbflow-files-{:016x}", rand::random::<u64>());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    struct Files {
        paths: Vec<PathBuf>,
        records: Vec<DeadLetter>,
    }

    impl SourceUnderTest for Files {
        type Source = Decoded<
            FileSource,
            ByDecoder<DecodeWith<fn(&RawRecord<'_>) -> Result<String, BadRecord>>>,
        >;

        fn source(&self) -> Self::Source {
            FileSource::several("files", self.paths.clone()).decode(decode_with(text))
        }

        fn records(&self) -> Vec<DeadLetter> {
            self.records.clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_laws_of_sources() {
        let folder = Folder::new();
        let long: Vec<String> = (0..1_203).map(|n| format!("{n:>300}")).collect();
        let lists: [&[&str]; 4] = [
            &["one", "", "three\r", "  ", "\u{feff}five"],
            &[],
            &["\u{feff}"],
            &long.iter().map(String::as_str).collect::<Vec<_>>(),
        ];
        let (mut paths, mut records) = (Vec::new(), Vec::new());
        for (number, list) in (0..).zip(lists) {
            // With and without an end of the last line.
            let end = if number == 0 { "" } else { "\n" };
            paths.push(folder.write(&format!("{number}"), list.join("\n") + end));
            for (offset, line) in (0..).zip(list) {
                let line = line.trim_end_matches('\r');
                let line = if offset == 0 { line.trim_start_matches('\u{feff}') } else { line };
                let origin = Origin::new(Partition::new(Topic::new("files"), number), offset);
                let value = Some(line.as_bytes().to_vec());
                let reason = BadRecord::new("");
                let letter =
                    DeadLetter::record(origin, Original { value, ..Original::default() }, reason);
                records.extend((!line.is_empty()).then_some(letter));
            }
        }
        laws::source(&Files { paths, records }).await;
    }

    fn text(record: &RawRecord<'_>) -> Result<String, BadRecord> {
        Ok(String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned())
    }

    /// The lines that a job takes of a file, and how it ends.
    async fn lines(path: &Path, place: &Memory, out: &Collected<String>) -> Result<Report> {
        let job = Job::new("lines").source(FileSource::new(path).decode(decode_with(text)));
        let out = out.clone();
        let job = job.anchor(place.clone());
        job.pipeline(move |lines| lines.to(out.sink())).run_until(std::future::pending()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_grew_is_read_on_and_one_that_shrank_is_an_error() {
        let (folder, place) = (Folder::new(), Memory::new());
        let out = place.collected();
        let path = folder.write("log", "a\nb\n");
        lines(&path, &place, &out).await.unwrap();
        folder.write("log", "a\nb\nc\n");
        lines(&path, &place, &out).await.unwrap();
        assert_eq!(out.values(), ["a", "b", "c"]);
        folder.write("log", "a\n");
        let error = lines(&path, &place, &out).await.unwrap_err();
        assert!(
            error.to_string().contains("line 3, counted from 0: the file has 1 lines"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_said() {
        let (folder, place) = (Folder::new(), Memory::new());
        let out = place.collected();
        let error = lines(&folder.0.join("none"), &place, &out).await.unwrap_err();
        assert!(error.is_config(), "{error:?}");
        let too_long = vec![b'x'; 16 * 1024 * 1024 + 1];
        let path = folder.write("long", [b"short\n".as_slice(), &too_long].concat());
        let error = lines(&path, &place, &out).await.unwrap_err();
        assert!(error.report().contains("line 1") && !error.is_transient(), "{error:?}");
    }

    #[cfg(feature = "csv")]
    #[tokio::test(start_paused = true)]
    async fn one_bad_row_of_csv_is_one_dead_letter() {
        // What stands in the second row, and how many rows are bad.
        for (row, bad) in [
            ("wi\"de,1", 1),
            ("\"wide,1", 1),
            ("\"wide\"r,1", 1),
            ("wide\",\"1", 1),
            ("\"wi\"\"de\",1", 0),
            ("\"wi\nde\",1", 0),
            ("\"wide,1\nx\"y,2", 2),
            ("\"a\nb\nc", 3),
        ] {
            let (folder, place) = (Folder::new(), Memory::new());
            let out = place.collected();
            let text = format!("name,count\na,1\n{row}\nb,2\n\"c\",3\r\nd,4");
            let source = FileSource::new(folder.write("rows", &text)).csv::<(String, u32)>();
            let results = out.clone();
            let job = Job::new("rows").source(source).anchor(place);
            let job = job.pipeline(move |rows| rows.to(results.sink()));
            let report = job.run_until(std::future::pending()).await.unwrap();
            let others = out.values().into_iter().filter(|(name, _)| name.len() == 1);
            let others: Vec<_> = others.map(|(_, count)| count).collect();
            assert_eq!((others, report.dead_lettered), (vec![1, 2, 3, 4], bad), "{row}");
        }
    }

    #[cfg(feature = "csv")]
    #[tokio::test(start_paused = true)]
    async fn rows_of_csv_may_go_over_lines() {
        let (folder, place) = (Folder::new(), Memory::new());
        let out = place.collected();
        let one = "\u{feff}name,count\r\n\"a\r\n\"\"b\"\"\",1\r\n\r\n\"c\",x\r\nd,4,5\r\ne,\"2\"";
        let paths = [folder.write("one", one), folder.write("two", "name,count\nf,3\n")];
        let source = FileSource::several("rows", paths).csv::<(String, u32)>();
        let results = out.clone();
        let job = Job::new("rows").source(source).anchor(place);
        let job = job.pipeline(move |rows| rows.to(results.sink()));
        let report = job.run_until(std::future::pending()).await.unwrap();
        let mut rows = out.values();
        rows.sort();
        let expected =
            [("a\r\n\"b\"", 1), ("e", 2), ("f", 3)].map(|(name, n)| (name.to_owned(), n));
        assert_eq!(rows, expected);
        assert_eq!(report.dead_lettered, 2);
    }

    #[cfg(feature = "csv")]
    #[tokio::test]
    async fn files_of_csv_have_one_header() {
        let folder = Folder::new();
        let one = folder.write("one", "a,b\n");
        let two = [one.clone(), folder.write("two", "b,a\n")];
        for (paths, says) in [
            (two.to_vec(), "two: its header is not that of the first file"),
            (
                vec![folder.write("none", ""), one],
                "none: it is empty, and its first row has to be a header",
            ),
            (vec![], "the list of files is empty"),
        ] {
            let source = FileSource::several("rows", paths).csv::<(u8, u8)>();
            let place = Memory::new();
            let rows = place.collected();
            let job = Job::new("rows").source(source).anchor(place);
            let job = job.pipeline(move |flow| flow.to(rows.sink()));
            let error = job.run_until(std::future::pending()).await.unwrap_err();
            assert!(error.is_config() && error.report().contains(says), "{error:?}");
        }
    }
}
