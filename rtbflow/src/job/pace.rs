//! How much one commit takes, by how long commits last.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a row is taken to last before anything was measured: the first commits, of all tasks together, have as
/// many rows as fit into the place's time. They grow to what fits by how long commits take, so that a fast place is at
/// its full size after some three of them, and a slow one is never asked for what it cannot do in its time.
const FIRST_ROW: Duration = Duration::from_micros(250);
/// Rows that a commit may grow to.
const MOST_ROWS: usize = 1 << 20;
/// A single slow commit shrinks those that follow to no less than this part, and a quick one lets them grow to no more
/// than as many times.
const LARGEST_STEP: usize = 8;
/// Commits that are remembered, to tell what a row takes from what any commit takes.
const REMEMBERED: usize = 8;

/// The bound on the rows of one commit, shared by the committer, which measures, and the tasks, which build
/// epochs. A clone is the same bound.
#[derive(Debug, Clone)]
pub(crate) struct Pace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    aim: Duration,
    rows: AtomicUsize,
    tasks: AtomicUsize,
    /// The epochs that were ready together of late, at most.
    together: AtomicUsize,
    seen: Mutex<Seen>,
}

/// The last commits: their rows, and how long they took.
#[derive(Debug, Default)]
struct Seen {
    commits: VecDeque<(usize, Duration)>,
    /// What a commit takes however small it is.
    fixed: Duration,
    /// How many epochs were ready at each of the last turns to commit.
    ready: VecDeque<usize>,
}

impl Seen {
    /// Learns of a commit; what commits take however small they are: the line through the last of them, where it
    /// meets no rows. Commits of one size say nothing about it.
    fn learn(&mut self, rows: usize, took: Duration) -> Duration {
        self.commits.truncate(REMEMBERED - 1);
        self.commits.push_front((rows, took));
        let sizes = || self.commits.iter().map(|(rows, _)| *rows);
        // There is one at least, this one.
        let least = self.commits.iter().map(|(_, took)| *took).min().unwrap_or_default();
        let (smallest, largest) = (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0));
        if largest > smallest + smallest / 4 {
            let points =
                self.commits.iter().map(|(rows, took)| (to_f64(*rows), took.as_secs_f64()));
            let count = to_f64(self.commits.len());
            let (all_rows, all_took) =
                points.clone().fold((0.0, 0.0), |(x, y), (rows, took)| (x + rows, y + took));
            let (mean_rows, mean_took) = (all_rows / count, all_took / count);
            let (together, alone) = points.fold((0.0, 0.0), |(together, alone), (rows, took)| {
                let away = rows - mean_rows;
                (together + away * (took - mean_took), alone + away * away)
            });
            let a_row = (together / alone).max(0.0);
            let fixed = (mean_took - a_row * mean_rows).max(0.0);
            // What is no time says nothing about the place.
            self.fixed = Duration::try_from_secs_f64(fixed).unwrap_or_default();
        }
        self.fixed = self.fixed.min(least);
        self.fixed
    }
}

#[expect(clippy::cast_precision_loss, reason = "rows of a commit are far below 2^53")]
fn to_f64(rows: usize) -> f64 {
    rows as f64
}

impl Pace {
    /// For a place whose commits should take this long.
    pub(crate) fn new(aim: Duration) -> Self {
        let aim = aim.max(Duration::from_millis(1));
        // What leaves the type is more than the most, as below.
        let first = usize::try_from(aim.as_nanos() / FIRST_ROW.as_nanos()).unwrap_or(MOST_ROWS);
        let (rows, tasks) = (AtomicUsize::new(first.min(MOST_ROWS)), AtomicUsize::new(0));
        let together = AtomicUsize::new(usize::MAX);
        Self(Arc::new(Shared { aim, rows, tasks, together, seen: Mutex::default() }))
    }

    /// How many tasks share a commit.
    pub(crate) fn share(&self, tasks: usize) {
        self.0.tasks.store(tasks, Ordering::Relaxed);
    }

    /// The most rows of one commit; never 0.
    pub(crate) fn of_all(&self) -> usize {
        self.0.rows.load(Ordering::Relaxed)
    }

    /// The most rows of one task's epoch; never 0. Where epochs are mostly ready one by one, each may have what a commit
    /// may.
    pub(crate) fn rows(&self) -> usize {
        let tasks = self.0.tasks.load(Ordering::Relaxed);
        let sharing = tasks.min(self.0.together.load(Ordering::Relaxed)).max(1);
        (self.of_all() / sharing).max(1)
    }

