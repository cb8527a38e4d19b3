//! Seeded traffic with the disorder of real logs.

mod campaigns;
mod history;
mod poison;
mod records;
mod sender;

pub(crate) use campaigns::Budget;
pub(crate) use history::History;
pub(crate) use records::{Outgoing, POISON, at_text};
pub(crate) use sender::{Ends, Sender, Traffic};

#[cfg(test)]
mod tests;
