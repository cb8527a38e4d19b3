//! How a position stands in Redis: `commit owner offset event-time/topic-id/leader-epoch`, as text, without
//! the last two where the log is not known; behind the first of a task, what its last commit found out about
//! records. Before all of it stands its [checksum](super::checksum).

use rtbflow::Timestamp;
use rtbflow::epoch::{Log, Position};

/// The part of a position that a commit compares.
pub(crate) fn mark(position: &Position) -> String {
    format!("{} {}", position.commit, position.owner)
}

/// A whole position; it begins with its mark.
pub(crate) fn position_text(position: &Position) -> String {
    let number = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let event_time = number(position.event_time.map(Timestamp::as_millis));
    let log = position.log.map_or_else(String::new, |Log { topic_id, leader_epoch }| {
        format!("/{topic_id}/{}", number(leader_epoch.map(i64::from)))
    });
    format!("{} {} {event_time}{log}", mark(position), number(position.offset))
}

/// Reads a position back.
pub(crate) fn parse_position(text: &str) -> Option<Position> {
    fn number(text: &str) -> Option<Option<i64>> {
        if text == "-" { Some(None) } else { text.parse().ok().map(Some) }
    }
    // Strictly, to the last part: what is half read would be another position.
    let mut parts = text.split(' ');
    let (commit, owner) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let offset = number(parts.next()?)?;
    let mut last = parts.next()?.split('/');
    let event_time = number(last.next()?)?.map(Timestamp::from_millis);
    let log = match last.next() {
        None => None,
        Some(topic_id) => {
            let leader_epoch = number(last.next()?)?.map(i32::try_from).transpose().ok()?;
            Some(Log { topic_id: topic_id.parse().ok()?, leader_epoch })
        }
    };
    let is_whole = parts.next().is_none() && last.next().is_none();
    is_whole.then_some(Position { offset, event_time, commit, owner, log })
}

#[cfg(test)]
mod tests {
    use rtbflow::epoch::TopicId;

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
                log: Some(Log { topic_id: TopicId::new(u128::MAX), leader_epoch: Some(i32::MAX) }),
            },
            Position {
                log: Some(Log { topic_id: TopicId::new(7), leader_epoch: None }),
                ..Position::default()
            },
        ] {
            assert_eq!(parse_position(&position_text(&position)), Some(position));
        }
        let written_before_logs =
            Position { offset: Some(3), commit: 1, owner: 2, ..Position::default() };
        assert_eq!(parse_position("1 2 3 -"), Some(written_before_logs));
        let id = "AAAAAAAAAAAAAAAAAAAABw";
        let broken =
            [format!("1 2 3 4/{id}"), format!("1 2 3 4/{id}/0/0"), "1 2 3 4/id/0".to_owned()];
        for foreign in broken.iter().map(String::as_str).chain([
            "",
            "1",
            "1 2 3",
            "1 2 3 4 5",
            "-1 2 3 4",
            "1 2 x 4",
        ]) {
            assert_eq!(parse_position(foreign), None, "{foreign}");
        }
    }
}
