//! Where results go: the contract of a sink, and sinks that need no server.
//!
//! A sink only *stages*: it takes records as they come and hands over one batch when a barrier
//! passes. Writing is done by the place that the sink belongs to, in the step that commits the epoch
//! (the [anchor](crate::epoch::Anchor)), or just before it (a [`Writer`](crate::epoch::Writer)).

pub(crate) mod memory;

pub use memory::{Collect, Collected};

pub use crate::staged::{Place, Staged, StagedRows};

use crate::error::{BadRecord, Error, Result};
use crate::record::Record;
use crate::refused_result::RefusedResult;

/// Takes records of one type and stages them for its place.
///
/// A tuple of sinks for the same type is a sink: each takes every record.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not take records of `{T}`",
    label = "this sink takes other records, or is none",
    note = "put a `map` before it that makes what the sink takes; a tuple of sinks takes what each of them takes"
)]
pub trait Sink<T>: Send + 'static {
    /// Whether the place can take this record; asked before each [`write`](Self::write).
    ///
    /// # Errors
    /// If it never could, such as text with U+0000 for Postgres: the record becomes a dead letter.
    fn check(&self, record: &Record<T>) -> Result<(), BadRecord> {
        let _ = record;
        Ok(())
    }

    /// What a dead letter carries of a result that [`check`](Self::check) refuses and that was read nowhere,
    /// such as a window's: the whole result. Nothing unless a sink says otherwise.
    fn result(&self, record: &Record<T>) -> RefusedResult {
        let _ = record;
        RefusedResult::default()
    }

    /// Whether the sink is put together rightly. It is asked as the pipeline is drawn, before anything is read;
    /// a sink also says here to its place what it will need there, so that the place can look for it as the
    /// job starts. Right unless overridden.
    ///
    /// # Errors
    /// A configuration error that names all that is wrong: the job does not start, and reports it with whatever
    /// else is.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Takes one record.
    fn write(&mut self, record: &Record<T>);

    /// Rows taken since the last [`stage`](Self::stage): what makes a task ask for a barrier.
    fn pending(&self) -> usize;

    /// Hands over what was taken since the last call, one batch a place.
    fn stage(&mut self, out: &mut Vec<Staged>);

    /// The places that the batches are for.
    fn places(&self) -> Vec<Place>;
}

macro_rules! tuple_of_sinks {
    ($($sink:ident $index:tt),+) => {
        impl<T, $($sink: Sink<T>),+> Sink<T> for ($($sink,)+) {
            fn check(&self, record: &Record<T>) -> Result<(), BadRecord> {
                $(self.$index.check(record)?;)+
                Ok(())
            }
            fn result(&self, record: &Record<T>) -> RefusedResult {
                // Of the sink that refuses it.
                $(if self.$index.check(record).is_err() {
                    return self.$index.result(record);
                })+
                RefusedResult::default()
            }
            fn validate(&self) -> Result<()> {
                Error::all([$(self.$index.validate()),+])
            }
            fn write(&mut self, record: &Record<T>) {
                $(self.$index.write(record);)+
            }
            fn pending(&self) -> usize {
                0 $(+ self.$index.pending())+
            }
            fn stage(&mut self, out: &mut Vec<Staged>) {
                $(self.$index.stage(out);)+
            }
            fn places(&self) -> Vec<Place> {
                [$(self.$index.places()),+].concat()
            }
        }
    };
}
tuple_of_sinks!(A 0, B 1);
tuple_of_sinks!(A 0, B 1, C 2);
tuple_of_sinks!(A 0, B 1, C 2, D 3);
