//! Where reading begins, and what to say when the log no longer, or not yet, reaches there.

use rtbflow::epoch::{Log, Position, TopicId};
use rtbflow::{Error, Partition, Topic};

/// The log of a partition as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogRange {
    /// The topic's id, where the brokers know ids.
    pub(crate) topic_id: Option<TopicId>,
    /// Its first offset.
    pub(crate) start: i64,
    /// The offset behind its last record that is decided.
    pub(crate) end: i64,
    /// Where the leader epoch that wrote the last record before the position ended, if that is below the position:
    /// a leader that had fallen behind has cut the log there.
    pub(crate) cut: Option<i64>,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub(crate) from: i64,
    /// Whether that is not where the position stood.
    pub(crate) anew: bool,
    /// Which log it is.
    pub(crate) log: Option<Log>,
}

/// What to do about a log that does not hold the position.
const GO_ON: &str = "let the topic begin anew where the log does not hold the position \
                     (KafkaTopic::begin_anew), which keeps what was made of what was read before";

/// Why the log does not hold a position, and the nearest to it that it does.
fn gone(
    partition: Partition,
    (stood, offset): (Option<TopicId>, i64),
    range: &LogRange,
) -> Option<(i64, Error)> {
    let LogRange { topic_id, start, end, cut } = *range;
    match (stood, topic_id) {
        (Some(was), Some(is)) if was != is => Some((start, made_anew(partition.topic, was, is))),
        _ if offset < start => Some((start, lost(partition, offset, start, end))),
        _ if offset > end || cut.is_some() => {
            // Where it was not cut it ends before the position.
            Some((cut.unwrap_or(end).clamp(start, end), was_cut(partition, offset, range)))
        }
        _ => None,
    }
}

/// Where to begin: at `position`, or at the beginning of the log if there is none. With `anew`, as near to it
/// as the log allows.
///
/// # Errors
/// If the log does not hold the position: somebody has to decide what to do, for nothing is skipped
/// silently.
pub(crate) fn begin_at(
    partition: Partition,
    position: &Position,
    range: &LogRange,
    anew: bool,
) -> Result<Beginning, Error> {
    let LogRange { topic_id, start, .. } = *range;
    let log = topic_id.map(|topic_id| Log { topic_id, leader_epoch: None });
    let Some(offset) = position.offset else {
        return Ok(Beginning { from: start, anew: false, log });
    };
    let stood = position.log.map(|log| log.topic_id);
    match gone(partition, (stood, offset), range) {
        None => {
            let log = if stood.is_some() && stood == topic_id { position.log } else { log };
            Ok(Beginning { from: offset, anew: false, log })
        }
        Some((from, error)) if anew => {
            tracing::warn!(%partition, from, "begin anew: {}", error.report());
            Ok(Beginning { from, anew: true, log })
        }
        Some((_, error)) => Err(error),
    }
}

/// The topic of a name is another one than it was.
pub(crate) fn made_anew(topic: Topic, was: TopicId, is: TopicId) -> Error {
    Error::config(format!(
        "read topic {topic}: it was deleted and made anew; its id was {was}, and is {is} now, so no position \
         in the old one says anything about the new one. To read the new one from its beginning, {GO_ON} (a table \
         whose key is the offset refuses what comes at one that it has, and each becomes a dead letter); to undo \
         what was made of the old one as well, reset the job"
    ))
}

fn lost(partition: Partition, offset: i64, start: i64, end: i64) -> Error {
    let gone = start - offset;
    Error::config(format!(
        "read {partition} from offset {offset}: the log begins at offset {start} and ends at {end}, retention has \
         removed {gone} offsets that were not read yet. To go on without them, {GO_ON}; and let the topic keep \
         its records for longer"
    ))
}

