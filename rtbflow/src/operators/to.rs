//! Ends a flow in a sink.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;

use crate::activity::Activity;
use crate::barrier::{Barrier, Class, Reject};
use crate::element::Element;
use crate::error::BadRecord;
use crate::flow::{Drain, Elements, End, Flow};
use crate::record::Record;
use crate::refused_result::RefusedResult;
use crate::sink::Sink;

impl<S: Elements> Flow<S> {
    /// Ends the flow in a sink, or in a tuple of sinks each of which takes every record.
    ///
    /// A record that the sink's place could never take becomes a dead letter. So does a result of many
    /// records, such as a window's: it goes whole to the dead-letter topic, at the position of the last
    /// record that was read before it, and is counted in
    /// [`Report::results_refused`](crate::job::Report::results_refused).
    pub fn to<K: Sink<S::Value>>(self, sink: K) -> End {
        let tip = self.tip.end(sink.places());
        tip.check([sink.validate()]);
        let (activity, operator) = (tip.activity(), tip.operator());
        let drain = Box::pin(Drained {
            stream: self.stream,
            sink,
            rejects: Vec::new(),
            refused: Vec::new(),
            activity,
            operator,
        });
        End { drain, tip }
    }
}

#[pin_project(project = DrainedProjection)]
struct Drained<S, K> {
    #[pin]
    stream: S,
    sink: K,
    rejects: Vec<(Reject, Class)>,
    refused: Vec<(RefusedResult, BadRecord)>,
    activity: Activity,
    /// What it is called in measurements.
    operator: Arc<str>,
}

impl<S: Elements, K: Sink<S::Value>> DrainedProjection<'_, S, K> {
    /// Writes a record, if its place can take it. Whether the epoch is full with it.
    #[inline]
    fn write(&mut self, record: &Record<S::Value>) -> bool {
        match self.sink.check(record) {
            Ok(()) => {
                self.sink.write(record);
                self.activity.add(1)
            }
            Err(reason) => {
                self.refuse(record, reason);
                false
            }
        }
    }

    /// Its place could never take a record: of a source it is a dead letter, of an operator a refused result.
    #[cold]
    fn refuse(&mut self, record: &Record<S::Value>, reason: BadRecord) {
        match record.origin {
            Some(origin) => self.rejects.push((Reject { origin, reason }, Class::DeadLettered)),
            None => {
                self.refused.push((self.sink.result(record), reason));
                self.activity.add(1);
            }
        }
    }

    /// An epoch ends: what the sink has taken is in it.
    fn stage(&mut self, barrier: Barrier) {
        barrier.gather_of(self.operator, |epoch| {
            self.sink.stage(&mut epoch.staged);
            epoch.reject(self.rejects.drain(..));
            epoch.refused.append(self.refused);
        });
        barrier.complete();
    }
}

impl<S: Elements, K: Sink<S::Value>> Drain for Drained<S, K> {
    fn poll_drain(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if this.activity.is_full() {
            this.activity.stop();
            return Poll::Pending;
        }
        loop {
            match ready!(this.stream.as_mut().poll_next(context)) {
                Some(Element::Record(record, _)) => {
                    if this.write(&record) {
                        // The task sends a barrier as soon as it may, and polls again.
                        this.activity.stop();
                        return Poll::Pending;
                    }
                }
                Some(Element::Watermark(_)) => {}
                Some(Element::Barrier(barrier)) => {
                    this.stage(barrier);
                    // What follows belongs to the next epoch, of which the task may not want as much as there is.
                    this.activity.stop();
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => return Poll::Ready(()),
            }
        }
    }
}
