//! What cannot be, and was found all the same: an error, and nothing that follows from it is committed.
//!
//! Code that returns errors returns [`Error::broken`]. Operators, sinks and tables of state return none: they
//! [spoil the epoch](Error::spoil_epoch) and go on with whatever they have. A chain is polled on one thread and by
//! one caller, so the error waits in a slot of the thread until that poll returns (`End::poll_drain` looks into it
//! each time), and no function between has to hand it up.

use std::cell::Cell;
use std::panic::Location;

use crate::error::Error;

thread_local! {
    /// The first that was found since the chain of this thread was polled.
    static SPOILER: Cell<Option<Error>> = const { Cell::new(None) };
}

impl Error {
    /// Something was found that cannot be, whatever the input: `what` says which. For the branches that are there
    /// only because a type says less than the code around it knows. It is a permanent error, so that the job ends
    /// and commits nothing more; a build with debug assertions panics instead, so that tests find it where it is.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::{Error, Result};
    ///
    /// fn newest(versions: &[u64]) -> Result<u64> {
    ///     let newest = versions.iter().max().copied();
    ///     newest.ok_or_else(|| Error::broken("a key is kept that has no version"))
    /// }
    /// assert_eq!(newest(&[1, 3]).ok(), Some(3));
    /// ```
    #[cold]
    #[inline(never)]
    #[must_use]
    #[track_caller]
    pub fn broken(what: &str) -> Self {
        debug_assert!(false, "this cannot be: {what}");
        Self::impossible(what)
    }

    /// Hands over an error where none can be returned, such as in [`Logic`](crate::operators::Logic) or
    /// [`Sink::write`](crate::sink::Sink::write): the epoch that is under way, and all behind it, are not committed,
    /// and the task ends with this error. Has to be called by the code that is polled, not on a thread of its own.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::Error;
    ///
    /// fn forget(open: &mut Vec<i64>, end: i64) {
    ///     match open.binary_search(&end) {
    ///         Ok(at) => drop(open.remove(at)),
    ///         Err(_) => Error::broken("a window closes that is not open").spoil_epoch(),
    ///     }
    /// }
    /// let mut open = vec![10, 20];
    /// forget(&mut open, 10);
    /// assert_eq!(open, [20]);
    /// ```
    #[cold]
    #[inline(never)]
    pub fn spoil_epoch(self) {
        SPOILER.with(|spoiler| {
            let first = spoiler.take().unwrap_or(self);
            spoiler.set(Some(first));
        });
    }

    /// The error of a broken invariant, without the assertion.
    #[cold]
    #[track_caller]
    pub(crate) fn impossible(what: &str) -> Self {
        let at = Location::caller();
        Self::permanent(format!(
            "this cannot be: {what} ({}:{}). Nothing was committed that follows from it; please report it at {}/issues",
            at.file(),
            at.line(),
            env!("CARGO_PKG_REPOSITORY"),
        ))
    }
}

/// What was handed over since this was last asked, on this thread.
pub(crate) fn spoiler() -> Option<Error> {
    SPOILER.take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Chunk;
    use crate::epoch::Memory;
    use crate::error::{ErrorKind, Result};
    use crate::flow::{Elements, Flow};
    use crate::job::Job;
    use crate::operators::{Logic, Outbox, Snapshot};
    use crate::record::Record;
    use crate::source::MemorySource;
    use crate::testing::{run, values};

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "this cannot be: two ends"))]
    fn what_cannot_be_panics_where_it_is_debugged_and_is_an_error_elsewhere() {
        let error = Error::broken("two ends");
        assert_eq!(error.kind(), ErrorKind::Permanent);
    }

    #[test]
    fn the_error_says_what_was_found_and_where() {
        let text = Error::impossible("two ends").to_string();
        assert!(
            text.contains("this cannot be: two ends (") && text.contains("broken.rs:"),
            "{text}"
        );
        assert!(text.contains("/issues"), "{text}");
    }

    #[test]
    fn of_several_the_first_is_handed_over() {
        Error::impossible("one").spoil_epoch();
        Error::impossible("two").spoil_epoch();
        assert!(spoiler().is_some_and(|error| error.to_string().contains("one")));
        assert!(spoiler().is_none());
    }

    /// Passes all on, and finds at one value what cannot be: in a release build, or so it seems.
    struct Breaks(i32);

    impl Logic for Breaks {
        type In = i32;
        type Out = i32;
        const VERSION: u16 = 1;

        fn on_record(&mut self, record: Record<i32>, out: &mut Outbox<i32>) {
            if record.value == self.0 {
                Error::impossible("a three is none").spoil_epoch();
            }
            out.push(record);
        }

        fn snapshot(&mut self, _: &mut Snapshot) {}

        fn restore(&mut self, _: &Chunk) -> Result<()> {
            Ok(())
        }
    }

    fn breaks(numbers: Flow<impl Elements<Value = i32>>) -> Flow<impl Elements<Value = i32>> {
        numbers.logic("breaks", "breaks", Breaks(3))
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_committed_on_a_broken_invariant() {
        let place = Memory::new();
        let out = place.collected::<i32>();
        let (whole, spoilt) = (vec![1, 2], vec![3, 4]);
        let job = Job::new("breaks");
        let job = job.source(MemorySource::new("numbers", vec![[whole, spoilt].concat()]));
        let job = job.anchor(place.clone()).pipeline({
            let out = out.clone();
            move |numbers| breaks(numbers).to(out.sink())
        });
        let account = job.account();
        let error = job.run_until(std::future::pending()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(error.to_string().contains("a three is none"), "{error}");
        assert_eq!((account.report().commits, out.values()), (0, vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_does_not_pay_for_what_another_broke() {
        let job = |value: i32, name: &str| {
            let place = Memory::new();
            let out = place.collected::<i32>();
            let job = Job::new(name).until_end(true);
            let job = job.source(MemorySource::new("numbers", vec![vec![value]]));
            let job = job.anchor(place);
            let into = out.clone();
            (out, job.pipeline(move |numbers| breaks(numbers).to(into.sink())))
        };
        let (_, broken) = job(3, "broken");
        let (out, whole) = job(1, "whole");
        let (broken, whole) = futures::join!(
            broken.run_until(std::future::pending()),
            whole.run_until(std::future::pending())
        );
        assert!(broken.is_err() && whole.is_ok());
        assert_eq!(out.values(), [1]);
    }

    #[test]
    #[should_panic(expected = "a three is none")]
    fn the_test_kit_fails_as_well() {
        run(values([3]), breaks);
    }
}
