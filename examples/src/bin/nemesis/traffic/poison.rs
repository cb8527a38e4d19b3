//! Records that nobody can use, of every kind that has been met.

use rtbflow_examples::generator::Dice;
use rtbflow_examples::topics::SystemTopic;

use super::records::Outgoing;

const SPOILT: &[&[u8]] = &[
    b"",
    b"not json",
    b"{}",
    b"null",
    b"[1,2]",
    b"\xff\xfe\x00",
    br#"{"event_type":"CLICK"}"#,
    br#"{"timestamp":"yesterday"}"#,
    br#"{"timestamp":"2024-01-15T10:30:00Z","actual_price":1e400}"#,
];

/// A spoilt record; or another one with a field that spoils it.
pub(super) fn record(dice: &mut Dice, topic: SystemTopic, key: &str, good: &Outgoing) -> Outgoing {
    let text = good.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let behind = |more: &str| format!("{}{more}}}", text.trim_end_matches('}')).into_bytes();
    let value = match dice.below(8) {
        0 => vec![b'['; 5_000],
        1 => behind(r#","timestamp":"2024-01-15T10:30:00Z""#),
        2 => text.replacen("\"timestamp\":\"2", "\"timestamp\":\"x2", 1).into_bytes(),
        3 => text.replacen("T", " ", 1).replacen("_id\":\"", "_id\":\"\\u0000", 1).into_bytes(),
        4 => text.replacen("_id\":\"", "_id\":[\"", 1).into_bytes(),
        _ => dice.pick(SPOILT).to_vec(),
    };
    Outgoing { topic, key: key.to_owned(), value: Some(value), is_poison: true }
}
