//! Windows of one size that begin at a fixed interval, and overlap.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::operators::late::Undecided;
use crate::operators::window::grid::{Grid, MOST_MS};
use crate::operators::window::lateness::{Lateness, with_lateness};
use crate::time::millis;

/// Windows of one size that begin at a fixed interval, and overlap: the last hour, every minute. Also called
/// hopping windows. Where they would not overlap, take [`Tumbling`](super::Tumbling); for a fixed number of
/// records of a key, whenever they came, [`CountWindow`](super::CountWindow).
///
/// They are cut into *slices* that no window's border lies in, and share them: a record goes to one
/// slice, however many windows it belongs to, and a window takes over what the one before has merged.
/// So the aggregate has to [`Merge`](super::Merge).
///
/// Windows that begin less often than they are long would leave the records between them in none: a pipeline with such
/// windows is refused as it is drawn. What is meant is two steps, and written as such: [`filter`](crate::Flow::filter)
/// leaves out the records that are not wanted, and is counted, and [`Tumbling`](super::Tumbling) windows are as long as
/// the time from one beginning to the next.
///
/// # Time and state
/// Keeps one state per key and slice in which the key has records, until the last window of the slice is
/// over: with the last hour every second, at most 3,600 per key, whatever the number of records. A record
/// costs nearly the same however often windows begin. What costs is results: each window that ends emits one
/// for every key with a record in it, sixty times as many every second as every minute, and each costs as
/// much as some four records, or ten to twenty where a thousand keys do not fit into the processor's cache.
/// With a hundred records per key and slide that does not show; with ten it is most of the work: begin
/// windows less often then, or take [`Tumbling`](super::Tumbling) ones and add them up in the place.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::window::{Count, Late, Sliding};
/// use rtbflow::testing::{run, timed};
///
/// let (four, two) = (Duration::from_millis(4), Duration::from_millis(2));
/// let windows = Sliding::of(four).every(two).late(Late::Drop);
/// let counts = run(timed([('a', 0), ('a', 1), ('a', 3)]), |flow| {
///     flow.key_by(|letter| *letter).window(windows).aggregate("counts", Count)
/// });
/// let counts: Vec<_> = counts.iter().map(|w| (w.window.start.as_millis(), w.value)).collect();
/// assert_eq!(counts, [(-2, 2), (0, 3), (2, 1)]);
/// ```
///
/// An aggregate that cannot merge is refused:
///
/// ```compile_fail
/// use std::time::Duration;
/// use rtbflow::operators::window::{Fold, Late, Sliding};
/// use rtbflow::testing::{run, values};
///
/// let windows = Sliding::of(Duration::from_secs(4)).every(Duration::from_secs(2)).late(Late::Drop);
/// run(values([1_u64]), |flow| {
///     flow.key_by(|_| 0).window(windows).aggregate("sums", Fold::new(|sum: &mut u64, n: &u64| *sum += n))
/// });
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Sliding<L = Undecided> {
    /// As they were set.
    size: Duration,
    slide: Duration,
    /// Where nothing is divided by zero before windows of no size are refused.
    pub(crate) grid: Grid,
    lateness: Lateness<L>,
}

impl Sliding {
    /// Windows of this size, in whole milliseconds, of which there must be one.
    pub fn of(size: Duration) -> Self {
        let size_ms = millis(size).clamp(1, MOST_MS);
        let grid = Grid { size_ms, slide_ms: size_ms, offset_ms: 0, border_ms: 0 };
        Self { size, slide: size, grid, lateness: Lateness::UNDECIDED }
    }
}

impl<L> Sliding<L> {
    fn kind(&self) -> String {
        let length = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        let (size, slide) = (length(self.grid.size_ms), length(self.grid.slide_ms));
        format!("sliding {size:?} every {slide:?}")
    }

    fn check(&self) -> Result<()> {
        let Self { size, slide, .. } = self;
        let long = Error::unless(millis(*size) > 0, || {
            format!("its windows are {size:?} long; give them a millisecond or more")
        });
        // Where it was not set it is the size.
        let apart = Error::unless(millis(*slide) > 0 || slide == size, || {
            format!("its windows begin every {slide:?}; let a millisecond or more lie between them")
        });
        let whole = Error::unless(millis(*size) == 0 || millis(*slide) <= millis(*size), || {
            format!(
                "its windows are {size:?} long and begin every {slide:?}, so that records between two are in none; \
                 `filter` the records that are wanted and take `Tumbling::of({slide:?})`"
            )
        });
        Error::all([long, apart, whole])
    }

    /// How often a window begins, in whole milliseconds, of which there must be one, and no more than the size has.
    /// Default: as often as the last has ended. The size need not be a multiple of it.
    pub fn every(mut self, slide: Duration) -> Self {
        self.slide = slide;
        self.grid.slide_ms = millis(slide).clamp(1, self.grid.size_ms);
        self.grid.border_ms = self.grid.size_ms % self.grid.slide_ms;
        self
    }

    /// Shifts the windows' borders.
    pub fn offset(mut self, offset: Duration) -> Self {
        self.grid.offset_ms = millis(offset);
        self
    }
}

with_lateness! {
    impl Sliding { size, slide, grid }
    /// How long after its end a window still takes records. Default: not at all.
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(size: u64, slide: u64, offset: u64) -> Grid {
        let ms = Duration::from_millis;
        Sliding::of(ms(size)).every(ms(slide)).offset(ms(offset)).grid
    }

    #[test]
    fn slices_are_cut_at_every_border() {
        let grid = grid(10, 4, 1);
        // Windows begin at 1 + 4n and end at 3 + 4n.
        let slices = [-2, -1, 1, 2, 3].map(|at| grid.slice_of(at));
        assert_eq!(slices, [(-3, -1), (-1, 1), (1, 3), (1, 3), (3, 5)]);
        assert_eq!([2, 3, 4].map(|at| grid.end_from(at)), [3, 3, 7]);
        assert_eq!([1, 3].map(|start| grid.last_end(start)), [11, 11]);
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let grid = Sliding::of(Duration::MAX).every(Duration::from_millis(1)).grid;
        for at in [i64::MIN, -1, 0, i64::MAX] {
            let (start, end) = grid.slice_of(at);
            assert!(start <= at && at <= end, "{start} {at} {end}");
            assert!(grid.end_from(at) >= at && grid.last_end(start) >= at);
        }
    }
}
