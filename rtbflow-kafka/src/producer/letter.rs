//! A dead letter as a record: the headers that say where it comes from and why, and its value, cut to what its topic
//! takes.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use rtbflow::epoch::DeadLetter;
use rtbflow::{Error, Result};

use crate::producer::batch::{FRAME_BYTES, HEADER_BYTES};

/// The header of a letter whose value was cut: how many bytes it had.
const CUT: &str = "rtbflow-cut";
/// What such a number takes at most, as text.
const CUT_BYTES: usize = 20;

type LetterHeaders<'a> = Vec<(&'a str, Option<&'a [u8]>)>;

/// The error of a letter that does not fit even without its value.
#[cold]
fn too_large(letter: &DeadLetter, topic: &str, most: usize) -> Error {
    Error::permanent(format!(
        "write the dead letter of {} to {topic}: its key and headers alone are larger than the topic takes, {most} \
         bytes; raise its max.message.bytes",
        letter.origin
    ))
}

/// A letter as it is written to a topic that takes records of at most this many bytes.
///
/// # Errors
/// If it does not fit, even without its value.
pub(crate) fn record<'a>(
    topic: &'a str,
    pipeline: &str,
    letter: &'a DeadLetter,
    most: usize,
) -> Result<FutureRecord<'a, [u8], [u8]>> {
    let partition = letter.origin.partition().number.to_string();
    let offset = letter.origin.offset().to_string();
    let ours = [
        ("rtbflow-pipeline", pipeline),
        ("rtbflow-topic", letter.origin.topic()),
        ("rtbflow-partition", &partition),
        ("rtbflow-offset", &offset),
        ("rtbflow-error", letter.reason.reason()),
    ];
    // Ours behind its own, so that a letter of a letter ends with the newest.
    let own = letter.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    let ours = ours.into_iter().map(|(name, value)| (name, Some(value.as_bytes())));
    let mut headers: LetterHeaders<'_> = own.chain(ours).collect();
    let too_large = || too_large(letter, topic, most);
    let (value, full) = cut(letter, &headers, most).ok_or_else(too_large)?;
    let full = full.map(|full| full.to_string());
    headers.extend(full.as_ref().map(|full| (CUT, Some(full.as_bytes()))));
    let mut record = FutureRecord::to(topic).headers(owned(&headers));
    record.key = letter.key.as_deref();
    record.payload = value;
    Ok(record)
}

fn owned(headers: &LetterHeaders<'_>) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |owned, (key, value)| {
        owned.insert(Header { key, value: *value })
    })
}

/// The value of a letter, cut to what fits into its topic beside the rest, and how long it was if it was cut.
/// `None` if the rest alone does not fit.
fn cut<'a>(
    letter: &'a DeadLetter,
    headers: &[(&str, Option<&[u8]>)],
    most: usize,
) -> Option<(Option<&'a [u8]>, Option<usize>)> {
    let header = |(name, value): &(&str, Option<&[u8]>)| {
        name.len() + HEADER_BYTES + value.map_or(0, <[u8]>::len)
    };
    let key = letter.key.as_ref().map_or(0, Vec::len);
    let rest = FRAME_BYTES + key + headers.iter().map(header).sum::<usize>();
    let value = letter.value.as_deref();
    let full = value.map_or(0, <[u8]>::len);
    if rest + full <= most {
        return Some((value, None));
    }
    let left = most.checked_sub(rest + CUT.len() + HEADER_BYTES + CUT_BYTES)?;
    let shortened = value.map(|value| value.split_at(left.min(value.len())).0);
    Some((shortened, Some(full)))
}

#[cfg(test)]
mod tests {
    use rtbflow::{BadRecord, Origin, Partition, Topic};

    use super::*;

    #[test]
    fn a_value_is_cut_to_what_fits_beside_the_rest() {
        let origin = Origin::new(Partition::new(Topic::new("ads"), 0), 1);
        let value = Some(vec![7; 1000]);
        let original = rtbflow::epoch::Original::new(Some(vec![1; 10]), value, Vec::new());
        let letter = DeadLetter::record(origin, original, BadRecord::new("why"));
        let headers = [("rtbflow-error", Some(b"why".as_slice()))];
        let (whole, full) = cut(&letter, &headers, 1_164).unwrap();
        assert_eq!((whole.unwrap().len(), full), (1000, None));
        let (some, full) = cut(&letter, &headers, 1_163).unwrap();
        assert_eq!((some.unwrap().len(), full), (958, Some(1000)));
        assert_eq!(cut(&letter, &headers, 200), None);
    }
}
