//! Ends a flow in a sink.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;

use crate::activity::Activity;
use crate::barrier::{Class, Reject};
use crate::element::Element;
use crate::error::BadRecord;
use crate::flow::{Drain, Elements, End, Flow};
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

#[pin_project]
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

impl<S: Elements, K: Sink<S::Value>> Drain for Drained<S, K> {
    fn poll_drain(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if this.activity.is_full() {
            this.activity.stop();
            return Poll::Pending;
        }
        loop {
            match ready!(this.stream.as_mut().poll_next(context)) {
                Some(Element::Record(record, _)) => match this.sink.check(&record) {
                    Ok(()) => {
                        this.sink.write(&record);
                        if this.activity.add(1) {
                            // The task sends a barrier as soon as it may, and polls again.
                            this.activity.stop();
                            return Poll::Pending;
                        }
                    }
                    Err(reason) => match record.origin {
                        Some(origin) => {
                            this.rejects.push((Reject { origin, reason }, Class::DeadLettered));
                        }
                        None => {
                            this.refused.push((this.sink.result(&record), reason));
                            this.activity.add(1);
                        }
                    },
                },
                Some(Element::Watermark(_)) => {}
                Some(Element::Barrier(barrier)) => {
                    barrier.gather_of(this.operator, |epoch| {
                        this.sink.stage(&mut epoch.staged);
                        epoch.reject(this.rejects.drain(..));
                        epoch.refused.append(this.refused);
                    });
                    barrier.complete();
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
