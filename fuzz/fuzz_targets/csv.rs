//! A row of comma-separated values that is read is the one that the csv crate reads and writes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtbflow::Timestamp;
use rtbflow::codec::{Decoder, csv};
use rtbflow::source::RawRecord;

fn decode(row: &[u8], columns: usize) -> Option<Vec<String>> {
    let names = vec!["c"; columns];
    csv::<Vec<String>>(names).decode(&RawRecord::new(0, Timestamp::MIN, None, Some(row))).ok()
}

/// The row as the csv crate reads it; `None` if it finds none, or more than one.
fn theirs(row: &[u8]) -> Option<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(row);
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().ok()?;
    let [row] = rows.as_slice() else { return None };
    Some(row.iter().map(str::to_owned).collect())
}

fuzz_target!(|input: (Vec<String>, Vec<u8>)| {
    let (fields, bytes) = input;
    for columns in 1..6 {
        let Some(row) = decode(&bytes, columns) else { continue };
        assert_eq!(row.len(), columns);
        // A row without a byte is none to the csv crate, and one empty field by the standard.
        if !bytes.is_empty() {
            assert_eq!(Some(&row), theirs(&bytes).as_ref(), "{bytes:?}");
        }
    }
    if !fields.is_empty() {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&fields).unwrap();
        let mut written = writer.into_inner().unwrap();
        assert_eq!(written.pop(), Some(b'\n'));
        assert_eq!(decode(&written, fields.len()), Some(fields), "{written:?}");
    }
});
