//! The seed: every decision of a simulation comes from here, and is told afterwards.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

/// Lines that are kept of what happened.
const STORY_LINES: usize = 400;

/// Decides what happens in a simulation. Clones share the decisions.
///
/// It must be made within a tokio runtime, whose time its story tells.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<Dice>>);

struct Dice {
    random: Xoshiro256PlusPlus,
    began: Instant,
    weather: Weather,
    story: VecDeque<String>,
    violation: Option<String>,
}

/// How bad it gets: one in so many; never if 0.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    dawdle: u32,
    fault: u32,
    crash: u32,
    freeze: u32,
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chance({:?})", self.dice().weather)
    }
}

impl Chance {
    /// Decisions in which nothing goes wrong.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Dice {
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            began: Instant::now(),
            weather: Weather::default(),
            story: VecDeque::new(),
            violation: None,
        })))
    }

    /// Decisions in which everything goes wrong now and then, in a way that the seed decides as well.
    #[must_use]
    pub fn stormy(seed: u64) -> Self {
        let chance = Self::calm(seed);
        let weather = Weather {
            dawdle: chance.pick([2, 4, 20]),
            fault: chance.pick([0, 6, 20, 60]),
            crash: chance.pick([0, 20, 60, 200]),
            freeze: chance.pick([0, 30, 100, 300]),
        };
        chance.dice().weather = weather;
        chance.tell(|| format!("{weather:?}"));
        chance
    }

    fn dice(&self) -> MutexGuard<'_, Dice> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn calm_down(&self) {
        self.dice().weather = Weather::default();
    }

    /// Whether nothing goes wrong.
    pub(crate) fn is_calm(&self) -> bool {
        self.dice().weather.dawdle == 0
    }

    /// A number in this range, which must not be empty.
    #[must_use]
    pub fn between(&self, range: Range<u64>) -> u64 {
        self.dice().random.random_range(range)
    }

    /// An index below `count`, which must not be 0.
    #[must_use]
    pub fn below(&self, count: usize) -> usize {
        self.dice().random.random_range(0..count)
    }

    /// True once in so many times; never if that is 0.
    #[must_use]
    pub fn one_in(&self, times: u32) -> bool {
        times > 0 && self.dice().random.random_ratio(1, times)
    }

    /// One of these.
    #[must_use]
    pub fn pick<T, const N: usize>(&self, of: [T; N]) -> T
    where
        T: Copy,
    {
        let index = self.dice().random.random_range(0..N);
        #[expect(clippy::indexing_slicing, reason = "the index is below the array's length")]
        of[index]
    }

    /// A duration of up to so many milliseconds.
    #[must_use]
    pub fn millis(&self, most: u64) -> Duration {
        Duration::from_millis(self.between(0..most + 1))
    }

    pub(crate) fn faults(&self) -> bool {
        let times = self.dice().weather.fault;
        self.one_in(times)
    }

    pub(crate) fn crashes(&self) -> bool {
        let times = self.dice().weather.crash;
        self.one_in(times)
    }

    pub(crate) fn freezes(&self) -> bool {
        let times = self.dice().weather.freeze;
        self.one_in(times)
    }

    /// Takes its time: mostly none, sometimes a turn of the others, sometimes long.
    pub(crate) async fn dawdle(&self) {
        let times = self.dice().weather.dawdle;
        if !self.one_in(times) {
            return;
        }
        match self.below(8) {
            0..4 => tokio::task::yield_now().await,
            4..7 => tokio::time::sleep(self.millis(20)).await,
            _ => tokio::time::sleep(self.millis(800)).await,
        }
    }

    /// Writes down what happened.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        let mut dice = self.dice();
        let at = dice.began.elapsed().as_millis();
        if dice.story.len() == STORY_LINES {
            dice.story.pop_front();
        }
        let line = format!("{at:>8} ms  {}", what());
        dice.story.push_back(line);
    }

    /// Writes down what must not happen: the simulation fails with it.
    pub(crate) fn violated(&self, what: String) {
        self.dice().violation.get_or_insert(what);
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.dice().violation.clone()
    }

    /// What happened last, a line each.
    #[must_use]
    pub fn story(&self) -> String {
        let dice = self.dice();
        dice.story.iter().map(|line| format!("{line}\n")).collect()
    }
}
