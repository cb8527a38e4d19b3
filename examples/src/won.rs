//! Sums of money that do not overflow on their way.

use std::fmt;
use std::ops::{AddAssign, Sub};

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A sum in won, which may be larger than any price.
///
/// Whether it fits is asked where it is written: a sum that does not is a refused result, and never another sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Won(i128);

impl Won {
    /// The sum, if the places that it is written to can hold it.
    #[must_use]
    pub fn fits(self) -> Option<i64> {
        i64::try_from(self.0).ok()
    }
}

impl From<i64> for Won {
    fn from(won: i64) -> Self {
        Self(won.into())
    }
}

impl From<Won> for i128 {
    fn from(won: Won) -> Self {
        won.0
    }
}

impl AddAssign<i64> for Won {
    fn add_assign(&mut self, won: i64) {
        self.0 += i128::from(won);
    }
}

impl Sub<i64> for Won {
    type Output = Self;

    fn sub(self, won: i64) -> Self {
        Self(self.0 - i128::from(won))
    }
}

impl fmt::Display for Won {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// As an `i64` for as long as it is one, which is what stored state and readers know.
impl Serialize for Won {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.fits() {
            Some(won) => serializer.serialize_i64(won),
            None => serializer.serialize_i128(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Won {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl Visitor<'_> for Whole {
            type Value = Won;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }
            fn visit_i64<E: Error>(self, won: i64) -> Result<Won, E> {
                Ok(Won(won.into()))
            }
            fn visit_u64<E: Error>(self, won: u64) -> Result<Won, E> {
                Ok(Won(won.into()))
            }
            fn visit_i128<E: Error>(self, won: i128) -> Result<Won, E> {
                Ok(Won(won))
            }
        }

        deserializer.deserialize_i64(Whole)
    }
}

#[cfg(test)]
mod tests {
    use rtbflow::state::{BucketChange, Chunk, ChunkReader, ChunkWriter};

    use super::*;

    fn stored<T: Serialize + serde::de::DeserializeOwned + 'static>(value: &T) -> Chunk {
        let mut entries = ChunkWriter::new(1);
        entries.put(value);
        let change = BucketChange::Replace(entries.finish().unwrap());
        Chunk { operator: "sums".into(), bucket: 0, change }
    }

    #[test]
    fn a_sum_comes_back_from_state_and_what_was_stored_as_a_number_is_one() {
        let mut sum = Won::from(i64::MAX);
        sum += i64::MAX;
        assert_eq!((sum.fits(), (sum - i64::MAX).fits()), (None, Some(i64::MAX)));
        for sum in [Won::default(), Won::from(-7), Won::from(i64::MAX), sum] {
            let read = ChunkReader::open(&stored(&sum), 1).unwrap().only_entry::<Won>().unwrap();
            assert_eq!(read, Some(sum));
        }
        let read = ChunkReader::open(&stored(&1200_i64), 1).unwrap().only_entry::<Won>().unwrap();
        assert_eq!(read, Some(Won::from(1200)));
    }

    #[test]
    fn a_sum_is_written_with_all_its_digits() {
        let mut sum = Won::from(i64::MAX);
        sum += 1;
        assert_eq!(serde_json::to_string(&sum).unwrap(), "9223372036854775808");
        assert_eq!(serde_json::to_string(&Won::from(7)).unwrap(), "7");
    }
}
