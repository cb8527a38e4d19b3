//! Records of ad-events that cannot be used, of every kind that has been met.

use rtbflow::Timestamp;

use super::Generated;
use super::dice::Dice;
use crate::topics::SystemTopic;

const SPOILT: &[&[u8]] = &[
    b"",
    b"not json",
    b"{}",
    b"null",
    b"[1,2]",
    b"\xff\xfe\x00",
    br#"{"event_type":"CLICK"}"#,
    br#"{"event_type":"HOVER","timestamp":"2024-01-15T10:30:00Z"}"#,
    br#"{"event_type":"CLICK","timestamp":"yesterday"}"#,
    br#"{"event_type":"CLICK","timestamp":"2024-01-15T10:30:00Z","actual_price":1e400}"#,
];

/// A spoilt record or a tombstone.
pub(super) fn record(dice: &mut Dice, key: String, timestamp: Timestamp) -> Generated {
    let value = match dice.below(12) {
        0 => None,
        1 => Some(vec![b'['; 5_000]),
        _ => Some(dice.pick(SPOILT).to_vec()),
    };
    let (topic, is_usable, charge) = (SystemTopic::AdEvents, false, None);
    Generated { topic, key, value, timestamp, is_usable, charge }
}
