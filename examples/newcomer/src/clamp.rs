//! An operator without state: brings each value between two bounds.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use pin_project::pin_project;
use rtbflow::{Element, Elements, Flow};

use crate::Reading;

/// The method, as the library's own operators have one.
pub trait Clamp<S> {
    /// Brings each value between two bounds.
    fn clamp(self, lowest: i64, highest: i64) -> Flow<Clamped<S>>;
}

impl<S: Elements<Value = Reading>> Clamp<S> for Flow<S> {
    fn clamp(self, lowest: i64, highest: i64) -> Flow<Clamped<S>> {
        self.adapt("clamp", |stream| Clamped { stream, lowest, highest })
    }
}

/// The stream behind [`Clamp::clamp`].
#[derive(Debug)]
#[pin_project]
pub struct Clamped<S> {
    #[pin]
    stream: S,
    lowest: i64,
    highest: i64,
}

impl<S: Elements<Value = Reading>> Stream for Clamped<S> {
    type Item = Element<Reading>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        Poll::Ready(ready!(this.stream.poll_next(context)).map(|element| match element {
            Element::Record(mut record, watermark) => {
                record.value.value = record.value.value.clamp(*this.lowest, *this.highest);
                Element::Record(record, watermark)
            }
            // Watermarks and barriers pass, once and in order.
            other @ (Element::Watermark(_) | Element::Barrier(_)) => other,
        }))
    }
}

#[cfg(test)]
mod tests {
    use rtbflow::testing::{laws, run, values};

    use super::*;

    fn readings() -> [Reading; 3] {
        [-7, 0, 7].map(|value| Reading { sensor: 1, value })
    }

    #[test]
    fn keeps_the_laws_of_operators() {
        laws::operator(values(readings()), |flow| flow.clamp(-5, 5));
    }

    #[test]
    fn clamps() {
        let clamped =
            run(values(readings()), |flow| flow.clamp(-5, 5).map(|reading| reading.value));
        assert_eq!(clamped, [-5, 0, 5]);
    }
}
