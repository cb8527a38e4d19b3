//! What an operator stores comes back as it was, whatever serde makes of its type, or is refused as it is
//! written.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use rtbflow::Timestamp;
use rtbflow::state::{BucketChange, Chunk, ChunkReader, ChunkWriter};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

fn chunk(bytes: bytes::Bytes) -> Chunk {
    Chunk { operator: "values".into(), bucket: 0, change: BucketChange::Replace(bytes) }
}

/// Writes the values, in one chunk and each in its own, and reads them again.
fn through<T: Serialize + DeserializeOwned + 'static>(values: &[T]) -> rtbflow::Result<Vec<T>> {
    let mut writer = ChunkWriter::new(1);
    values.iter().for_each(|value| writer.put(value));
    let chunk = chunk(writer.finish()?);
    let mut reader = ChunkReader::open(&chunk, 1)?;
    std::iter::from_fn(|| reader.next_entry().transpose()).collect()
}

#[track_caller]
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug + 'static>(values: &[T]) {
    assert_eq!(through(values).unwrap(), values);
    for value in values {
        assert_eq!(through(std::slice::from_ref(value)).unwrap(), std::slice::from_ref(value));
    }
}

/// Expects that one of these values is refused, and why.
#[track_caller]
fn is_refused<T: Serialize + DeserializeOwned + Debug + 'static>(values: &[T], reason: &str) {
    let error = through(values).map(|read| format!("{read:?}")).unwrap_err();
    assert!(error.is_config() && error.to_string().contains(reason), "{error}");
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Bid {
    device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bid: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paid: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Vec<u16>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Plain {
    Unit,
    Newtype(Box<Bid>),
    Tuple(u8, Option<()>),
    Struct {
        a: i8,
        #[serde(skip_serializing_if = "Option::is_none")]
        b: Option<char>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum InnerTag {
    Unit,
    Struct {
        #[serde(skip_serializing_if = "Option::is_none")]
        a: Option<i64>,
        b: Option<i64>,
        ip: IpAddr,
    },
    Newtype(Bid),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Beside {
    Unit,
    Newtype(f64),
    Tuple(u8, String),
    Struct { a: Vec<Beside> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Real(f64),
    Text(String),
    Pair(u8, IpAddr),
    Bid(Bid),
    Plain(Plain),
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u32,
    #[serde(flatten)]
    bid: Bid,
    #[serde(flatten)]
    rest: BTreeMap<String, Untagged>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Newtype(Option<Unit>);
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tuple(u8, (), [i16; 3]);
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent {
    inner: Tuple,
}

/// Bytes as serde knows them, and not a list of numbers.
#[derive(Debug, Clone, PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

fn bid(bid: Option<i64>, paid: Option<i64>, seen: &[u16]) -> Bid {
    Bid { device: "d".into(), bid, paid, seen: seen.to_vec() }
}

#[test]
fn fields_that_are_left_out_stay_left_out() {
    comes_back(&[
        bid(None, Some(5), &[]),
        bid(Some(5), None, &[1, 2]),
        bid(None, None, &[300]),
        bid(Some(1), Some(2), &[]),
    ]);
}

#[test]
fn enums_of_all_kinds() {
    let bids = [bid(None, Some(5), &[]), bid(Some(5), None, &[7])];
    comes_back(&[
        Plain::Unit,
        Plain::Newtype(Box::new(bids[0].clone())),
        Plain::Tuple(1, Some(())),
        Plain::Tuple(1, None),
        Plain::Struct { a: -1, b: None },
        Plain::Struct { a: 1, b: Some('한') },
    ]);
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    comes_back(&[
        InnerTag::Unit,
        InnerTag::Struct { a: None, b: Some(3), ip },
        InnerTag::Struct { a: Some(3), b: None, ip },
        InnerTag::Newtype(bids[0].clone()),
        InnerTag::Newtype(bids[1].clone()),
    ]);
    comes_back(&[
        Beside::Unit,
        Beside::Newtype(-0.5),
        Beside::Tuple(3, "x".into()),
        Beside::Struct { a: vec![Beside::Unit, Beside::Newtype(1.0)] },
    ]);
    let untagged = [
        Untagged::Number(-3),
        Untagged::Number(3),
        Untagged::Real(3.0),
        Untagged::Text("3".into()),
        Untagged::Pair(3, ip),
        Untagged::Bid(bids[0].clone()),
        Untagged::Plain(Plain::Tuple(3, Some(()))),
        Untagged::Plain(Plain::Struct { a: 3, b: Some('c') }),
        Untagged::Nothing,
    ];
    comes_back(&untagged);
    let rest = untagged.iter().zip("abcdefghi".chars());
    let rest: BTreeMap<_, _> =
        rest.map(|(value, name)| (name.to_string(), value.clone())).collect();
    comes_back(&[
        Flat { id: 1, bid: bids[0].clone(), rest: BTreeMap::new() },
        Flat { id: 2, bid: bids[1].clone(), rest },
    ]);
    comes_back(&[Some(untagged[0].clone()), None, Some(Untagged::Nothing)]);
}

#[test]
fn options_units_and_wrappers() {
    comes_back(&[None, Some(None), Some(Some(None)), Some(Some(Some(1_u8)))]);
    comes_back(&[None, Some(())]);
    comes_back(&[Newtype(None), Newtype(Some(Unit))]);
    comes_back(&[Tuple(255, (), [-1, 0, i16::MIN])]);
    comes_back(&[Transparent { inner: Tuple(0, (), [1, 2, 3]) }]);
    comes_back(&[Ok::<u8, String>(1), Err("no".into())]);
    comes_back(&[Bytes(vec![]), Bytes(vec![0, 1, 255]), Bytes(vec![7; 300])]);
    comes_back(&[vec![0_u8, 1, 255], vec![]]);
    comes_back(&[Timestamp::MIN, Timestamp::MAX, Timestamp::from_millis(1_700_000_000_123)]);
    comes_back(&[(Timestamp::MAX, Some(Untagged::Number(1)))].map(|(_, untagged)| untagged));
}

#[test]
fn numbers_to_their_ends() {
    comes_back(&[u64::MAX, 0, 31, 32, 1 << 48, 1 << 49, 1 << 50]);
    comes_back(&[i64::MIN, i64::MAX, -1, 0, 31, 32, -(1 << 48), 1 << 48, 1 << 50]);
    comes_back(&[u32::MAX, 0, 15, 16]);
    comes_back(&[(i8::MIN, u8::MAX, i16::MIN, u16::MAX, i32::MIN)]);
    comes_back(&[i128::MIN, i128::MAX, -1, 0, 5]);
    comes_back(&[u128::MAX, 0]);
    comes_back(&['\0', 'a', char::MAX]);
    let bits = [0_u64, 1, 0x7ff8_0000_0000_0001, 0xfff0_0000_0000_0000, 0x8000_0000_0000_0000];
    let read = through(&bits.map(f64::from_bits)).unwrap();
    assert_eq!(read.iter().map(|real| real.to_bits()).collect::<Vec<_>>(), bits);
    let bits = [0_u32, 0x7fc0_0001, 0xff80_0000, 0x8000_0000];
    let read = through(&bits.map(f32::from_bits)).unwrap();
    assert_eq!(read.iter().map(|real| real.to_bits()).collect::<Vec<_>>(), bits);
}

#[test]
fn maps_and_sets_whatever_their_keys_and_order() {
    comes_back(&[BTreeMap::from([((1_u8, -1_i64), "a".to_owned()), ((0, 3), "b".into())])]);
    comes_back(&[BTreeMap::from([(None, 1_u8), (Some('c'), 2)])]);
    let many: HashMap<i128, HashSet<u16>> =
        (0..50).map(|n| (n, (0..40).map(|m| m * 7).collect())).collect();
    comes_back(&[many.clone(), HashMap::new()]);
    // Also where what comes back is compared each time.
    let untagged: HashMap<String, Untagged> =
        many.keys().map(|n| (n.to_string(), Untagged::Number(3))).collect();
    comes_back(&[untagged]);
}

#[derive(Debug, Serialize, Deserialize)]
struct Wrong {
    name: String,
    #[serde(default = "one", skip_serializing_if = "is_zero")]
    share: u32,
}

fn one() -> u32 {
    1
}

fn is_zero(share: &u32) -> bool {
    *share == 0
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Hidden {
    Small(u8),
    Large(u16),
}

/// As it was before there were small ones.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum WithoutSmall {
    Large(u16),
}

/// Writes something and reads nothing.
#[derive(Debug)]
struct Blind;

impl Serialize for Blind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(7)
    }
}

impl<'de> Deserialize<'de> for Blind {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct OneWay {
    #[serde(serialize_with = "as_text")]
    at: i64,
}

fn as_text<S: serde::Serializer>(at: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Wide {
    Number(i128),
}

#[test]
fn what_would_not_come_back_is_refused_with_its_field() {
    let fine = || Wrong { name: "a".into(), share: 2 };
    assert_eq!(through(&[fine(), fine()]).unwrap().len(), 2);
    // Not the first of the chunk.
    let mut many: Vec<Wrong> = (0..100).map(|_| fine()).collect();
    many.push(Wrong { share: 0, ..fine() });
    is_refused(&many, "field `share`: was left out and comes back as a u32");
    is_refused(&[Hidden::Small(1), Hidden::Large(5)], "was a u16 and comes back as a u8");
    assert!(through(&[Hidden::Large(500)]).is_ok());
    is_refused(&[OneWay { at: 5 }], "field `at`: cannot be read back");
    // serde keeps no number of this width while it looks at what comes.
    is_refused(&[Wide::Number(5)], "cannot be read back");
}

#[test]
fn each_of_what_is_read_by_what_comes_is_checked_as_it_is_written() {
    let mut writer = ChunkWriter::new(1);
    (0..100).for_each(|small| writer.put(&Hidden::Small(small)));
    writer.put(&Hidden::Large(5));
    let error = writer.finish().unwrap_err().report();
    assert!(error.contains("was a u16 and comes back as a u8"), "{error}");
    let mut writer = ChunkWriter::new(1);
    writer.put(&Blind);
    let error = writer.finish().unwrap_err().report();
    assert!(error.contains("is not read to its end"), "{error}");
}

#[test]
fn what_another_program_would_read_as_something_else_is_refused_as_it_is_read() {
    let mut writer = ChunkWriter::new(1);
    writer.put(&WithoutSmall::Large(500));
    writer.put(&WithoutSmall::Large(5));
    let chunk = chunk(writer.finish().unwrap());
    let mut reader = ChunkReader::open(&chunk, 1).unwrap();
    assert!(matches!(reader.next_entry::<Hidden>(), Ok(Some(Hidden::Large(500)))));
    let error = reader.next_entry::<Hidden>().unwrap_err();
    assert!(error.is_config(), "{error:?}");
    assert!(error.report().contains("was a u16 and comes back as a u8"), "{error:?}");
}

#[test]
fn another_type_is_refused_and_both_are_named() {
    let mut writer = ChunkWriter::new(1);
    writer.put(&("a".to_owned(), 5_u64));
    let chunk = chunk(writer.finish().unwrap());
    let error = ChunkReader::open(&chunk, 1).unwrap().next_entry::<(String, i64)>().unwrap_err();
    let text = error.to_string();
    assert!(error.is_config(), "{error:?}");
    for part in ["\"values\"", "stored as `(str, u64)`", "has `(str, i64)`", "reset the job"] {
        assert!(text.contains(part), "{text}");
    }
}

/// A value as the first builds stored it: in MessagePack, the fields by their position.
fn by_position<T: Serialize>(value: &T) -> Chunk {
    let entries = rmp_serde::to_vec(value).unwrap();
    let mut bytes = 1_u16.to_be_bytes().to_vec();
    bytes.extend_from_slice(&crc32fast::hash(&entries).to_be_bytes());
    bytes.extend_from_slice(&entries);
    chunk(bytes.into())
}

#[test]
fn what_was_stored_by_position_is_taken_whole_and_refused_where_a_field_was_left_out() {
    let read = |value: &Bid| {
        let chunk = by_position(value);
        ChunkReader::open(&chunk, 1).unwrap().only_entry::<Bid>()
    };
    let whole = bid(Some(1), Some(2), &[3]);
    assert_eq!(read(&whole).unwrap(), Some(whole));
    // By position these are a bid of five, and a bid of five that was paid with six.
    for (value, field) in [(bid(None, Some(5), &[]), "paid"), (bid(Some(5), None, &[]), "paid")] {
        let error = read(&value).unwrap_err().report();
        assert!(error.contains(&format!("leaves out `{field}`")), "{error}");
        assert!(error.contains("by position") && error.contains("reset"), "{error}");
    }
    for value in [bid(None, Some(5), &[6]), bid(Some(5), None, &[6])] {
        assert!(read(&value).unwrap_err().is_config());
    }
    // A count is no share, though it could be read as one.
    let count = by_position(&500_u64);
    let share = ChunkReader::open(&count, 1).unwrap().only_entry::<f64>();
    let error = share.unwrap_err().report();
    assert!(error.contains("stored as another type"), "{error}");
}

#[test]
fn what_is_not_read_is_an_error() {
    let mut writer = ChunkWriter::new(1);
    writer.put(&1_u8);
    writer.put(&2_u8);
    let chunk = chunk(writer.finish().unwrap());
    assert!(ChunkReader::open(&chunk, 1).unwrap().only_entry::<u8>().is_err());
}

fn untagged() -> impl Strategy<Value = Untagged> {
    prop_oneof![
        any::<i64>().prop_map(Untagged::Number),
        any::<f64>().prop_filter("compared", |n| !n.is_nan()).prop_map(Untagged::Real),
        ".*".prop_map(Untagged::Text),
        any::<(Option<i64>, Option<i64>, Vec<u16>)>()
            .prop_map(|(a, b, seen)| Untagged::Bid(bid(a, b, &seen))),
        Just(Untagged::Nothing),
    ]
}

proptest! {
    #[test]
    fn any_values_come_back(
        values in proptest::collection::vec(
            (any::<(i64, Option<Option<u32>>, char)>(), ".{0,80}", untagged()), 0..20
        )
    ) {
        prop_assert_eq!(through(&values).unwrap(), values);
    }
}
