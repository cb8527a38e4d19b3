//! Files of lines and of rows, read by jobs.

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
    type Source =
        Decoded<FileSource, ByDecoder<DecodeWith<fn(&RawRecord<'_>) -> Result<String, BadRecord>>>>;

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
    assert!(error.to_string().contains("line 3, counted from 0: the file has 1 lines"), "{error}");
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
        // Such as inches: what stands between two of them is not a field.
        ("5\",1\nwide,2\n6\",3", 2),
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
    let expected = [("a\r\n\"b\"", 1), ("e", 2), ("f", 3)].map(|(name, n)| (name.to_owned(), n));
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
