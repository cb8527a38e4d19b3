//! What becomes of the records of one key in one window.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{BadRecord, Error, Result};
use crate::record::Record;
use crate::state::short_name;

/// Turns the records of one key in one window into a result.
///
/// What it makes must depend on nothing but the records: a restart repeats it. To use several at once,
/// take a tuple. For one of your own, [`Fold`] and [`Reduce`] take closures.
///
/// # Time and state
/// Its state is kept for each key and window, or part of one that windows share, and for as long as the
/// windows say; it is written to the place whenever it has changed.
pub trait Aggregate<T>: Send + 'static {
    /// What is kept for a key and window.
    type State: Serialize + DeserializeOwned + Send + 'static;
    /// What is emitted.
    type Output: Send + 'static;

    /// The state before the first record.
    fn empty(&self) -> Self::State;

    /// Adds a record.
    fn add(&self, state: &mut Self::State, record: &Record<T>);

    /// The result of what was added so far.
    fn output(&self, state: &Self::State) -> Self::Output;

    /// Whether what was added so far has a result: asked before each [`output`](Self::output).
    ///
    /// # Errors
    /// If it has none, such as a sum beyond its type. Then a dead letter takes the result's place, with key,
    /// window and state, and is counted in [`Report::results_refused`](crate::job::Report::results_refused).
    #[inline]
    fn check(&self, state: &Self::State) -> Result<(), BadRecord> {
        let _ = state;
        Ok(())
    }

    /// Whether it can be used: asked as the pipeline is drawn. It can, unless overridden.
    ///
    /// # Errors
    /// A configuration error that says what is wrong: the job does not start, and reports it with whatever else
    /// is.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// What it makes of the records, in a word or two: state that another aggregate has stored is refused, also
    /// where it is of the same type. The name of the type, unless an aggregate says otherwise; one whose type
    /// gets another name, and whose stored state is to be read on, says the former.
    fn describe(&self) -> String {
        short_name::<Self>().to_owned()
    }
}

/// An aggregate whose states can be merged, as those of windows that share parts must be: sliding windows,
/// sessions and count windows that slide.
///
/// What comes out must be the same whether records were added to one state, or to several that were then
/// merged in order of time.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot merge two of its states",
    label = "these windows merge states: sliding windows, sessions, and count windows that slide",
    note = "implement `Merge` for it, give a `Fold` its `merging` function, or take `Tumbling` windows"
)]
pub trait Merge<T>: Aggregate<T> {
    /// Whether [`remove`](Self::remove) takes out again exactly what was merged: then a sliding window
    /// keeps one running state per key instead of two stacks.
    const INVERTIBLE: bool = false;

    /// Merges a state of later records into one of earlier records.
    fn merge(&self, into: &mut Self::State, later: &Self::State);

    /// Takes a part out again that was merged. Called only if it is [`INVERTIBLE`](Self::INVERTIBLE).
    fn remove(&self, from: &mut Self::State, part: &Self::State) {
        let _ = (from, part);
    }
}

/// Counts records: one number per key and window. To count different things take
/// [`Distinct`](super::Distinct).
#[derive(Debug, Clone, Copy, Default)]
pub struct Count;

impl<T> Aggregate<T> for Count {
    type State = u64;
    type Output = u64;

    fn empty(&self) -> u64 {
        0
    }

    fn add(&self, state: &mut u64, _record: &Record<T>) {
        *state += 1;
    }

    fn output(&self, state: &u64) -> u64 {
        *state
    }

    fn describe(&self) -> String {
        "count".into()
    }
}

/// A count without that of a part of it.
#[inline]
pub(super) fn less(count: u64, part: u64) -> u64 {
    count.checked_sub(part).unwrap_or_else(|| {
        Error::broken("more records leave a window than are in it").spoil_epoch();
        0
    })
}

impl<T> Merge<T> for Count {
    const INVERTIBLE: bool = true;

    fn merge(&self, into: &mut u64, later: &u64) {
        *into += later;
    }

    fn remove(&self, from: &mut u64, part: &u64) {
        *from = less(*from, *part);
    }
}

/// Folds records into a state that starts from its default and is emitted as it is: whatever the function
/// makes of it is kept, and written anew in each epoch in which it changed. To end in a value of the
/// records' own type, take [`Reduce`].
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::window::{Fold, Late, Tumbling};
/// use rtbflow::testing::{run, values};
///
/// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
/// let found = run(values([3, 1, 2]), |flow| {
///     flow.key_by(|_| ()).window(hours).aggregate("found", Fold::new(|list: &mut Vec<i32>, n: &i32| list.push(*n)))
/// });
/// assert_eq!(found[0].value, [3, 1, 2]);
/// ```
pub struct Fold<A, F, M = ()> {
    add: F,
    merge: M,
    state: PhantomData<fn() -> A>,
}

impl<A, F> Fold<A, F> {
    /// Folds with this function.
    #[must_use]
    pub fn new<T>(add: F) -> Self
    where
        F: Fn(&mut A, &T) + Send + 'static,
    {
        Self { add, merge: (), state: PhantomData }
    }