fn was_cut(partition: Partition, offset: i64, range: &LogRange) -> Error {
    let LogRange { topic_id, start, end, cut } = range;
    let found = match cut {
        Some(cut) => format!("the log was cut at offset {cut} and has gone on from there to {end}"),
        None => format!("the log begins at offset {start} and ends at {end}"),
    };
    let why = match topic_id {
        Some(topic_id) => format!(
            "topic {} is still the one with the id {topic_id}, so a leader that had fallen behind has taken over \
             (unclean.leader.election.enable) and records that were read are gone",
            partition.topic
        ),
        None => "the topic was made anew or lost records".to_owned(),
    };
    Error::config(format!(
        "read {partition} from offset {offset}: {found}; {why}. To go on with what is there now, {GO_ON}; to \
         make everything anew of what is there, reset the job"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> Partition {
        Partition::new(Topic::new("ads"), 3)
    }

    fn range(start: i64, end: i64) -> LogRange {
        LogRange { topic_id: None, start, end, cut: None }
    }

    fn position(offset: i64, log: Option<Log>) -> Position {
        Position { offset: Some(offset), log, ..Position::default() }
    }

    fn log(bits: u128) -> Option<Log> {
        Some(Log { topic_id: TopicId::new(bits), leader_epoch: Some(4) })
    }

    #[test]
    fn a_position_outside_of_the_log_is_an_error_that_tells_all() {
        let begin =
            |position: &Position, range: LogRange| begin_at(partition(), position, &range, false);
        assert_eq!(begin(&Position::default(), range(7, 9)).unwrap().from, 7);
        assert_eq!(begin(&position(9, None), range(7, 9)).unwrap().from, 9);
        let cut = LogRange { cut: Some(8), ..range(7, 12) };
        for (offset, range) in [(6, range(7, 9)), (10, range(7, 9)), (10, cut)] {
            let error = begin(&position(offset, None), range).unwrap_err();
            let text = error.report();
            assert!(error.is_config(), "{text}");
            let bound = range.cut.unwrap_or(range.start);
            for part in
                ["ads/3".to_owned(), offset.to_string(), bound.to_string(), range.end.to_string()]
            {
                assert!(text.contains(&part), "{text}");
            }
        }
    }

    #[test]
    fn a_topic_with_another_id_is_another_topic_however_long_it_is() {
        let (was, is) = (TopicId::new(1), TopicId::new(2));
        for end in [0, 10, 100] {
            let range = LogRange { topic_id: Some(is), ..range(0, end) };
            let error = begin_at(partition(), &position(10, log(1)), &range, false).unwrap_err();
            let text = error.report();
            let ids = [was.to_string(), is.to_string()];
            for part in
                ["ads", &ids[0], &ids[1], "begin_anew", "each becomes a dead letter", "reset"]
            {
                assert!(error.is_config() && text.contains(part), "{text}");
            }
            let begun = begin_at(partition(), &position(10, log(1)), &range, true).unwrap();
            let log = Some(Log { topic_id: is, leader_epoch: None });
            assert_eq!(begun, Beginning { from: 0, anew: true, log });
        }
    }

    #[test]
    fn by_choice_reading_goes_on_as_near_to_the_position_as_the_log_allows() {
        let begin = |offset, range: LogRange| {
            begin_at(partition(), &position(offset, log(1)), &range, true).unwrap().from
        };
        assert_eq!(begin(6, range(7, 9)), 7);
        assert_eq!(begin(12, range(7, 9)), 9);
        assert_eq!(begin(12, LogRange { cut: Some(8), ..range(7, 20) }), 8);
        assert_eq!(begin(12, LogRange { cut: Some(3), ..range(7, 20) }), 7);
    }

    #[test]
    fn a_position_without_a_log_takes_on_the_one_that_is_there() {
        let range = LogRange { topic_id: Some(TopicId::new(2)), ..range(0, 20) };
        let begun = begin_at(partition(), &position(10, None), &range, false).unwrap();
        let log = Some(Log { topic_id: TopicId::new(2), leader_epoch: None });
        assert_eq!(begun, Beginning { from: 10, anew: false, log });
        let known = Some(Log { topic_id: TopicId::new(2), leader_epoch: Some(4) });
        let begun = begin_at(partition(), &position(10, known), &range, false).unwrap();
        assert_eq!((begun.from, begun.log), (10, known));
    }
}
