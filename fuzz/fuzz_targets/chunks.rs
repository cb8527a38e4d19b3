//! A chunk of state comes back as it was written; whatever else is read of one is written and read again as the same.
#![no_main]

use std::collections::BTreeMap;
use std::fmt::Debug;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rtbflow::state::{BucketChange, Chunk, ChunkReader, ChunkWriter};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Arbitrary)]
enum Kind {
    Plain,
    Paid(u32),
    Named { name: String, price: Option<i64> },
    Pair(i8, Box<Option<Kind>>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Arbitrary)]
struct Entry {
    id: u64,
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    kinds: Vec<Kind>,
    by_key: BTreeMap<String, (u16, bool)>,
    letter: char,
    unit: (),
    wide: i128,
}

/// By which serde looks at what comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Arbitrary)]
#[serde(untagged)]
enum Loose {
    Number(i64),
    Text(String),
    Many(Vec<bool>),
}

#[derive(Debug, Arbitrary)]
struct Input {
    entries: Vec<Entry>,
    loose: Vec<Loose>,
    floats: Vec<(String, u64, u32)>,
    /// What is put over the entries of the chunk, and where.
    damage: Vec<(u16, u8)>,
    cut: u16,
    raw: Vec<u8>,
}

fn chunk(bytes: Vec<u8>) -> Chunk {
    Chunk { operator: "op".into(), bucket: 7, change: BucketChange::Append(bytes.into()) }
}

fn write<E: Serialize + DeserializeOwned + 'static>(entries: &[E]) -> Option<Vec<u8>> {
    let mut writer = ChunkWriter::new(3);
    entries.iter().for_each(|entry| writer.put(entry));
    writer.finish().ok().map(|bytes| bytes.to_vec())
}

fn read<E: Serialize + DeserializeOwned + 'static>(bytes: &[u8]) -> Option<Vec<E>> {
    let chunk = chunk(bytes.to_vec());
    let mut reader = ChunkReader::open(&chunk, 3).ok()?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry::<E>().ok()? {
        entries.push(entry);
        // An entry may have no bytes only in a type without values, which none of these is.
        assert!(entries.len() <= bytes.len());
    }
    Some(entries)
}

/// With the checksum that fits, so that what is behind it is tried.
fn framed(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some((header, entries)) = bytes.split_at_mut_checked(6) {
        let mut checksum = crc32fast::Hasher::new();
        if header[0] & 0x80 != 0 {
            checksum.update(&header[..2]);
        }
        checksum.update(entries);
        header[2..].copy_from_slice(&checksum.finalize().to_be_bytes());
    }
    bytes
}

fn check<E>(entries: &[E], input: &Input)
where
    E: Serialize + DeserializeOwned + Debug + 'static,
{
    let written = write(entries).expect("what serde reads and writes can be written");
    let text = |entries: &[E]| format!("{entries:?}");
    assert_eq!(read::<E>(&written).map(|read| text(&read)), Some(text(entries)));
    let mut damaged = written.clone();
    for (at, byte) in &input.damage {
        let len = damaged.len();
        damaged[usize::from(*at) % len] ^= byte;
    }
    damaged.truncate(damaged.len().saturating_sub(usize::from(input.cut)));
    if damaged != written {
        assert!(read::<E>(&damaged).is_none() || damaged == written, "damage is noticed");
    }
    for bytes in
        [framed(damaged), framed([b"\x80\x03crcs", &*input.raw].concat()), input.raw.clone()]
    {
        let Some(found) = read::<E>(&bytes) else { continue };
        let again = write(&found).expect("what was read can be written");
        assert_eq!(read::<E>(&again).map(|read| text(&read)), Some(text(&found)));
    }
}

fuzz_target!(|input: Input| {
    check(&input.entries, &input);
    check(&input.loose, &input);
    let floats = input.floats.iter();
    let floats: Vec<(String, f64, f32)> =
        floats.map(|(name, a, b)| (name.clone(), f64::from_bits(*a), f32::from_bits(*b))).collect();
    check(&floats, &input);
});
