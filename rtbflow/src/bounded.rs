//! Numbers that memory bounds before they leave their type, or nearly so.

use crate::error::Error;

/// The number of an entry of a table, in half a word; `u32::MAX` is that of none. Four billion entries of one table are more than nearly
/// every process has memory for; the epoch of one that has it is not committed.
#[inline]
pub(crate) fn entry_number(position: usize) -> u32 {
    match u32::try_from(position) {
        Ok(number) if number < u32::MAX => number,
        Ok(_) | Err(_) => too_many(position),
    }
}

#[cold]
#[inline(never)]
fn too_many(position: usize) -> u32 {
    Error::config(format!(
        "hold {position} entries in one table of an operator's state, which is more than it can have: let its \
         windows, or the time to live of its keys, be shorter, or read more partitions, each in a task of its own"
    ))
    .spoil_epoch();
    u32::MAX
}

/// How many there are in memory, or where one of them stands, as an offset. No vector is longer than an `i64` tells.
#[inline]
pub(crate) fn offset_of(position: usize) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broken::spoiler;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn an_entry_that_has_no_number_spoils_the_epoch() {
        let most = u32::MAX as usize;
        assert_eq!((entry_number(7), entry_number(most - 1)), (7, u32::MAX - 1));
        assert!(spoiler().is_none());
        for more in [most, most + 1] {
            assert_eq!(entry_number(more), u32::MAX);
            assert!(spoiler().is_some_and(|error| error.is_config()));
        }
    }
}
