//! Records of every kind that cannot be used, beside those that only look so.

use serde_json::{Value, json};

use crate::letters::{Header, Sending};

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Used,
    Filtered,
    Skipped,
    /// To the dead-letter topic.
    Bad,
    /// To the dead-letter topic, as late.
    Late,
}

/// A record, where it is sent, and what becomes of it in W1 and in S2.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) partition: i32,
    pub(crate) record: Sending,
    pub(crate) classes: [Class; 2],
}

/// Where most cases go; the partitions above are for those that are about time.
const ANYWHERE: i32 = 0;
const LATE: i32 = 1;
const OLD: i32 = 2;
pub(crate) const FUTURE: i32 = 3;

const NOW: &str = "2024-01-15T10:31:00Z";
pub(crate) const LAST: &str = "9999-12-31T23:59:59.999Z";

/// A click that decodes, of a campaign and an advertiser of its own.
pub(crate) fn click(name: &str, at: &str) -> Value {
    json!({
        "event_type": "CLICK", "timestamp": at, "device_id": "device_1", "session_id": "session_1",
        "ad_id": "ad_1", "campaign_id": format!("campaign of {name}"),
        "advertiser_id": format!("advertiser of {name}"), "product_id": "product_1",
        "placement": "HOME", "bid_price": 1500, "actual_price": 1200, "category": "도서",
    })
}

/// A click with one field replaced or, by null, without it.
fn with(name: &str, field: &str, value: Value) -> Vec<u8> {
    let mut ad = click(name, NOW);
    ad[field] = value;
    ad.to_string().into_bytes()
}

/// A click with a piece of JSON that no JSON library would write.
fn raw(name: &str, field: &str, json: &str) -> Vec<u8> {
    let mark = "to be replaced";
    let text = String::from_utf8(with(name, field, mark.into())).unwrap();
    text.replace(&format!("\"{mark}\""), json).into_bytes()
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

fn case(name: &'static str, classes: [Class; 2], value: Vec<u8>) -> Case {
    let record =
        Sending { key: Some(b"device_1".to_vec()), value: Some(value), headers: Vec::new() };
    Case { name, partition: ANYWHERE, record, classes }
}

fn good(name: &'static str, value: Vec<u8>) -> Case {
    case(name, [Class::Used; 2], value)
}

fn bad(name: &'static str, value: Vec<u8>) -> Case {
    case(name, [Class::Bad; 2], value)
}

fn timed(partition: i32, case: Case) -> Case {
    Case { partition, ..case }
}

fn header(name: &str, value: Option<&[u8]>) -> Header {
    (name.to_owned(), value.map(<[u8]>::to_vec))
}

/// All cases, in the order in which they are sent.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = values();
    cases.extend(limits());
    cases.extend(times());
    cases.extend(frames());
    cases
}

/// Values that are no ad-event, and fields of the wrong kind.
fn values() -> Vec<Case> {
    let impression = with("an impression", "event_type", "IMPRESSION".into());
    vec![
        bad("empty", Vec::new()),
        bad("blank", b" \n".to_vec()),
        bad("not UTF-8", b"\xff\xfe\x00".to_vec()),
        bad("not UTF-8 in a text", {
            let mut value = with("not UTF-8 in a text", "category", "?".into());
            let at = value.iter().position(|byte| *byte == b'?').unwrap();
            value[at] = 0xff;
            value
        }),
        bad("not JSON", b"not json".to_vec()),
        bad("half", {
            let value = with("half", "ad_id", "a".into());
            value[..40].to_vec()
        }),
        bad(
            "twice",
            [click("twice", NOW).to_string(), click("twice", NOW).to_string()].concat().into(),
        ),
        bad("null", b"null".to_vec()),
        bad("an array", b"[1,2]".to_vec()),
        bad("an empty object", b"{}".to_vec()),
        bad("a number for a text", with("wrong", "device_id", 7.into())),
        bad("a text for a number", with("wrong", "bid_price", "1500".into())),
        bad("true for a number", with("wrong", "bid_price", true.into())),
        bad("an object for a name", with("wrong", "event_type", json!({"CLICK": null}))),
        bad("an unknown event", with("wrong", "event_type", "HOVER".into())),
        bad("an unknown placement", with("wrong", "placement", "home".into())),
        bad("a click without a price", with("wrong", "actual_price", Value::Null)),
        bad("a missing field", with("wrong", "category", Value::Null)),
        case("an impression", [Class::Filtered, Class::Used], impression),
    ]
}

