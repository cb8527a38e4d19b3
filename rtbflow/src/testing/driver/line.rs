//! The input of a driven pipeline: all that was sent, and how far it was read.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;

use crate::barrier::Barrier;
use crate::element::Element;
use crate::time::Timestamp;

/// The stream that a driven pipeline starts from.
pub struct Line<T>(Arc<Mutex<InputLog<T>>>);

/// What the driver puts in. Records and watermarks stay, to be read again after a crash.
pub(super) struct Input<T>(Arc<Mutex<InputLog<T>>>);

struct InputLog<T> {
    /// Records and watermarks.
    elements: Vec<Element<T>>,
    /// How many of them were read.
    read: usize,
    /// Passes before the next of them.
    barrier: Option<Barrier>,
    /// What held where reading begins, until it is passed.
    held: Option<Timestamp>,
}

fn lock<T>(log: &Mutex<InputLog<T>>) -> MutexGuard<'_, InputLog<T>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Default for Input<T> {
    fn default() -> Self {
        let log = InputLog { elements: Vec::new(), read: 0, barrier: None, held: None };
        Self(Arc::new(Mutex::new(log)))
    }
}

impl<T> Input<T> {
    /// The stream for one life of the pipeline.
    pub(super) fn line(&self) -> Line<T> {
        Line(Arc::clone(&self.0))
    }

    /// Puts an element behind all others.
    pub(super) fn put(&self, element: Element<T>) {
        let mut log = lock(&self.0);
        match element {
            Element::Barrier(barrier) => log.barrier = Some(barrier),
            element @ (Element::Record(..) | Element::Watermark(_)) => log.elements.push(element),
        }
    }

    /// Puts the barrier that brings the state back before everything.
    pub(super) fn put_first(&self, barrier: Barrier) {
        lock(&self.0).barrier = Some(barrier);
    }

    /// How many records were sent.
    pub(super) fn records(&self) -> i64 {
        let log = lock(&self.0);
        let records = log.elements.iter().filter(|element| matches!(element, Element::Record(..)));
        i64::try_from(records.count()).unwrap_or(i64::MAX)
    }

    /// The watermark that was sent last.
    pub(super) fn watermark(&self) -> Timestamp {
        highest(&lock(&self.0).elements)
    }

    /// How many elements were read.
    pub(super) fn passed(&self) -> usize {
        lock(&self.0).read
    }

    /// Goes back to where this many elements were read.
    pub(super) fn rewind(&self, passed: usize) {
        let mut log = lock(&self.0);
        log.read = passed;
        log.held = log.elements.get(..passed).map(highest);
    }
}

/// The highest of these watermarks.
fn highest<T>(elements: &[Element<T>]) -> Timestamp {
    let watermarks = elements.iter().filter_map(|element| match element {
        Element::Watermark(watermark) => Some(*watermark),
        Element::Record(..) | Element::Barrier(_) => None,
    });
    watermarks.max().unwrap_or(Timestamp::MIN)
}

impl<T> fmt::Debug for Line<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({} elements)", lock(&self.0).elements.len())
    }
}

impl<T: Clone> Stream for Line<T> {
    type Item = Element<T>;

    fn poll_next(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Element<T>>> {
        let mut log = lock(&self.0);
        // State first, then the watermark that held with it.
        if let Some(barrier) = log.barrier.take_if(|barrier| barrier.is_restoring()) {
            return Poll::Ready(Some(Element::Barrier(barrier)));
        }
        if let Some(held) = log.held.take().filter(|held| *held > Timestamp::MIN) {
            return Poll::Ready(Some(Element::Watermark(held)));
        }
        let read = log.read;
        if let Some(element) = log.elements.get(read).cloned() {
            log.read += 1;
            return Poll::Ready(Some(element));
        }
        match log.barrier.take() {
            Some(barrier) => Poll::Ready(Some(Element::Barrier(barrier))),
            None => Poll::Pending,
        }
    }
}
