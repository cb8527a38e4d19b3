//! The sinks: rows, changes of rows, statements and functions of the pipeline's own.

mod insert;
mod statement;
mod transact;
mod upsert;
mod upsert_columns;

pub use insert::Insert;
pub use statement::Statement;
pub use transact::{Records, Transact};
pub use upsert::Upsert;
