//! Which log an offset is of: a topic that is deleted and made anew has the same name and another id.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The id that a cluster gave to a topic when it was made: another one for each making, whatever the name.
///
/// It is written as Kafka's own tools write it: 22 characters of URL-safe base64.
///
/// ```
/// use rtbflow::epoch::TopicId;
///
/// let id = TopicId::new(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
/// assert_eq!(id.to_string(), "ASNFZ4mrze8BI0VniavN7w");
/// assert_eq!("ASNFZ4mrze8BI0VniavN7w".parse::<TopicId>()?, id);
/// assert!("a name".parse::<TopicId>().is_err());
/// # Ok::<(), rtbflow::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(u128);

/// How many characters an id has: six bits each, the last one two.
const DIGITS: usize = 22;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl TopicId {
    /// The id with these bits.
    #[must_use]
    pub fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// Its bits.
    #[must_use]
    pub fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in 0..DIGITS {
            // The last character has four bits of nothing behind its two.
            let shifted = match 128_usize.checked_sub(6 * (digit + 1)) {
                Some(right) => self.0 >> right,
                None => self.0 << 4,
            };
            let [low, ..] = shifted.to_le_bytes();
            let letter = ALPHABET.get(usize::from(low & 63)).ok_or(fmt::Error)?;
            fmt::Write::write_char(f, char::from(*letter))?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TopicId {
    type Err = Error;

    /// # Errors
    /// If the text is no id.
    fn from_str(text: &str) -> Result<Self> {
        let foreign =
            || Error::permanent(format!("read the topic id {text:?}: that is not a topic id"));
        if text.len() != DIGITS {
            return Err(foreign());
        }
        let mut bits = 0_u128;
        for (digit, letter) in text.bytes().enumerate() {
            let mut values = ALPHABET.iter().zip(0_u128..);
            let (_, value) = values.find(|(known, _)| **known == letter).ok_or_else(foreign)?;
            bits = match digit + 1 == DIGITS {
                // Behind its two bits there is nothing: anything else is no id that was written.
                true if value & 15 != 0 => return Err(foreign()),
                true => bits << 2 | value >> 4,
                false => bits << 6 | value,
            };
        }
        Ok(Self(bits))
    }
}

/// Which log an offset is of, as far as a source knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The topic's id: an offset of a topic with another id says nothing about this one.
    pub topic_id: TopicId,
    /// The term of the partition's leader that wrote the last record before the offset, or a later one.
    /// Where that term ended below the offset, a leader that had fallen behind has cut the log.
    pub leader_epoch: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_to_the_last_bit() {
        for bits in [0, 1, 3, u128::MAX, 1 << 127, 0x8000_0000_0000_0001_7fff_ffff_ffff_fffe] {
            let id = TopicId::new(bits);
            assert_eq!(id.to_string().len(), DIGITS);
            assert_eq!(id.to_string().parse::<TopicId>().unwrap(), id);
        }
        let foreign = ["", "ASNFZ4mrze8BI0VniavN7", "ASNFZ4mrze8BI0VniavN7ww"];
        for foreign in
            foreign.into_iter().chain(["ASNFZ4mrze8BI0VniavN7/", "ASNFZ4mrze8BI0VniavN7x"])
        {
            assert!(foreign.parse::<TopicId>().is_err(), "{foreign}");
        }
    }
}
