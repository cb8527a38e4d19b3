//! What is read back of a changelog and written as dead letters, for tests on any bytes: nothing of it is an interface.

use rdkafka::message::Headers;
use rtbflow::epoch::DeadLetter;
use rtbflow::source::RawRecord;
use rtbflow::state::Chunk;
use rtbflow::{Result, Timestamp};

use crate::anchor::changelog::{Lengths, Scan};
use crate::anchor::positions::{read_positions, write_positions};
use crate::producer::batch::RecordBatch;
use crate::producer::letter;

/// A key, and a value unless it was deleted.
pub type ChangelogRecord = (Vec<u8>, Option<Vec<u8>>);

/// A header, which may have no value.
pub type LetterHeader = (String, Option<Vec<u8>>);

fn record<'a>(key: &'a [u8], value: Option<&'a [u8]>) -> RawRecord<'a> {
    RawRecord::new(0, Timestamp::MIN, Some(key), value)
}

/// The positions in a record's value, as they are shown, and the value that is written of them.
///
/// # Errors
/// If it is damaged, or of another version.
pub fn reread_positions(value: &[u8]) -> Result<(String, Vec<u8>)> {
    let positions = read_positions(&record(b"positions", Some(value)))?.unwrap_or_default();
    let mut out = RecordBatch::default();
    write_positions(&positions, &mut out)?;
    let written = out.messages().next().and_then(|message| message.value).unwrap_or_default();
    Ok((format!("{positions:?}"), written.to_vec()))
}

/// The records that are written of epochs with these changes of state.
#[must_use]
pub fn changelog(epochs: &[Vec<Chunk>]) -> Vec<ChangelogRecord> {
    let (mut lengths, mut records) = (Lengths::default(), Vec::new());
    for chunks in epochs {
        let mut out = RecordBatch::default();
        let changes = lengths.write(chunks, &mut out);
        lengths.apply(changes);
        records.extend(out.messages().map(|message| {
            (message.key.unwrap_or_default().to_vec(), message.value.map(<[u8]>::to_vec))
        }));
    }
    records
}

/// The state in the records of a changelog.
///
/// # Errors
/// If one is damaged or none of ours, or if one is missing.
pub fn read_changelog(records: &[ChangelogRecord]) -> Result<Vec<Chunk>> {
    let mut scan = Scan::default();
    for (key, value) in records {
        scan.take(&record(key, value.as_deref()))?;
    }
    Ok(scan.finish()?.1)
}

/// The headers and the value of a dead letter, for a topic that takes records of at most this many bytes.
///
/// # Errors
/// If it does not fit, even without its value.
pub fn write_letter(
    letter: &DeadLetter,
    pipeline: &str,
    most: usize,
) -> Result<(Vec<LetterHeader>, Option<Vec<u8>>)> {
    let record = letter::record("letters", pipeline, letter, most)?;
    let headers = record.headers.iter().flat_map(Headers::iter);
    let headers =
        headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect();
    Ok((headers, record.payload.map(<[u8]>::to_vec)))
}