/// Depth, length and size.
fn limits() -> Vec<Case> {
    let megabyte = "x".repeat(1_000_000);
    vec![
        good("nested 128 deep", raw("nested 128 deep", "more", &nested(127))),
        bad("nested 129 deep", raw("nested 129 deep", "more", &nested(128))),
        bad("nested 100,000 deep", raw("nested 100,000 deep", "more", &nested(99_999))),
        bad("open 100,000 times", vec![b'['; 100_000]),
        good(
            "a megabyte that nobody reads",
            with("a megabyte that nobody reads", "more", megabyte.clone().into()),
        ),
        bad("a megabyte of nothing", megabyte.into_bytes()),
        good("the largest price", raw("the largest price", "actual_price", "9223372036854775807")),
        bad("a price beyond i64", raw("wrong", "actual_price", "9223372036854775808")),
        bad("a price of many digits", raw("wrong", "actual_price", &"9".repeat(400))),
        bad("an endless price", raw("wrong", "actual_price", "1e400")),
        bad("a price with a fraction", raw("wrong", "actual_price", "12.0")),
        bad("a negative price", raw("wrong", "actual_price", "-1")),
        good("a price of nothing", raw("a price of nothing", "actual_price", "0")),
        bad("NUL in a text", raw("wrong", "ad_id", r#""a\u0000b""#)),
        bad("a lone surrogate", raw("wrong", "ad_id", r#""\ud800""#)),
        good("NUL where nobody looks", raw("NUL where nobody looks", "more", r#""a\u0000b""#)),
    ]
}

fn times() -> Vec<Case> {
    let at = |name, at| click(name, at).to_string().into_bytes();
    let late = [Class::Used, Class::Late];
    vec![
        bad("the year 0", at("wrong", "0000-01-01T00:00:00Z")),
        bad("a time without a zone", at("wrong", "2024-01-15T10:31:00")),
        timed(LATE, good("in time", at("in time", NOW))),
        timed(LATE, good("two hours on", at("two hours on", "2024-01-15T12:31:00Z"))),
        timed(LATE, case("late", late, at("late", NOW))),
        timed(OLD, good("the year 1", at("the year 1", "0001-01-01T00:00:00Z"))),
        timed(FUTURE, good("the year 9999", at("the year 9999", LAST))),
    ]
}

/// Keys, headers and tombstones.
fn frames() -> Vec<Case> {
    let headers = vec![
        header("none", None),
        header("bytes", Some(b"\xff\x00")),
        header("", Some(b"")),
        header("rtbflow-error", Some(b"of another life")),
        header("rtbflow-offset", None),
    ];
    let mut no_key = good("no key", with("no key", "more", 1.into()));
    no_key.record.key = None;
    let mut strange_key = good("a strange key", with("a strange key", "more", 1.into()));
    strange_key.record.key = Some(b"\xff\x00".to_vec());
    let mut headed =
        good("headers without values", with("headers without values", "more", 1.into()));
    headed.record.headers.clone_from(&headers);
    let mut bad_without_key = bad("bad and no key", b"{".to_vec());
    bad_without_key.record.key = None;
    let mut bad_with_headers = bad("bad with headers", b"}".to_vec());
    bad_with_headers.record.headers.clone_from(&headers);
    let mut bad_and_empty_key = bad("bad and an empty key", b"]".to_vec());
    bad_and_empty_key.record.key = Some(Vec::new());
    let mut tombstone = case("a tombstone", [Class::Skipped; 2], Vec::new());
    tombstone.record.value = None;
    let mut nothing = case("neither key nor value", [Class::Skipped; 2], Vec::new());
    nothing.record = Sending { key: None, value: None, headers };
    vec![
        no_key,
        strange_key,
        headed,
        bad_without_key,
        bad_with_headers,
        bad_and_empty_key,
        tombstone,
        nothing,
    ]
}
