//! Each bit of what lies in a changelog, and each place where it can be cut: what is damaged is an error.

use rtbflow::epoch::{Log, Position, TopicId};
use rtbflow::source::RawRecord;
use rtbflow::state::{BucketChange, Chunk, ChunkReader, ChunkWriter};
use rtbflow::{Partition, Timestamp, Topic};

use crate::anchor::changelog::{Lengths, Scan};
use crate::anchor::positions::{Positions, read_positions, write_positions};
use crate::producer::batch::RecordBatch;

/// The bytes with each single bit changed, and cut at each place.
fn damaged(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flipped = (0..8 * whole.len()).map(|bit| {
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    flipped.chain((0..whole.len()).map(|at| whole[..at].to_vec()))
}

/// The error of the first chunk that cannot be read, or of the changelog; `None` if all is well.
fn found(records: &[(Vec<u8>, Vec<u8>)]) -> Option<String> {
    let mut scan = Scan::default();
    let read = records.iter().try_for_each(|(key, value)| {
        scan.take(&RawRecord::new(0, Timestamp::MIN, Some(key), Some(value)))
    });
    let chunks = match read.and_then(|()| scan.finish()) {
        Ok((_, chunks)) => chunks,
        Err(error) => return Some(error.to_string()),
    };
    let opened = chunks.iter().map(|chunk| ChunkReader::open(chunk, 1));
    opened.filter_map(Result::err).map(|error| error.to_string()).next()
}

#[test]
fn a_chunk_that_is_damaged_anywhere_is_an_error_that_names_its_bucket() {
    let mut writer = ChunkWriter::new(1);
    writer.put(&("a".to_owned(), 7_i64));
    let bytes = writer.finish().unwrap();
    let chunk = || {
        let change = BucketChange::Append(bytes.clone());
        Chunk { operator: "windows".into(), bucket: 7, change }
    };
    let mut out = RecordBatch::default();
    Lengths::default().write(&[chunk(), chunk()], &mut out);
    let record =
        |key: Option<&[u8]>, value: Option<&[u8]>| (key.unwrap().to_vec(), value.unwrap().to_vec());
    let records: Vec<_> =
        out.messages().map(|message| record(message.key, message.value)).collect();
    assert_eq!((records.len(), found(&records)), (2, None));
    for at in 0..records.len() {
        for bytes in damaged(&records[at].1) {
            let mut damaged = records.clone();
            damaged[at].1 = bytes;
            let error = found(&damaged).expect("damage is noticed");
            let named = error.contains("\"windows\", bucket 7") || error.contains(":windows\"");
            assert!(named, "{error}");
        }
    }
}

#[test]
fn positions_that_are_damaged_anywhere_are_an_error_that_names_them() {
    let mut positions = Positions::default();
    let log = Some(Log { topic_id: TopicId::new(7), leader_epoch: Some(3) });
    let event_time = Some(Timestamp::from_millis(-1));
    let position = Position { offset: Some(9), event_time, commit: 2, owner: 1 << 63, log };
    positions.extend([(Partition::new(Topic::new("ads"), 3), position)]);
    let mut out = RecordBatch::default();
    write_positions(&positions, &mut out).unwrap();
    let whole = out.messages().next().unwrap().value.unwrap().to_vec();
    // As a build before the logs had names wrote it.
    let before = b"\x00\x01\xf5\x43\xac\x5a\x96\xa3ads\x03\x09\xc0\x02\x05";
    for bytes in damaged(&whole).chain(damaged(before)) {
        let record = RawRecord::new(0, Timestamp::MIN, Some(b"positions"), Some(&bytes));
        let error = read_positions(&record).unwrap_err().to_string();
        assert!(error.contains("\"positions\""), "{bytes:?}: {error}");
    }
}
