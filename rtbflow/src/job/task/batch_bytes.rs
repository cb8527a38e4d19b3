//! How much a task holds of what was read: batches stay in memory until the epoch that ends them is committed, since
//! what the place refuses is cut out of them.

use std::collections::VecDeque;

/// What a task holds of what was read, in bytes.
#[derive(Debug, Default)]
pub(crate) struct BatchBytes {
    /// Of the epoch that still grows.
    growing: usize,
    /// Of each epoch that is on its way to the place, the oldest first.
    on_the_way: VecDeque<usize>,
}

impl BatchBytes {
    /// A batch was taken in.
    pub(super) fn take(&mut self, bytes: usize) {
        self.growing += bytes;
    }

    /// Batches of this size end with the barrier that has passed.
    pub(super) fn end(&mut self, bytes: usize) {
        // What a batch says of its size is the source's word: it may say another when it is asked again.
        self.growing = self.growing.saturating_sub(bytes);
    }

    /// An epoch with batches of this size sets out for the place.
    pub(super) fn send(&mut self, bytes: usize) {
        self.on_the_way.push_back(bytes);
    }

    /// The oldest epoch on its way was committed.
    pub(super) fn committed(&mut self) {
        self.on_the_way.pop_front();
    }

    /// Whether the epoch that grows is as large as one may be of a task that may hold this much: half of it, so that
    /// one grows while another is committed.
    pub(super) fn is_heavy(&self, most: usize) -> bool {
        self.growing >= most / 2
    }

    /// Whether nothing more may be taken in before an epoch on its way is committed.
    pub(super) fn is_full(&self, most: usize) -> bool {
        let on_the_way: usize = self.on_the_way.iter().sum();
        on_the_way > 0 && self.growing + on_the_way >= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_it_is_an_epoch_and_what_is_not_committed_counts_until_it_is() {
        let mut held = BatchBytes::default();
        held.take(4);
        assert!(!held.is_heavy(10) && !held.is_full(10));
        held.take(1);
        assert!(
            held.is_heavy(10) && !held.is_full(5),
            "nothing is on its way that could be awaited"
        );
        held.end(5);
        held.send(5);
        held.take(4);
        assert!(!held.is_heavy(10) && !held.is_full(10));
        held.take(1);
        assert!(held.is_full(10));
        held.committed();
        assert!(!held.is_full(10));
    }

    #[test]
    fn a_batch_that_says_another_size_in_the_end_does_no_harm() {
        let mut held = BatchBytes::default();
        held.take(1);
        held.end(7);
        assert!(!held.is_heavy(10));
    }
}
