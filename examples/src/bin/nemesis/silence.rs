//! For how long a pipeline has committed nothing though there was something to read.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::pipelines::Kind;
use crate::positions::{Positions, Reader};
use crate::traffic::Ends;

const LOOK_EVERY: Duration = Duration::from_millis(400);

type Of = (Kind, String, i32);

#[derive(Debug, Clone, Copy)]
struct Stand {
    next: i64,
    /// When it moved last, or had nothing to read.
    well: Instant,
}

#[derive(Debug)]
struct State {
    stands: BTreeMap<Of, Stand>,
    since: Instant,
    longest: (Duration, String),
}

/// Looks all the time.
#[derive(Debug)]
pub(crate) struct Silence {
    state: Arc<Mutex<State>>,
    looking: AbortHandle,
}

impl Silence {
    /// Begins to look.
    pub(crate) fn begin(mut reader: Reader, ends: Arc<Mutex<Ends>>) -> Self {
        let state = State {
            stands: BTreeMap::new(),
            since: Instant::now(),
            longest: (Duration::ZERO, String::new()),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let looking = tokio::spawn(async move {
            loop {
                let ends = ends.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let positions = reader.all().await;
                look(&shared, &ends, &positions);
                sleep(LOOK_EVERY).await;
            }
        });
        Self { state, looking: looking.abort_handle() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the longest silence is looked for anew.
    pub(crate) fn anew(&self) {
        let mut state = self.lock();
        (state.since, state.longest) = (Instant::now(), (Duration::ZERO, String::new()));
    }

    /// The longest silence since then, and whose it was.
    pub(crate) fn longest(&self) -> (Duration, String) {
        self.lock().longest.clone()
    }

    /// Who has neither moved nor been at the end since this moment.
    pub(crate) fn silent_since(&self, moment: Instant) -> Vec<String> {
        let state = self.lock();
        let silent = state.stands.iter().filter(|(_, stand)| stand.well < moment);
        silent
            .map(|((kind, topic, partition), _)| format!("{} at {topic}/{partition}", kind.name()))
            .collect()
    }
}

fn look(shared: &Mutex<State>, ends: &Ends, positions: &HashMap<Kind, Positions>) {
    let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
    for kind in Kind::ALL {
        state.look(kind, ends, positions.get(&kind));
    }
}

impl State {
    fn look(&mut self, kind: Kind, ends: &Ends, positions: Option<&Positions>) {
        let now = Instant::now();
        for topic in kind.pipeline().reads {
            for ((of, partition), end) in ends.iter().filter(|((of, _), _)| of == topic.name()) {
                let key = (of.clone(), *partition);
                let stand = self.stands.entry((kind, of.clone(), *partition));
                let stand = stand.or_insert(Stand { next: 0, well: now });
                if let Some(positions) = positions {
                    let next = positions.get(&key).copied().unwrap_or(0);
                    if next != stand.next || next >= *end {
                        *stand = Stand { next, well: now };
                    }
                }
                let silent = now.duration_since(stand.well.max(self.since));
                if silent > self.longest.0 {
                    self.longest = (silent, format!("{} {of}/{partition}", kind.name()));
                }
            }
        }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.looking.abort();
    }
}
