//! How a position stands in Redis: `commit owner offset event-time`, as text; behind the first of a task,
//! what its last commit found out about records.

use rtbflow::Timestamp;
use rtbflow::epoch::Position;

/// The part of a position that a commit compares.
pub(super) fn mark(position: &Position) -> String {
    format!("{} {}", position.commit, position.owner)
}

/// A whole position; it begins with its mark.
pub(super) fn position_text(position: &Position) -> String {
    let number = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let event_time = number(position.event_time.map(Timestamp::as_millis));
    format!("{} {} {event_time}", mark(position), number(position.offset))
}

/// Reads a position back.
pub(super) fn parse_position(text: &str) -> Option<Position> {
    fn number(text: &str) -> Option<Option<i64>> {
        if text == "-" { Some(None) } else { text.parse().ok().map(Some) }
    }
    let mut parts = text.split(' ');
    let (commit, owner) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let (offset, event_time) = (number(parts.next()?)?, number(parts.next()?)?);
    let event_time = event_time.map(Timestamp::from_millis);
    parts.next().is_none().then_some(Position { offset, event_time, commit, owner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_to_the_last_bit() {
        for position in [
            Position::default(),
            Position {
                offset: Some((1 << 53) + 1),
                event_time: Some(Timestamp::MIN),
                commit: (1 << 53) + 1,
                owner: u64::MAX,
            },
        ] {
            assert_eq!(parse_position(&position_text(&position)), Some(position));
        }
        for foreign in ["", "1", "1 2 3", "1 2 3 4 5", "-1 2 3 4", "1 2 x 4"] {
            assert_eq!(parse_position(foreign), None, "{foreign}");
        }
    }
}
