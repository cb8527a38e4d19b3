//! Where sliding windows and their slices lie.

/// Longer than the library's idea of time reaches by far, and short enough to reckon with.
pub(crate) const MOST_MS: i64 = i64::MAX / 8;

/// Where windows and slices lie. Times saturate: near the ends of all time, windows are as good as
/// endless.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    pub(crate) size_ms: i64,
    pub(crate) slide_ms: i64,
    pub(crate) offset_ms: i64,
    /// Windows end this far behind the last start.
    pub(crate) border_ms: i64,
}

impl Grid {
    /// How far a time lies behind the last start of a window.
    fn into_slide(self, at: i64) -> i64 {
        at.wrapping_sub(self.offset_ms).rem_euclid(self.slide_ms)
    }

    /// The slice that a time belongs to, `(start, end)`.
    #[inline]
    pub(crate) fn slice_of(self, at: i64) -> (i64, i64) {
        let into = self.into_slide(at);
        let (start, end) = match self.border_ms {
            0 => (0, self.slide_ms),
            border if into < border => (0, border),
            border => (border, self.slide_ms),
        };
        (at.saturating_sub(into - start), at.saturating_add(end - into))
    }

    /// The end of the first window that ends at this time or after it.
    pub(crate) fn end_from(self, at: i64) -> i64 {
        let start = self.start_of(at);
        match self.into_slide(start) {
            0 => at,
            into => at.saturating_add(self.slide_ms - into),
        }
    }

    /// The start of the window that ends there.
    pub(crate) fn start_of(self, end: i64) -> i64 {
        end.saturating_sub(self.size_ms)
    }

    /// The end of the window after the one that ends there.
    pub(crate) fn next(self, end: i64) -> i64 {
        end.saturating_add(self.slide_ms)
    }

    /// How long slices are, where all are equally long.
    pub(crate) fn even_slices_ms(self) -> Option<i64> {
        (self.border_ms == 0).then_some(self.slide_ms)
    }

    /// The end of the last window that a slice belongs to, which begins at this time.
    pub(crate) fn last_end(self, slice_start: i64) -> i64 {
        let start = slice_start.saturating_sub(self.into_slide(slice_start));
        start.saturating_add(self.size_ms)
    }
}
