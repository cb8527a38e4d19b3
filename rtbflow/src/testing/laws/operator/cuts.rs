//! Barriers between any two results, as a task sends them when enough waits in its sinks.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::passage::{Passage, StateLog, finished};
use crate::activity::Activity;
use crate::barrier::{Barrier, Gathering};
use crate::element::Element;
use crate::flow::{Elements, Flow};
use crate::testing::TestFlow;
use crate::testing::builders::at;
use crate::testing::drive::{Border, Inlet, ScriptedStream};

/// What came out in one epoch, and where it ends.
pub(super) struct CutEpoch<U> {
    pub(super) passage: Passage<U>,
    pub(super) end: Border,
    /// Whether nothing is left to be read or to come out.
    pub(super) is_last: bool,
}

/// One life of a pipeline, in which a barrier sets out after every few results.
pub(super) struct Life<S> {
    stream: Pin<Box<S>>,
    inlet: Inlet,
    activity: Activity,
    /// How many barriers were sent: the wall clock.
    sent: i64,
}

/// Whether something has woken the pipeline.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<S: Elements> Life<S> {
    /// Begins where an epoch ended, with the state of then.
    #[expect(clippy::panic, reason = "a law that is broken panics")]
    pub(super) fn begin<T>(
        pipeline: &impl Fn(TestFlow<T>) -> Flow<S>,
        elements: impl IntoIterator<Item = Element<T>>,
        (from, log): (Border, Option<StateLog>),
        most: usize,
    ) -> Self
    where
        T: Clone + Send + Unpin + 'static,
    {
        let inlet = Inlet::new(from);
        let script = ScriptedStream::through(elements.into_iter().skip(from.read), &inlet);
        let flow = Flow::from_elements(script);
        let activity = flow.tip.activity();
        activity.limit(most);
        inlet.obey(activity.clone());
        let flow = pipeline(flow);
        if let Err(error) = flow.topology() {
            panic!("{error}");
        }
        let stream = Box::pin(flow.into_elements());
        let mut life = Self { stream, inlet, activity, sent: 0 };
        if let Some(log) = log {
            let (barrier, gathering) = Barrier::restoring(at(0), log.chunks(), true);
            life.inlet.send(barrier);
            let (passage, _) = life.take(&mut Some(gathering));
            assert!(passage.records.is_empty(), "records came out before the state was there");
        }
        life
    }

    /// Takes what comes out until a barrier has: the gathering is then done. Whether the pipeline waits for
    /// more to read.
    #[expect(clippy::panic, reason = "a law that is broken panics")]
    fn take(&mut self, gathering: &mut Option<Gathering>) -> (Passage<S::Value>, bool) {
        let mut passage = Passage::new();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        loop {
            match self.stream.as_mut().poll_next(&mut context) {
                Poll::Ready(Some(element)) => {
                    let is_record = matches!(element, Element::Record(..));
                    let is_barrier = matches!(element, Element::Barrier(_));
                    passage.take(element);
                    if is_barrier && let Some(gathering) = gathering.take() {
                        passage.absorb(finished(gathering));
                        return (passage, false);
                    }
                    if is_record && self.activity.add(1) && gathering.is_none() {
                        *gathering = Some(self.send());
                    }
                }
                Poll::Ready(None) => panic!("the pipeline ended before its source did"),
                Poll::Pending if woken.0.swap(false, Ordering::Relaxed) => {}
                Poll::Pending if gathering.is_some() => panic!("the pipeline holds a barrier back"),
                Poll::Pending => return (passage, true),
            }
        }
    }

    fn send(&mut self) -> Gathering {
        self.sent += 1;
        let (barrier, gathering) = Barrier::new(at(self.sent));
        self.activity.send();
        self.inlet.send(barrier);
        gathering
    }

    /// The next epoch: it ends when enough has come out, or when nothing is left.
    pub(super) fn epoch(&mut self) -> CutEpoch<S::Value> {
        let mut gathering = None;
        let (mut passage, waits) = self.take(&mut gathering);
        if waits {
            let mut last = Some(self.send());
            let (rest, _) = self.take(&mut last);
            passage = passage.and(rest);
        }
        self.activity.passed();
        // An operator may want one more barrier at once.
        let is_last = waits && self.activity.wakes() > at(self.sent);
        CutEpoch { passage, end: self.inlet.border(), is_last }
    }

    /// Whether nothing comes out any more without another barrier: then the run has ended, and what would
    /// begin is another.
    pub(super) fn is_over(&mut self) -> bool {
        let epoch = self.epoch();
        epoch.is_last && epoch.passage.records.is_empty()
    }
}
