//! How much longer a call to a place may take, by how calls have ended.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many times longer than asked for a call to a place may take: twice as long after each that has timed out, and
/// half as long after each that has not, so that what is asked of a slow place is done at last.
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
/// assert_eq!(patience.times(), 2);
/// ```
#[derive(Debug, Default)]
pub struct Patience(AtomicU32);

impl Patience {
    /// 64 times: ten minutes instead of ten seconds.
    const MOST_DOUBLINGS: u32 = 6;

    /// How many times longer the next call may take.
    #[must_use]
    pub fn times(&self) -> u32 {
        1 << self.0.load(Ordering::Relaxed).min(Self::MOST_DOUBLINGS)
    }

    /// A call has timed out.
    pub fn lengthen(&self) {
        let doublings = self.0.load(Ordering::Relaxed);
        self.0.store(Self::MOST_DOUBLINGS.min(doublings + 1), Ordering::Relaxed);
    }

    /// A call has ended in time.
    pub fn shorten(&self) {
        let doublings = self.0.load(Ordering::Relaxed);
        self.0.store(doublings.saturating_sub(1), Ordering::Relaxed);
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
        let shrunk: Vec<u32> = (0..7)
            .map(|_| {
                patience.shorten();
                patience.times()
            })
            .collect();
        assert_eq!(shrunk, [32, 16, 8, 4, 2, 1, 1]);
    }
}
