//! The laws of operators: what passes through them, and what a restart may not change.

mod cuts;
mod passage;

use std::collections::BTreeSet;
use std::fmt::Debug;

use crate::barrier::Tally;
use crate::element::Element;
use crate::flow::{Elements, Flow};
use crate::record::Record;
use crate::testing::TestFlow;
use crate::testing::drive::Border;
use crate::testing::laws::law_now;
use crate::time::Timestamp;

use cuts::Life;
use passage::{Passage, StateLog, Stimulus, pass};

/// Checks that a pipeline of operators keeps the laws, with these elements as its input and the end of
/// all time after them: records come out the same, whatever barriers, pauses and restarts lie between.
///
/// The input holds records and watermarks, as [`timed`](crate::testing::timed) makes them; some hundred
/// elements are enough, since every restart is tried after each of them.
///
/// ```
/// use rtbflow::testing::{laws, values};
///
/// laws::operator(values([1, 2, 3]), |flow| flow.filter(|n| *n > 1).map(|n| n * 2));
/// ```
///
/// # Panics
/// If a law is broken; stderr says which.
pub fn operator<T, S>(input: Vec<Element<T>>, pipeline: impl Fn(TestFlow<T>) -> Flow<S>)
where
    T: Clone + Send + Unpin + 'static,
    S: Elements<Value: Debug>,
{
    let written = |record: &Record<S::Value>| format!("{:?}@{}", record.value, record.timestamp);
    operator_with(input, pipeline, |records| {
        let mut all: Vec<String> = records.iter().map(written).collect();
        all.sort_unstable();
        all
    });
}

/// As [`operator`], for operators that emit something at each barrier, such as partial sums: only
/// what `meaning` makes of all the records must be the same.
///
/// ```
/// use rtbflow::testing::{laws, values};
///
/// laws::operator_with(
///     values([1, 2, 3]),
///     |flow| flow.key_by(|_| ()).combine(|sum, next| *sum += next),
///     |sums| sums.iter().map(|record| record.value).sum::<i32>(),
/// );
/// ```
///
/// # Panics
/// If a law is broken; stderr says which.
pub fn operator_with<T, S, M>(
    input: Vec<Element<T>>,
    pipeline: impl Fn(TestFlow<T>) -> Flow<S>,
    meaning: impl Fn(&[Record<S::Value>]) -> M,
) where
    T: Clone + Send + Unpin + 'static,
    S: Elements,
    M: PartialEq + Debug,
{
    let under_test = UnderTest { input, pipeline, meaning };
    law_now("barriers leave once and in order, and every record belongs to an epoch", || {
        under_test.barriers();
    });
    law_now("watermarks never fall, and the last one arrives once", || under_test.watermarks());
    law_now("what comes out does not depend on where epochs end", || under_test.borders());
    law_now("what comes out does not depend on pauses", || under_test.pauses());
    law_now("a restart after any element changes nothing", || under_test.restarts());
    law_now("a barrier between any two results changes nothing", || under_test.cuts());
    law_now("a restart between any two results changes nothing", || under_test.cut_restarts());
}

struct UnderTest<T, P, F> {
    input: Vec<Element<T>>,
    pipeline: P,
    meaning: F,
}

