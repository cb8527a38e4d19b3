//! The state in a changelog is what was written there, in the order of its buckets; a changelog of anything is an error
//! or one that can be written.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rtbflow::state::{BucketChange, Chunk};
use rtbflow_kafka::testing::{ChangelogRecord, changelog, read_changelog};

#[derive(Debug, Arbitrary)]
enum Change {
    Append(Vec<u8>),
    Large(u8, u8),
    Replace(Vec<u8>),
    Drop,
}

#[derive(Debug, Arbitrary)]
struct Input {
    epochs: Vec<Vec<(String, i8, Change)>>,
    records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pieces: Vec<(i8, u8, u8, Option<Vec<u8>>)>,
}

fn chunk((operator, bucket, change): &(String, i8, Change)) -> Chunk {
    let change = match change {
        Change::Append(bytes) => BucketChange::Append(bytes.clone().into()),
        // Larger than one record may be.
        Change::Large(byte, more) => {
            BucketChange::Append(vec![*byte; (767 << 10) + 16 * usize::from(*more)].into())
        }
        Change::Replace(bytes) => BucketChange::Replace(bytes.clone().into()),
        Change::Drop => BucketChange::Drop,
    };
    Chunk { operator: operator.as_str().into(), bucket: (*bucket).into(), change }
}

/// What is left of these changes, by hand.
fn expected(epochs: &[Vec<Chunk>]) -> Vec<(String, i64, Vec<u8>)> {
    let mut buckets: BTreeMap<(String, i64), Vec<Vec<u8>>> = BTreeMap::new();
    for chunk in epochs.iter().flatten() {
        let log = buckets.entry((chunk.operator.to_string(), chunk.bucket)).or_default();
        match &chunk.change {
            BucketChange::Append(bytes) => log.push(bytes.to_vec()),
            BucketChange::Replace(bytes) => *log = vec![bytes.to_vec()],
            BucketChange::Drop => log.clear(),
        }
    }
    let each = |((operator, bucket), log): ((String, i64), Vec<Vec<u8>>)| {
        log.into_iter().map(move |bytes| (operator.clone(), bucket, bytes))
    };
    buckets.into_iter().flat_map(each).collect()
}

fn shown(chunks: Vec<Chunk>) -> Vec<(String, i64, Vec<u8>)> {
    let bytes = |chunk: Chunk| match chunk.change {
        BucketChange::Append(bytes) | BucketChange::Replace(bytes) => {
            (chunk.operator.to_string(), chunk.bucket, bytes.to_vec())
        }
        BucketChange::Drop => panic!("a bucket that has ended is not kept"),
    };
    chunks.into_iter().map(bytes).collect()
}

fuzz_target!(|input: Input| {
    let epochs: Vec<Vec<Chunk>> =
        input.epochs.iter().map(|epoch| epoch.iter().map(chunk).collect()).collect();
    let mut records = changelog(&epochs);
    assert_eq!(shown(read_changelog(&records).unwrap()), expected(&epochs));
    let key = |bucket: i8, number: u8| format!("{bucket}:{number}:op").into_bytes();
    let pieces = input.pieces.iter().map(|(bucket, number, mark, bytes)| {
        let value = bytes.as_ref().map(|bytes| [&[0x10 | mark & 1], &**bytes].concat());
        (key(*bucket % 2, *number % 4), value)
    });
    let pieces: Vec<ChangelogRecord> = pieces.collect();
    records.extend(pieces.iter().cloned());
    for any in [input.records, pieces, records] {
        let Ok(chunks) = read_changelog(&any) else { continue };
        let again = read_changelog(&changelog(std::slice::from_ref(&chunks))).unwrap();
        assert_eq!(shown(again), shown(chunks));
    }
});
