//! Makes any number of records of each.

use crate::element::Element;
use crate::flow::{Elements, Flow};
use crate::operators::stateless::{Outcome, StatelessStep};
use crate::record::{Origin, Record};
use crate::time::Timestamp;

impl<S: Elements> Flow<S> {
    /// Makes any number of records of each, with its timestamp and origin.
    ///
    /// A record of which none is made is accounted for as *filtered*; one of which any are made has been
    /// used, and what becomes of them is not accounted for again.
    ///
    /// # Time and state
    /// None: it holds the values made of one record. They stay together: all that is made of one record is
    /// committed in one epoch, so that one record should not become more rows than the place takes at once.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// let letters = run(values(["ab", "", "c"]), |flow| flow.flat_map(|text: &str| text.chars().collect::<Vec<_>>()));
    /// assert_eq!(letters, ['a', 'b', 'c']);
    /// ```
    pub fn flat_map<I, F>(self, f: F) -> Flow<impl Elements<Value = I::Item>>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        I::IntoIter: Send + 'static,
        F: FnMut(S::Value) -> I + Send + 'static,
    {
        self.step("flat_map", FlatMap::new(f))
    }
}

pub(super) struct FlatMap<F, I> {
    f: F,
    made: Option<Made<I>>,
}

impl<F, I> FlatMap<F, I> {
    pub(super) fn new(f: F) -> Self {
        Self { f, made: None }
    }
}

/// What is left of what was made of one record.
struct Made<I> {
    values: I,
    timestamp: Timestamp,
    origin: Option<Origin>,
    watermark: Timestamp,
}

impl<I: Iterator> Iterator for Made<I> {
    type Item = Record<I::Item>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let value = self.values.next()?;
        Some(Record { value, timestamp: self.timestamp, origin: self.origin })
    }
}

impl<V, I, F> StatelessStep<V> for FlatMap<F, I::IntoIter>
where
    I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static>,
    F: FnMut(V) -> I + Send + 'static,
{
    type Out = I::Item;

    #[inline]
    fn step(&mut self, record: Record<V>, watermark: Timestamp) -> Outcome<I::Item> {
        let Record { value, timestamp, origin } = record;
        let values = (self.f)(value).into_iter();
        let mut made = Made { values, timestamp, origin: origin.map(Origin::shared), watermark };
        // Nothing was made of it.
        let Some(first) = made.next() else { return Outcome::Filtered };
        self.made = Some(made);
        Outcome::Emitted(first)
    }

    #[inline]
    fn rest(&mut self) -> Option<Element<I::Item>> {
        let made = self.made.as_mut()?;
        let next = made.next().map(|record| Element::Record(record, made.watermark));
        if next.is_none() {
            self.made = None;
        }
        next
    }
}
