//! Where reading begins, and what to say when the log no longer, or not yet, reaches there.

use rtbflow::{Error, Partition};

/// Where to begin: at `position`, or at the beginning of a log that holds `start..end` if there is none.
///
/// # Errors
/// If the log does not hold the position: somebody has to decide what to do, for nothing is skipped
/// silently.
pub(crate) fn begin_at(
    partition: Partition,
    position: Option<i64>,
    start: i64,
    end: i64,
) -> Result<i64, Error> {
    let Some(offset) = position else { return Ok(start) };
    let attempt = format!("read {partition} from offset {offset}");
    if offset < start {
        let gone = start - offset;
        return Err(Error::config(format!(
            "{attempt}: the log begins at offset {start} and ends at {end}, retention has removed {gone} \
             offsets that were not read yet. To go on without them set the stored position of {partition} \
             to {start}, or drop the job's state and positions to rebuild from what is there; and let \
             the topic keep its records for longer"
        )));
    }
    if offset > end {
        return Err(Error::config(format!(
            "{attempt}: the log ends at offset {end} and begins at {start}, so the topic was made anew or \
             lost records. Find out which; then set the stored position of {partition} to an offset \
             between {start} and {end}, or drop the job's state and positions to rebuild from what is there"
        )));
    }
    Ok(offset)
}

#[cfg(test)]
mod tests {
    use rtbflow::Topic;

    use super::*;

    #[test]
    fn a_position_outside_of_the_log_is_an_error_that_tells_all() {
        let partition = Partition::new(Topic::new("ads"), 3);
        assert_eq!(begin_at(partition, None, 7, 9).unwrap(), 7);
        assert_eq!(begin_at(partition, Some(9), 7, 9).unwrap(), 9);
        for (offset, start, end) in [(6, 7, 9), (10, 7, 9)] {
            let error = begin_at(partition, Some(offset), start, end).unwrap_err();
            let text = error.report();
            assert!(error.is_config(), "{text}");
            for part in ["ads/3".to_owned(), offset.to_string(), start.to_string(), end.to_string()]
            {
                assert!(text.contains(&part), "{text}");
            }
        }
    }
}
