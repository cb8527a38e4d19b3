//! Writers that need no server: into channels, files, the standard output and functions, before the epochs commit.
//!
//! What a [`Writer`](crate::epoch::Writer) writes is there at least once; see its page.

mod channel;
mod closure;
mod file;
mod rows;
mod stdout;

pub use channel::{ChannelWriter, Results, channel};
pub use closure::{Closure, async_writer, writer};
pub use file::JsonFiles;
pub use rows::Rows;
pub use stdout::{Stdout, stdout};
