//! The checksum that stands before a position, over the partition and the position: a bit that has changed, or a piece
//! that is cut off, would be another position. `checksum.lua` computes the same.

use rtbflow::Error;

use crate::redis::reply::text;

/// A prime below 2^32, of which no bit's place is a multiple: another bit is another checksum.
const PRIME: u64 = 4_294_967_291;

fn checksum(field: &str, text: &str) -> u64 {
    let bytes = field.bytes().chain([b' ']).chain(text.bytes());
    bytes.fold(0, |sum, byte| (sum * 257 + u64::from(byte)) % PRIME)
}

/// A position with its checksum.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn sealed(field: &str, text: &str) -> String {
    format!("#{:08x} {text}", checksum(field, text))
}

/// The position, if it is whole; one that was kept before positions had checksums begins with a number.
pub(crate) fn unsealed<'a>(field: &str, held: &'a str) -> Option<&'a str> {
    let Some((sum, text)) = held.strip_prefix('#').and_then(|rest| rest.split_once(' ')) else {
        return held.starts_with(|first: char| first.is_ascii_digit()).then_some(held);
    };
    (sum == format!("{:08x}", checksum(field, text))).then_some(text)
}

/// The error of a position that is not as it was written.
#[cold]
pub(crate) fn damaged(attempted: &str, key: &str, partition: &[u8], found: &[u8]) -> Error {
    let (partition, found) = (text(partition), text(found));
    Error::permanent(format!(
        "{attempted}: {key} holds {found:?} for {partition}, whose checksum does not fit: it is torn or damaged. Bring \
         the place back from a copy, or reset the job: its positions, state and results together (`forget_with`)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_whole_or_none() {
        let held = sealed("ads/0", "1 2 - -");
        assert_eq!(unsealed("ads/0", &held), Some("1 2 - -"));
        assert_eq!(unsealed("ads/1", &held), None, "of another partition");
        assert_eq!(unsealed("ads/0", "1 2 - -"), Some("1 2 - -"), "of an earlier build");
        for at in 1..held.len() {
            assert_eq!(unsealed("ads/0", held.split_at(at).0), None, "cut at {at}");
        }
    }
}