    /// A turn to commit has come, for which the epochs of this many tasks were ready.
    pub(crate) fn ready(&self, epochs: usize) {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.ready.truncate(REMEMBERED - 1);
        seen.ready.push_front(epochs);
        // Before enough was seen, all tasks are taken to come together.
        let together = seen.ready.iter().max().filter(|_| seen.ready.len() == REMEMBERED);
        self.0.together.store(together.copied().unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// This many rows were committed within this time, and `of_one` is how many the largest epoch had of them. Only what
    /// the rows took counts: a place that is far away, and answers nothing sooner, would else be given ever less.
    pub(crate) fn committed(&self, rows: usize, of_one: usize, took: Duration) {
        let fixed = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).learn(rows, took);
        let took = took.saturating_sub(fixed);
        let (bound, aim) = (self.0.rows.load(Ordering::Relaxed), self.0.aim);
        // What would have fitted, were the time proportional to the rows.
        let fits = rows as u128 * aim.as_nanos() / took.as_nanos().max(1);
        let fits = usize::try_from(fits).unwrap_or(MOST_ROWS);
        if took > aim {
            self.set(fits.max(bound / LARGEST_STEP).min(bound));
        } else if fits / 2 >= bound && of_one * 2 >= self.rows() {
            // It was the bound that made an epoch no larger. Whether those of all tasks were there does not matter:
            // where they come one by one none of them would ever grow.
            self.set(fits.min(bound * LARGEST_STEP));
        }
    }

    /// A commit of this many rows has failed and may have been too large.
    pub(crate) fn failed(&self, rows: usize) {
        self.set((rows / 2).min(self.0.rows.load(Ordering::Relaxed)));
    }

    fn set(&self, rows: usize) {
        self.0.rows.store(rows.clamp(1, MOST_ROWS), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AIM: Duration = Duration::from_millis(250);

    /// Commits as much as is allowed, on a place that takes this long for each row.
    fn settle(a_row: Duration, commits: usize) -> (usize, Duration) {
        let (pace, mut longest) = (Pace::new(AIM), Duration::ZERO);
        pace.share(1);
        for _ in 0..commits {
            let rows = pace.rows();
            let took = a_row * u32::try_from(rows).unwrap();
            longest = longest.max(took);
            pace.committed(rows, rows, took);
        }
        (pace.rows(), longest)
    }

    #[test]
    fn a_place_that_aims_at_less_is_asked_for_less_at_first() {
        assert_eq!((Pace::new(AIM).rows(), Pace::new(AIM / 5).rows()), (1_000, 200));
    }

    #[test]
    fn a_fast_place_is_soon_given_much() {
        let (rows, longest) = settle(Duration::from_nanos(500), 12);
        assert!(rows > 200_000, "{rows}");
        assert!(longest <= AIM * 2, "{longest:?}");
    }

    #[test]
    fn a_slow_place_is_given_what_it_takes_in_time() {
        let (rows, longest) = settle(Duration::from_millis(1), 12);
        assert!((125..=250).contains(&rows), "{rows}");
        assert!(longest <= Duration::from_secs(1), "{longest:?}");
        assert_eq!(settle(Duration::from_secs(3), 12).0, 1);
    }

    #[test]
    fn a_place_that_is_far_away_is_given_as_much_as_a_near_one() {
        for (far, a_row) in [(300, 10), (2_000, 10), (300, 1_000)]
            .map(|(ms, us)| (Duration::from_millis(ms), Duration::from_micros(us)))
        {
            let pace = Pace::new(AIM);
            let took = |rows: usize| far + a_row * u32::try_from(rows).unwrap();
            // What begins with a line that is suddenly long is no exception.
            pace.committed(pace.rows(), pace.rows(), AIM / 3);
            let mut sizes = Vec::new();
            for _ in 0..40 {
                let rows = pace.rows();
                sizes.push(rows);
                pace.committed(rows, rows, took(rows));
            }
            let fits = usize::try_from(AIM.as_nanos() / a_row.as_nanos()).unwrap();
            let settled = &sizes[30..];
            assert!(settled.iter().all(|rows| (fits / 4..=fits * 2).contains(rows)), "{sizes:?}");
        }
    }

    #[test]
    fn one_stall_of_a_small_commit_is_soon_made_up_for() {
        let pace = Pace::new(AIM);
        pace.share(4);
        let before = pace.rows();
        pace.committed(10, 10, AIM * 8);
        assert_eq!(pace.rows(), before / LARGEST_STEP);
        for _ in 0..3 {
            pace.committed(pace.rows() * 4, pace.rows(), AIM / 10);
        }
        assert!(pace.rows() >= before * 9 / 10, "{} of {before}", pace.rows());
    }

    #[test]
    fn epochs_that_are_committed_one_by_one_grow_as_well() {
        let pace = Pace::new(AIM);
        pace.share(8);
        for _ in 0..4 {
            pace.committed(pace.rows(), pace.rows(), Duration::from_micros(200));
        }
        assert!(pace.rows() > 20_000, "{}", pace.rows());
    }

    #[test]
    fn a_quick_commit_of_what_is_not_full_says_nothing() {
        let pace = Pace::new(AIM);
        pace.share(8);
        let before = pace.rows();
        for _ in 0..100 {
            // All of them together have many, and none has as many as it may.
            pace.committed(before * 3, before * 3 / 8, Duration::from_micros(200));
        }
        assert_eq!(pace.rows(), before);
    }

    #[test]
    fn where_epochs_are_ready_one_by_one_each_may_have_what_a_commit_may() {
        let pace = Pace::new(AIM);
        pace.share(8);
        let of_all = pace.of_all();
        for _ in 1..REMEMBERED {
            pace.ready(1);
            assert_eq!(pace.rows(), of_all / 8, "it may be by chance");
        }
        pace.ready(1);
        assert_eq!(pace.rows(), of_all);
        pace.ready(4);
        assert_eq!(pace.rows(), of_all / 4, "at once");
        pace.ready(1_000);
        assert_eq!(pace.rows(), of_all / 8, "no more than there are tasks");
    }

    #[test]
    fn what_fails_is_halved_down_to_one() {
        let pace = Pace::new(AIM);
        for _ in 0..20 {
            pace.failed(pace.rows());
        }
        assert_eq!(pace.rows(), 1);
    }
}
