//! The pipeline under a driver: built once for each of its lives, and polled until it waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::barrier::{Gathered, Gathering};
use crate::flow::{End, Flow};
use crate::testing::driver::line::{Input, Line};
use crate::testing::driver::outputs::Outputs;
use crate::topology::Tip;

/// How often a pipeline is polled that says itself that it can go on.
const MOST_POLLS: usize = 10_000;

/// Tells whether a pipeline that waits has said that it can go on.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Builds the pipeline once.
#[expect(clippy::panic, reason = "the test kit fails as assertions do")]
#[track_caller]
pub(super) fn build<T: Clone + Send + Unpin + 'static>(
    pipeline: &dyn Fn(Flow<Line<T>>, &Outputs) -> End,
    input: &Input<T>,
    outputs: &Outputs,
) -> End {
    let flow = Flow { stream: input.line(), tip: Tip::source(&["test".into()]) };
    let end = pipeline(flow, outputs);
    let places = match end.tip.finish().fits() {
        Ok((_, places)) => places,
        Err(error) => panic!("{error}"),
    };
    for place in places {
        let kind = place.kind();
        assert!(
            outputs.has(place),
            "a sink writes to {kind}; end the flow in `outputs.sink(name)`"
        );
    }
    end
}

/// What came with a barrier.
#[expect(clippy::panic, reason = "the test kit fails as assertions do")]
#[track_caller]
pub(super) fn gathered(gathering: Gathering) -> Gathered {
    match gathering.finish() {
        Ok(Ok(gathered)) => gathered,
        Ok(Err(_)) => panic!("a barrier did not come out: an operator waits for something"),
        Err(error) => panic!("{}", error.report()),
    }
}

/// Lets the pipeline take what was put in.
#[expect(clippy::panic, reason = "the test kit fails as assertions do")]
#[track_caller]
pub(super) fn poll(end: &mut End) {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    for _ in 0..MOST_POLLS {
        match end.poll_drain(&mut context) {
            Poll::Ready(Ok(())) => panic!("an operator ended the flow before its source did"),
            Poll::Ready(Err(error)) => panic!("{}", error.report()),
            Poll::Pending if woken.0.swap(false, Ordering::Relaxed) => {}
            Poll::Pending => return,
        }
    }
    panic!("the pipeline says that it can go on, and does not");
}
