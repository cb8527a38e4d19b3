//! One life of an instance: from its start to its crash, with the times when it was frozen.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use crate::testing::sim::Chance;
use crate::testing::sim::chance::Draw;
use crate::testing::sim::fault::FaultKind;

/// One life of an instance. Everything that the instance does to the world passes through it, so that
/// a dead one does nothing any more, and a frozen one nothing until it thaws.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) name: Arc<str>,
    pub(crate) chance: Chance,
    state: Arc<watch::Sender<State>>,
    /// Whether it has found everything there that it needs.
    prepared: Arc<AtomicBool>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Running,
    Frozen { until: Instant },
    Dead,
}

impl Life {
    /// What an instance is called in all its lives.
    pub(crate) fn of_instance(number: u32) -> String {
        format!("instance {number}")
    }

    pub(crate) fn new(name: String, chance: &Chance) -> Self {
        let state = Arc::new(watch::Sender::new(State::Running));
        Self { name: name.into(), chance: chance.clone(), state, prepared: Arc::default() }
    }

    /// It has found everything there that it needs.
    pub(crate) fn prepared(&self) {
        self.prepared.store(true, Ordering::Relaxed);
    }

    /// It reads, which it must not before it has looked for all that it needs.
    pub(crate) fn reads(&self) {
        if !self.prepared.load(Ordering::Relaxed) {
            self.chance.violated(format!("{} reads and has not looked at its place", self.name));
        }
    }

    /// A point at which the instance may be slow, freeze or crash.
    pub(crate) async fn pass(&self, what: &'static str) {
        self.stand().await;
        self.dawdle(what).await;
        self.stand().await;
        self.endanger(what);
        self.stand().await;
    }

    /// Takes its time: mostly none, sometimes a turn of the others, sometimes long.
    async fn dawdle(&self, what: &str) {
        let Some(mut delay) = self.chance.strikes(FaultKind::Delay, &self.name, what) else {
            return;
        };
        match delay.below(8) {
            0..4 => tokio::task::yield_now().await,
            4..7 => tokio::time::sleep(delay.millis(20)).await,
            _ => tokio::time::sleep(delay.millis(800)).await,
        }
    }

    /// Whether it fails here.
    pub(crate) fn fails(&self, what: &str) -> bool {
        self.chance.strikes(FaultKind::Error, &self.name, what).is_some()
    }

    /// What is decided about something that it does.
    pub(crate) fn draw(&self, what: &str) -> Draw {
        self.chance.of(&self.name, what)
    }

    /// As [`pass`](Self::pass), without waiting: what follows must [`stand`](Self::stand) first.
    ///
    /// A crash comes here, some turns of its tasks later, or some time later: so it may come wherever any of them
    /// waits.
    pub(crate) fn endanger(&self, what: &'static str) {
        if let Some(mut crash) = self.chance.strikes(FaultKind::Crash, &self.name, what) {
            self.chance.report(|| format!("{} crashes: {what}", self.name));
            self.crash(&mut crash);
        } else if let Some(mut freeze) = self.chance.strikes(FaultKind::Freeze, &self.name, what) {
            let most = freeze.pick([200, 2_000, 8_000]);
            let time = freeze.millis(most);
            self.chance.report(|| format!("{} freezes for {time:?}: {what}", self.name));
            self.freeze(time);
        }
    }

    /// It crashes now, some turns of its tasks later, or some time later.
    fn crash(&self, crash: &mut Draw) {
        let life = self.clone();
        match crash.below(4) {
            0 => {
                let turns = 1 + crash.below(40);
                drop(tokio::spawn(async move {
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                    life.die();
                }));
            }
            1 => {
                let time = crash.millis(100);
                drop(tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    life.die();
                }));
            }
            _ => self.die(),
        }
    }

    /// Goes on only when the instance is alive and not frozen.
    pub(crate) async fn stand(&self) {
        loop {
            let state = *self.state.borrow();
            match state {
                State::Running => return,
                State::Frozen { until } if until <= Instant::now() => return,
                State::Frozen { until } => tokio::time::sleep_until(until).await,
                State::Dead => pending().await,
            }
        }
    }

    pub(crate) fn freeze(&self, time: Duration) {
        self.state.send_modify(|state| {
            if !matches!(state, State::Dead) {
                *state = State::Frozen { until: Instant::now() + time };
            }
        });
    }

    /// It is gone; whatever is left of it stands still for ever.
    pub(crate) fn die(&self) {
        self.state.send_replace(State::Dead);
    }

    /// Waits for its death.
    pub(crate) async fn died(&self) {
        // The sender lives as long as this does, so waiting cannot fail.
        let _ = self.state.subscribe().wait_for(|state| matches!(state, State::Dead)).await;
    }
}
