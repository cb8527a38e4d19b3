//! Merges two flows of one pipeline.

use std::cmp::Ordering;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use pin_project::pin_project;

use crate::barrier::Barrier;
use crate::element::Element;
use crate::flow::{Elements, Flow};
use crate::time::Timestamp;

impl<S: Elements> Flow<S> {
    /// Merges this flow with another of the same pipeline, such as two branches of a
    /// [`split`](Self::split).
    ///
    /// For flows of two types take [`connect`](crate::KeyedFlow::connect), or map them to
    /// [`Either`](crate::Either). Topics that are read together come as one flow already.
    ///
    /// # Time and state
    /// The watermark is the lower of the two, and a barrier passes once it has come on both. Records come in
    /// the order of the watermarks that hold before them, those of one partition then in the order in which
    /// they were read: branches of one flow are merged as they were before they were split, whatever is at
    /// hand at a time, and what is late after it is what was late before.
    ///
    /// # Errors
    /// The pipeline is refused if the flows do not come from the same one.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// let merged = run(values([1, 2, 3]), |flow| {
    ///     let (odd, even) = flow.split_by(|n| n % 2 == 1);
    ///     odd.map(|n| n * 100).union(even)
    /// });
    /// assert_eq!(merged, [100, 2, 300]);
    /// ```
    pub fn union<S2>(self, other: Flow<S2>) -> Flow<impl Elements<Value = S::Value>>
    where
        S2: Elements<Value = S::Value>,
    {
        let tip = self.tip.join("union", &other.tip);
        Flow { stream: Union::new(self.stream, other.stream), tip }
    }
}

/// The stream behind [`Flow::union`].
#[pin_project]
pub(super) struct Union<A: Elements, B> {
    #[pin]
    left: A,
    #[pin]
    right: B,
    inputs: [Input<A::Value>; 2],
    /// The watermark that was passed on.
    watermark: Timestamp,
}

/// One of the two that are merged.
struct Input<T> {
    /// The next of it, if it is at hand.
    next: Option<Element<T>>,
    /// Its watermark.
    watermark: Timestamp,
    ended: bool,
}

impl<T> Input<T> {
    fn new() -> Self {
        Self { next: None, watermark: Timestamp::MIN, ended: false }
    }

    #[inline]
    fn fill<S>(&mut self, stream: Pin<&mut S>, context: &mut Context<'_>)
    where
        S: Stream<Item = Element<T>>,
    {
        if self.next.is_some() || self.ended {
            return;
        }
        if let Poll::Ready(next) = stream.poll_next(context) {
            self.ended = next.is_none();
            self.next = next;
        }
    }

    /// No watermark lower than this one comes from it any more.
    #[inline]
    fn reaches(&self) -> Timestamp {
        match &self.next {
            Some(Element::Record(_, watermark) | Element::Watermark(watermark)) => {
                self.watermark.max(*watermark)
            }
            None if self.ended => Timestamp::MAX,
            Some(Element::Barrier(_)) | None => self.watermark,
        }
    }

    /// Whether its next may go out: a barrier waits for the other's.
    #[inline]
    fn is_open(&self) -> bool {
        matches!(&self.next, Some(Element::Record(..) | Element::Watermark(_)))
    }

    /// Whether nothing of it goes out before the other's barrier.
    fn waits(&self) -> bool {
        self.ended || matches!(&self.next, Some(Element::Barrier(_)))
    }

    /// What waits for the other's barrier.
    fn take_barrier(&mut self) -> Option<Barrier> {
        match self.next.take() {
            Some(Element::Barrier(barrier)) => Some(barrier),
            other => {
                self.next = other;
                None
            }
        }
    }
}

/// Which of two comes first.
#[inline]
fn order<T>(left: &Input<T>, right: &Input<T>) -> Ordering {
    left.reaches().cmp(&right.reaches()).then_with(|| match (&left.next, &right.next) {
        (Some(Element::Record(left, _)), Some(Element::Record(right, _))) => {
            match (left.origin, right.origin) {
                (Some(left), Some(right)) if left.partition() == right.partition() => {
                    left.offset().cmp(&right.offset())
                }
                _ => Ordering::Equal,
            }
        }
        // What is behind the watermark may be of a lower offset.
        (Some(Element::Watermark(_)), Some(Element::Record(..))) => Ordering::Less,
        (Some(Element::Record(..)), Some(Element::Watermark(_))) => Ordering::Greater,
        _ => Ordering::Equal,
    })
}

impl<A: Elements, B> Union<A, B> {
    pub(super) fn new(left: A, right: B) -> Self {
        Self { left, right, inputs: [Input::new(), Input::new()], watermark: Timestamp::MIN }
    }
}

impl<A: Elements, B> fmt::Debug for Union<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Union")
    }
}

impl<A, B> Stream for Union<A, B>
where
    A: Elements,
    B: Elements<Value = A::Value>,
{
    type Item = Element<A::Value>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            let [left, right] = &mut *this.inputs;
            left.fill(this.left.as_mut(), context);
            right.fill(this.right.as_mut(), context);
            let Some(next) = first_of(left, right) else { break };
            // The other one's next is at hand as well, or nothing of it is: what goes out now is the lowest.
            next.watermark = next.reaches();
            let element = next.next.take();
            let watermark = left_and_right(this.inputs);
            match element {
                Some(Element::Record(record, _)) => {
                    *this.watermark = watermark.max(*this.watermark);
                    return Poll::Ready(Some(Element::Record(record, *this.watermark)));
                }
                Some(Element::Watermark(_)) if watermark > *this.watermark => {
                    *this.watermark = watermark;
                    return Poll::Ready(Some(Element::Watermark(watermark)));
                }
                _ => {}
            }
        }
        joined_barrier(this.inputs).map(|barrier| barrier.map(Element::Barrier))
    }
}

/// The one whose next goes out before the other's; none if neither's may.
#[inline]
fn first_of<'a, T>(left: &'a mut Input<T>, right: &'a mut Input<T>) -> Option<&'a mut Input<T>> {
    match (left.is_open(), right.is_open()) {
        (true, true) if order(left, right).is_le() => Some(left),
        (true, false) => Some(left),
        (_, true) => Some(right),
        (false, false) => None,
    }
}

/// The one barrier that stands for both, once each has come; none where both have ended.
fn joined_barrier<T>([left, right]: &mut [Input<T>; 2]) -> Poll<Option<Barrier>> {
    if !left.waits() || !right.waits() {
        return Poll::Pending;
    }
    Poll::Ready(match (left.take_barrier(), right.take_barrier()) {
        (Some(first), Some(second)) => {
            first.complete();
            Some(second)
        }
        // One has ended, and sends none any more.
        (one, other) => one.or(other),
    })
}

/// The watermark of both.
#[inline]
fn left_and_right<T>([left, right]: &[Input<T>; 2]) -> Timestamp {
    left.reaches().min(right.reaches())
}

#[cfg(test)]
mod tests {
    use crate::testing::{elements, timed};

    #[test]
    fn merges_branches_as_they_were() {
        let input = || timed([(1, 10), (2, 30), (3, 20), (4, 40), (5, 40)]);
        let merged = elements(input(), |flow| {
            let (odd, even) = flow.split_by(|n| n % 2 == 1);
            odd.union(even)
        });
        assert_eq!(merged, elements(input(), |flow| flow));
    }

    #[test]
    fn flows_of_two_pipelines_are_refused() {
        use crate::flow::Flow;
        let flow = || Flow::from_elements(futures::stream::empty::<crate::Element<u8>>());
        assert!(flow().union(flow()).topology().unwrap_err().is_config());
    }
}