    /// Merges two states with this function, the later into the earlier: what sliding windows and
    /// sessions need.
    #[must_use]
    pub fn merging<M>(self, merge: M) -> Fold<A, F, M>
    where
        M: Fn(&mut A, &A) + Send + 'static,
    {
        Fold { add: self.add, merge, state: PhantomData }
    }
}

impl<A, F, M> fmt::Debug for Fold<A, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fold")
    }
}

impl<T, A, F, M> Merge<T> for Fold<A, F, M>
where
    Self: Aggregate<T, State = A>,
    M: Fn(&mut A, &A) + Send + 'static,
{
    fn merge(&self, into: &mut A, later: &A) {
        (self.merge)(into, later);
    }
}

impl<T, A, F, M> Aggregate<T> for Fold<A, F, M>
where
    A: Default + Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&mut A, &T) + Send + 'static,
    M: Send + 'static,
{
    type State = A;
    type Output = A;

    fn empty(&self) -> A {
        A::default()
    }

    fn add(&self, state: &mut A, record: &Record<T>) {
        (self.add)(state, &record.value);
    }

    fn output(&self, state: &A) -> A {
        state.clone()
    }

    fn describe(&self) -> String {
        "fold".into()
    }
}

/// Reduces records to one value of their own type: the first, merged with each that follows; `None` of no
/// records. Keeps that one value. To end in another type, take [`Fold`].
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::window::{Late, Reduce, Tumbling};
/// use rtbflow::testing::{run, values};
///
/// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
/// let found = run(values([3, 1, 2]), |flow| {
///     flow.key_by(|_| ()).window(hours).aggregate("found", Reduce::new(|product: &mut i32, n: &i32| *product *= n))
/// });
/// assert_eq!(found[0].value, Some(6));
/// ```
pub struct Reduce<F>(F);

impl<F> Reduce<F> {
    /// Reduces with this function.
    #[must_use]
    pub fn new<T>(merge: F) -> Self
    where
        F: Fn(&mut T, &T) + Send + 'static,
    {
        Self(merge)
    }
}

impl<F> fmt::Debug for Reduce<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reduce")
    }
}

impl<T, F> Aggregate<T> for Reduce<F>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&mut T, &T) + Send + 'static,
{
    type State = Option<T>;
    type Output = Option<T>;

    fn empty(&self) -> Option<T> {
        None
    }

    fn add(&self, state: &mut Option<T>, record: &Record<T>) {
        match state {
            Some(value) => (self.0)(value, &record.value),
            None => *state = Some(record.value.clone()),
        }
    }

    fn output(&self, state: &Option<T>) -> Option<T> {
        state.clone()
    }

    fn describe(&self) -> String {
        "reduce".into()
    }
}

impl<T, F> Merge<T> for Reduce<F>
where
    Self: Aggregate<T, State = Option<T>>,
    T: Clone,
    F: Fn(&mut T, &T) + Send + 'static,
{
    fn merge(&self, into: &mut Option<T>, later: &Option<T>) {
        match (into, later) {
            (Some(into), Some(later)) => (self.0)(into, later),
            (into @ None, Some(later)) => *into = Some(later.clone()),
            (_, None) => {}
        }
    }
}

macro_rules! tuple_of_aggregates {
    ($($aggregate:ident $index:tt),+) => {
        impl<T, $($aggregate: Aggregate<T>),+> Aggregate<T> for ($($aggregate,)+) {
            type State = ($($aggregate::State,)+);
            type Output = ($($aggregate::Output,)+);

            fn empty(&self) -> Self::State {
                ($(self.$index.empty(),)+)
            }
            fn add(&self, state: &mut Self::State, record: &Record<T>) {
                $(self.$index.add(&mut state.$index, record);)+
            }
            fn output(&self, state: &Self::State) -> Self::Output {
                ($(self.$index.output(&state.$index),)+)
            }
            fn check(&self, state: &Self::State) -> Result<(), BadRecord> {
                $(self.$index.check(&state.$index)?;)+
                Ok(())
            }
            fn validate(&self) -> Result<()> {
                Error::all([$(self.$index.validate()),+])
            }
            fn describe(&self) -> String {
                format!("({})", [$(self.$index.describe()),+].join(", "))
            }
        }

        impl<T, $($aggregate: Merge<T>),+> Merge<T> for ($($aggregate,)+) {
            const INVERTIBLE: bool = $($aggregate::INVERTIBLE)&&+;

            fn merge(&self, into: &mut Self::State, later: &Self::State) {
                $(self.$index.merge(&mut into.$index, &later.$index);)+
            }
            fn remove(&self, from: &mut Self::State, part: &Self::State) {
                $(self.$index.remove(&mut from.$index, &part.$index);)+
            }
        }
    };
}
tuple_of_aggregates!(A 0, B 1);
tuple_of_aggregates!(A 0, B 1, C 2);
tuple_of_aggregates!(A 0, B 1, C 2, D 3);
