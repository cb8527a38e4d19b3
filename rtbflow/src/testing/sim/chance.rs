//! The seed: every decision of a simulation comes from here, and is reported afterwards.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use crate::testing::sim::fault::{Fault, FaultKind};

/// Lines that are kept of what happened.
const STORY_LINES: usize = 400;

/// Decides what happens in a simulation. Clones share the decisions.
///
/// What a scenario asks for ([`between`](Self::between), [`pick`](Self::pick) and so on) is drawn one
/// after another. What happens *to* it is decided by seed, place and number alone: "the third commit of
/// instance 1.0 fails" holds whatever else happens, so that a failure can be reduced to the faults that it
/// takes.
///
/// It must be made within a tokio runtime, whose time its story tells.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<Dice>>);

struct Dice {
    seed: u64,
    random: Xoshiro256PlusPlus,
    began: Instant,
    weather: Weather,
    /// How often each thing was decided, by the hash of its name.
    decided: HashMap<u64, u64, foldhash::fast::FixedState>,
    /// The faults that may happen; all of them if `None`.
    only: Option<Arc<BTreeSet<String>>>,
    faults: Vec<Fault>,
    /// Whether anybody wants to hear what happens.
    tells: bool,
    story: VecDeque<String>,
    violation: Option<String>,
}

/// How bad it gets: each kind strikes one time in this many; never if 0.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    delay: u32,
    error: u32,
    crash: u32,
    freeze: u32,
}

impl Weather {
    /// One time in this many, for a kind; `None` where whoever asks says it.
    fn of(self, kind: FaultKind) -> Option<u32> {
        match kind {
            FaultKind::Delay => Some(self.delay),
            FaultKind::Error => Some(self.error),
            FaultKind::Crash => Some(self.crash),
            FaultKind::Freeze => Some(self.freeze),
            FaultKind::Rebalance
            | FaultKind::Stop
            | FaultKind::Instance
            | FaultKind::Log
            | FaultKind::Past
            | FaultKind::Clock => None,
        }
    }
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
            seed,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            began: Instant::now(),
            weather: Weather::default(),
            decided: HashMap::default(),
            only: None,
            faults: Vec::new(),
            tells: true,
            story: VecDeque::new(),
            violation: None,
        })))
    }

    /// Decisions in which everything goes wrong now and then, in a way that the seed decides as well.
    #[must_use]
    pub fn stormy(seed: u64) -> Self {
        let chance = Self::calm(seed);
        let weather = Weather {
            delay: chance.pick([2, 4, 20]),
            error: chance.pick([0, 6, 20, 60]),
            crash: chance.pick([0, 20, 60, 200]),
            freeze: chance.pick([0, 30, 100, 300]),
        };
        chance.dice().weather = weather;
        chance.report(|| format!("{weather:?}"));
        chance
    }

    /// The same storm, but with these faults only, by their [names](Fault::name).
    pub(crate) fn only(seed: u64, faults: Arc<BTreeSet<String>>) -> Self {
        let chance = Self::stormy(seed);
        chance.dice().only = Some(faults);
        chance
    }

    /// The same, but nobody hears what happens: most of what a run costs is to tell it.
    pub(crate) fn untold(self) -> Self {
        self.dice().tells = false;
        self
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
        self.dice().weather.delay == 0
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

    /// True once in this many times; never if that is 0.
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

    /// A duration of up to this many milliseconds.
    #[must_use]
    pub fn millis(&self, most: u64) -> Duration {
        Duration::from_millis(self.between(0..most + 1))
    }

    /// What is decided about `what` of `who`: other decisions in between change nothing.
    pub(crate) fn of(&self, who: &str, what: &str) -> Draw {
        self.dice().draw(&[who, " ", what]).1
    }

    /// Whether this happens to `who` now; `None` if it does not.
    pub(crate) fn strikes(&self, kind: FaultKind, who: &str, what: &str) -> Option<Draw> {
        self.strikes_less(1, kind, who, what)
    }

    /// As [`strikes`](Self::strikes), but this many times less often.
    pub(crate) fn strikes_less(
        &self,
        less: u32,
        kind: FaultKind,
        who: &str,
        what: &str,
    ) -> Option<Draw> {
        let times = self.dice().weather.of(kind).unwrap_or(0);
        self.strikes_one_in(times * less, kind, who, what)
    }

    /// As [`strikes`](Self::strikes), once in this many times; never when it is calm.
    pub(crate) fn strikes_one_in(
        &self,
        times: u32,
        kind: FaultKind,
        who: &str,
        what: &str,
    ) -> Option<Draw> {
        let mut dice = self.dice();
        if times == 0 || dice.weather.delay == 0 {
            return None;
        }
        let place = [who, " ", kind.verb(), ": ", what];
        let (number, mut draw) = dice.draw(&place);
        if draw.below(times as usize) > 0 {
            return None;
        }
        let name = format!("{} (time {number})", place.concat());
        if dice.only.as_ref().is_some_and(|only| !only.contains(&name)) {
            return None;
        }
        let at = dice.began.elapsed();
        dice.faults.push(Fault { kind, name, at });
        Some(draw)
    }

    /// Whether anything of these kinds has gone wrong.
    pub(crate) fn has_struck<const N: usize>(&self, kinds: [FaultKind; N]) -> bool {
        self.dice().faults.iter().any(|fault| kinds.contains(&fault.kind))
    }

    /// What has gone wrong.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        self.dice().faults.clone()
    }

    /// Reports what happened: a line of the story that a failure shows.
    pub fn report(&self, what: impl FnOnce() -> String) {
        let mut dice = self.dice();
        if !dice.tells {
            return;
        }
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

impl Dice {
    /// The next decision about something, and how many there were.
    fn draw(&mut self, place: &[&str]) -> (u64, Draw) {
        // FNV-1a, whose bits the generator behind it mixes.
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let bytes = place.iter().flat_map(|part| part.bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325 ^ self.seed, fold);
        let number = self.decided.entry(hash).or_default();
        *number += 1;
        let number = *number;
        let random = Xoshiro256PlusPlus::seed_from_u64(hash.wrapping_add(number << 40));
        (number, Draw(random))
    }
}

/// Numbers for one decision.
pub(crate) struct Draw(Xoshiro256PlusPlus);

impl Draw {
    /// An index below `count`, which must not be 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub(crate) fn pick<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        let index = self.below(N);
        #[expect(clippy::indexing_slicing, reason = "the index is below the array's length")]
        of[index]
    }

    /// A duration of up to this many milliseconds.
    pub(crate) fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.0.random_range(0..most + 1))
    }
}
