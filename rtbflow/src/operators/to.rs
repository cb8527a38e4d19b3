//! Ends a flow in a sink.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;

use crate::barrier::{Class, Reject};
use crate::element::Element;
use crate::flow::{Drain, Elements, End, Flow};
use crate::sink::Sink;
use crate::topology::Activity;

impl<S: Elements> Flow<S> {
    /// Ends the flow in a sink, or in a tuple of sinks each of which takes every record.
    ///
    /// A record that the sink's place could never take becomes a dead letter. A result of many records,
    /// such as a window's, was read nowhere and can not: it is dropped, and an error is logged.
    pub fn to<K: Sink<S::Value>>(self, sink: K) -> End {
        let tip = self.tip.end(sink.places());
        let activity = tip.activity();
        let drain = Box::pin(Drained { stream: self.stream, sink, rejects: Vec::new(), activity });
        End { drain, tip }
    }
}

#[pin_project]
struct Drained<S, K> {
    #[pin]
    stream: S,
    sink: K,
    rejects: Vec<(Reject, Class)>,
    activity: Activity,
}

impl<S: Elements, K: Sink<S::Value>> Drain for Drained<S, K> {
    fn poll_drain(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            match ready!(this.stream.as_mut().poll_next(context)) {
                Some(Element::Record(record, _)) => match this.sink.check(&record) {
                    Ok(()) => {
                        this.sink.write(&record);
                        this.activity.add(1);
                    }
                    Err(reason) => match record.origin {
                        Some(origin) => {
                            this.rejects.push((Reject { origin, reason }, Class::DeadLettered));
                        }
                        None => {
                            let at = record.timestamp;
                            tracing::error!(%reason, %at, "a result can not be written: it is dropped");
                        }
                    },
                },
                Some(Element::Watermark(_)) => {}
                Some(Element::Barrier(barrier)) => {
                    barrier.gather(|epoch| {
                        this.sink.stage(&mut epoch.staged);
                        epoch.reject(this.rejects.drain(..));
                    });
                    barrier.complete();
                }
                None => return Poll::Ready(()),
            }
        }
    }
}
