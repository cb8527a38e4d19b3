//! State as operators store it: chunks of values that are typical, written and read in the library's own
//! format and, beside it, in MessagePack by the place of each field, which earlier builds wrote. That one
//! is smaller where types are large, and is no choice: it mistakes fields that are left out.
//!
//! Says first how many bytes a value takes.

#![expect(clippy::expect_used, reason = "a benchmark stops where something is missing")]
#![expect(clippy::print_stdout, reason = "how many bytes a value takes is not a time")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rtbflow::Timestamp;
use rtbflow::state::{BucketChange, Chunk, ChunkReader, ChunkWriter};
use rtbflow_examples::events::Click;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How many entries a chunk has: those of a quiet epoch, and of a busy one.
const ENTRIES: [usize; 2] = [10, 1_000];

/// A value, by its number.
trait Value: Serialize + DeserializeOwned + 'static {
    const NAME: &'static str;

    fn of(number: usize) -> Self;
}

/// A window's entry: key, sum, and how many records were not emitted early.
impl Value for (String, i128, u32) {
    const NAME: &'static str = "sum";

    fn of(number: usize) -> Self {
        (format!("campaign_{number}"), number as i128 * 1_200, 0)
    }
}

/// A click as it is held for the conversions that follow: its time, what it is, where it was read.
impl Value for (Timestamp, Click, (u32, i64)) {
    const NAME: &'static str = "click";

    fn of(number: usize) -> Self {
        let click = Click {
            device_id: format!("device_{number}").into(),
            ad_id: format!("ad_{}", number % 500).into(),
            campaign_id: format!("campaign_{}", number % 100).into(),
            advertiser_id: format!("advertiser_{}", number % 20).into(),
            product_id: format!("product_{}", number % 300).into(),
            actual_price: 800 + millis(number) % 700,
        };
        (Timestamp::from_millis(1_705_314_615_000 + millis(number)), click, (3, millis(number)))
    }
}

/// What a team keeps of a visit: many fields, of which some have no value.
#[derive(Debug, Serialize, Deserialize)]
struct Visit {
    session: String,
    user: Option<String>,
    first_seen: i64,
    last_seen: i64,
    pages: u32,
    clicks: u32,
    spent: Option<i64>,
    campaign: Option<String>,
    referrer: Option<String>,
    is_new: bool,
    score: f64,
    country: String,
}

impl Value for Visit {
    const NAME: &'static str = "visit";

    fn of(number: usize) -> Self {
        let some = number.is_multiple_of(3);
        Self {
            session: format!("session_{number}"),
            user: some.then(|| format!("user_{number}")),
            first_seen: 1_705_314_615_000 + millis(number),
            last_seen: 1_705_314_915_000 + millis(number),
            pages: 3,
            clicks: 1,
            spent: some.then_some(48_000),
            campaign: Some(format!("campaign_{}", number % 100)),
            referrer: None,
            is_new: some,
            score: 0.25,
            country: "KR".into(),
        }
    }
}

/// Counts by name.
impl Value for BTreeMap<String, u64> {
    const NAME: &'static str = "map";

    fn of(number: usize) -> Self {
        (0..8).map(|at| (format!("product_{at}"), (number * at) as u64)).collect()
    }
}

/// One of several, by what comes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(u64),
    Text(String),
}

impl Value for Id {
    const NAME: &'static str = "untagged";

    fn of(number: usize) -> Self {
        if number.is_multiple_of(2) {
            Self::Number(number as u64)
        } else {
            Self::Text(format!("id_{number}"))
        }
    }
}

fn millis(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn write<V: Value>(values: &[V]) -> Chunk {
    let mut entries = ChunkWriter::new(1);
    values.iter().for_each(|value| entries.put(value));
    let bytes = entries.finish().expect("values that come back as they were");
    Chunk { operator: "bench".into(), bucket: 0, change: BucketChange::Append(bytes) }
}

fn read<V: Value>(chunk: &Chunk) {
    let mut entries = ChunkReader::open(chunk, 1).expect("a chunk of this version");
    while let Some(value) = entries.next_entry::<V>().expect("a value") {
        black_box(value);
    }
}

/// The entries and their checksum.
fn write_by_place<V: Value>(values: &[V]) -> (Vec<u8>, u32) {
    let mut bytes = Vec::new();
    for value in values {
        rmp_serde::encode::write(&mut bytes, value).expect("a value that has the form");
    }
    let checksum = crc32fast::hash(&bytes);
    (bytes, checksum)
}

fn read_by_place<V: Value>((bytes, checksum): &(Vec<u8>, u32)) {
    let mut rest = bytes.as_slice();
    assert_eq!(crc32fast::hash(rest), *checksum);
    while !rest.is_empty() {
        black_box(rmp_serde::decode::from_read::<_, V>(&mut rest).expect("a value"));
    }
}

fn measure<V: Value>(criterion: &mut Criterion) {
    for count in ENTRIES {
        let values: Vec<V> = (0..count).map(V::of).collect();
        let (chunk, by_place) = (write(&values), write_by_place(&values));
        let BucketChange::Append(bytes) = &chunk.change else { unreachable!() };
        // With the two bytes of a version and the four of the checksum.
        let (ours, theirs) = (bytes.len() / count, (by_place.0.len() + 6) / count);
        println!("{}/{count}: {ours} bytes per value, by place {theirs}", V::NAME);
        let mut group = criterion.benchmark_group(V::NAME);
        group.throughput(Throughput::Elements(count as u64));
        let id = |what: &str| BenchmarkId::new(what.to_owned(), count);
        group.bench_function(id("write"), |bench| bench.iter(|| write(black_box(&values))));
        group.bench_function(id("write/by_place"), |bench| {
            bench.iter(|| write_by_place(black_box(&values)));
        });
        group.bench_function(id("read"), |bench| bench.iter(|| read::<V>(black_box(&chunk))));
        group.bench_function(id("read/by_place"), |bench| {
            bench.iter(|| read_by_place::<V>(black_box(&by_place)));
        });
        group.finish();
    }
}

fn state(criterion: &mut Criterion) {
    measure::<(String, i128, u32)>(criterion);
    measure::<(Timestamp, Click, (u32, i64))>(criterion);
    measure::<Visit>(criterion);
    measure::<BTreeMap<String, u64>>(criterion);
    measure::<Id>(criterion);
}

criterion_group! {
    name = chunks;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = state
}
criterion_main!(chunks);
