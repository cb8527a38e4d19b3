//! How much longer a call to a place may take, by how calls have ended.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many times longer than asked for a call to a place may take: twice as long after each that has timed out, and
/// half as long after each that has not, so that what is asked of a slow place is done at last.
///
/// After a time-out it stays for the next 64 calls: those come between the one that has timed out and its repeat, and
/// say nothing about it.
///
/// ```
/// use rtbflow::epoch::Patience;
///
/// let patience = Patience::default();
/// assert_eq!(patience.times(), 1);
/// patience.lengthen();
/// patience.lengthen();
/// assert_eq!(patience.times(), 4);
/// patience.shorten();
/// assert_eq!(patience.times(), 4);
/// (0..64).for_each(|_| patience.shorten());
/// assert_eq!(patience.times(), 2);
/// ```
#[derive(Debug, Default)]
pub struct Patience {
    doublings: AtomicU32,
    /// Calls that have ended in time since the last that did not.
    in_time: AtomicU32,
}

impl Patience {
    /// 64 times: ten minutes instead of ten seconds.
    const MOST_DOUBLINGS: u32 = 6;
    /// Calls of other tasks that may come before what has timed out is tried again.
    const BETWEEN: u32 = 64;

    /// How many times longer the next call may take.
    #[must_use]
    pub fn times(&self) -> u32 {
        1 << self.doublings.load(Ordering::Relaxed).min(Self::MOST_DOUBLINGS)
    }

    /// A call has timed out.
    pub fn lengthen(&self) {
        // Read and written apart: where two calls end at once, one of them may go uncounted, which costs a doubling more
        // or less and nothing else.
        self.in_time.store(0, Ordering::Relaxed);
        let doublings = self.doublings.load(Ordering::Relaxed);
        self.doublings.store(Self::MOST_DOUBLINGS.min(doublings + 1), Ordering::Relaxed);
    }

    /// A call has ended in time.
    pub fn shorten(&self) {
        let in_time = self.in_time.load(Ordering::Relaxed);
        if in_time < Self::BETWEEN {
            self.in_time.store(in_time + 1, Ordering::Relaxed);
            return;
        }
        // At none, it stays there.
        let doublings = self.doublings.load(Ordering::Relaxed);
        self.doublings.store(doublings.saturating_sub(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_to_its_bound_and_shrinks_again() {
        let patience = Patience::default();
        let grown: Vec<u32> = (0..8)
            .map(|_| {
                patience.lengthen();
                patience.times()
            })
            .collect();
        assert_eq!(grown, [2, 4, 8, 16, 32, 64, 64, 64]);
        for _ in 0..Patience::BETWEEN {
            patience.shorten();
            assert_eq!(patience.times(), 64, "the one that has timed out is still to come");
        }
        let shrunk: Vec<u32> = (0..7)
            .map(|_| {
                patience.shorten();
                patience.times()
            })
            .collect();
        assert_eq!(shrunk, [32, 16, 8, 4, 2, 1, 1]);
    }
}
