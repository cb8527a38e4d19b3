//! A vector that grows without moving what is in it.

use crate::bounded::entry_number;
use crate::error::Error;

/// Entries of one page, as a power of two.
const PAGE_BITS: u32 = 12;
const PAGE: usize = 1 << PAGE_BITS;

/// A vector in pages: growing it copies no page that is full, so that no record waits for millions of others
/// to be moved.
#[derive(Debug)]
pub(super) struct Pages<T>(Vec<Vec<T>>);

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Pages<T> {
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.0.get((number >> PAGE_BITS) as usize)?.get(number as usize & (PAGE - 1))
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.0.get_mut((number >> PAGE_BITS) as usize)?.get_mut(number as usize & (PAGE - 1))
    }

    /// Adds an entry; returns its number.
    pub(super) fn push(&mut self, entry: T) -> u32 {
        if self.0.last().is_none_or(|page| page.len() == PAGE) {
            // The first page grows from nothing: most joins are small.
            let room = if self.0.is_empty() { 0 } else { PAGE };
            self.0.push(Vec::with_capacity(room));
        }
        let before = (self.0.len() - 1) * PAGE;
        let Some(page) = self.0.last_mut() else {
            Error::broken("an entry has no page to stand in").spoil_epoch();
            return u32::MAX;
        };
        page.push(entry);
        entry_number(before + page.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_numbers() {
        let mut pages = Pages::default();
        for n in 0..20_000_u32 {
            assert_eq!(pages.push(n * 2), n);
        }
        *pages.get_mut(4096).unwrap() += 1;
        assert_eq!(
            [0, 4095, 4096, 19_999].map(|n| *pages.get(n).unwrap()),
            [0, 8190, 8193, 39_998]
        );
        assert!(pages.get(20_000).is_none() && pages.get(u32::MAX).is_none());
    }
}