impl<T, S, P, F, M> UnderTest<T, P, F>
where
    T: Clone + Send + Unpin + 'static,
    S: Elements,
    P: Fn(TestFlow<T>) -> Flow<S>,
    F: Fn(&[Record<S::Value>]) -> M,
    M: PartialEq + Debug,
{
    fn pass(&self, steps: Vec<Stimulus<T>>) -> Passage<S::Value> {
        pass(&self.pipeline, steps)
    }

    /// The input up to an element, with a barrier each time that `every` of them have passed, and one at the
    /// end.
    fn first(&self, count: usize, every: usize) -> Vec<Stimulus<T>> {
        self.steps(0, count, every)
    }

    fn steps(&self, from: usize, to: usize, every: usize) -> Vec<Stimulus<T>> {
        let mut steps = Vec::new();
        for (number, element) in (1..).zip(self.input.iter().take(to).skip(from)) {
            steps.push(Stimulus::Element(element.clone()));
            if number % every == 0 {
                steps.push(Stimulus::Barrier);
            }
        }
        steps.push(Stimulus::Barrier);
        steps
    }

    /// The rest of the input and the end of all time.
    fn rest(&self, from: usize, every: usize) -> Vec<Stimulus<T>> {
        let mut steps = self.steps(from, self.input.len(), every);
        steps.extend([Stimulus::Element(Element::Watermark(Timestamp::MAX)), Stimulus::Barrier]);
        steps
    }

    fn meaning_of(&self, passage: &Passage<S::Value>) -> (M, Tally, BTreeSet<String>) {
        let rejects = passage.rejects.iter().map(|reject| format!("{reject:?}"));
        ((self.meaning)(&passage.records), passage.tally, rejects.collect())
    }

    fn whole(&self) -> (M, Tally, BTreeSet<String>) {
        self.meaning_of(&self.pass(self.rest(0, usize::MAX)))
    }

    fn barriers(&self) {
        for every in [1, 2, 7] {
            let steps = self.rest(0, every);
            let sent = steps.iter().filter(|step| matches!(step, Stimulus::Barrier)).count();
            let passage = self.pass(steps);
            assert_eq!(passage.barriers, (0..sent).collect::<Vec<_>>(), "barriers by their number");
        }
    }

    fn watermarks(&self) {
        for every in [1, usize::MAX] {
            let passage = self.pass(self.rest(0, every));
            let rising = passage.watermarks.windows(2).all(|two| two.first() < two.last());
            assert!(rising, "watermarks do not rise: {:?}", passage.watermarks);
            assert!(passage.before.is_sorted(), "watermarks fall: {:?}", passage.before);
            assert_eq!(passage.watermarks.last(), Some(&Timestamp::MAX), "the end of all time");
        }
    }

    fn borders(&self) {
        let whole = self.whole();
        for every in [1, 2, 3, 7] {
            let passage = self.pass(self.rest(0, every));
            assert_eq!(self.meaning_of(&passage), whole, "a barrier after every {every} elements");
        }
    }

    fn pauses(&self) {
        let whole = self.whole();
        for every in [3, usize::MAX] {
            let steps = self.rest(0, every).into_iter();
            let steps = steps.flat_map(|step| [Stimulus::Pause, step, Stimulus::Pause]).collect();
            assert_eq!(self.meaning_of(&self.pass(steps)), whole, "a pause after every element");
        }
    }

    fn restarts(&self) {
        let whole = self.whole();
        for count in 0..=self.input.len() {
            for (every, page) in [(usize::MAX, usize::MAX), (1, 1), (3, usize::MAX)] {
                let before = self.pass(self.first(count, every));
                let mut log = StateLog::default();
                before.chunks.iter().for_each(|chunk| log.apply(chunk));
                let mut steps = log.pages(page);
                // As a job does, which knows it from the positions.
                steps.extend(self.watermark_after(count).map(Stimulus::Element));
                steps.extend(self.rest(count, every));
                let both = before.and(self.pass(steps));
                assert_eq!(
                    self.meaning_of(&both),
                    whole,
                    "a restart after {count} elements, a barrier after every {every}"
                );
            }
        }
    }

    /// A life that begins where an epoch ended, with a barrier after every `most` results.
    fn life(&self, from: (Border, Option<StateLog>), most: usize) -> Life<S> {
        let end = Element::Watermark(Timestamp::MAX);
        let elements = self.input.iter().cloned().chain([end]);
        Life::begin(&self.pipeline, elements, from, most)
    }

    fn cuts(&self) {
        let whole = self.whole();
        for most in [1, 2, 3, 7] {
            let mut life = self.life((Border::BEGINNING, None), most);
            let (mut passage, mut is_last) = (Passage::new(), false);
            while !is_last {
                let epoch = life.epoch();
                (passage, is_last) = (passage.and(epoch.passage), epoch.is_last);
            }
            assert_eq!(self.meaning_of(&passage), whole, "a barrier after every {most} results");
        }
    }

    /// Each epoch is that of another life.
    fn cut_restarts(&self) {
        let whole = self.whole();
        for most in [1, 2, 3, 7] {
            let (mut passage, mut log) = (Passage::new(), StateLog::default());
            let (mut from, mut is_last) = (Border::BEGINNING, false);
            while !is_last {
                let mut life = self.life((from, Some(log.clone())), most);
                let epoch = life.epoch();
                is_last = epoch.is_last || (from.read == self.input.len() && life.is_over());
                epoch.passage.chunks.iter().for_each(|chunk| log.apply(chunk));
                from = epoch.end;
                passage = passage.and(epoch.passage);
            }
            assert_eq!(
                self.meaning_of(&passage),
                whole,
                "a barrier after every {most} results, and a restart after each"
            );
        }
    }

    fn watermark_after(&self, count: usize) -> Option<Element<T>> {
        let watermarks = self.input.iter().take(count).map(|element| match element {
            Element::Record(_, watermark) | Element::Watermark(watermark) => *watermark,
            Element::Barrier(_) => Timestamp::MIN,
        });
        let highest = watermarks.max().filter(|highest| *highest > Timestamp::MIN);
        highest.map(Element::Watermark)
    }
}
