//! Kafka as the place: results, state and positions in one transaction.
//!
//! Everything that an anchor keeps is in one compacted topic, the *changelog* of the job, with one partition per
//! task: its positions and its state. A commit is one transaction over the results' topics and the task's
//! partition of the changelog.
//!
//! ```text
//!   claim    changelog there? ─▶ new producer, init_transactions ─▶ read positions ─▶ write the new owner
//!   commit   stands at "from", by what this producer knows? ─▶ one transaction
//!            anything else ─▶ read positions: applied, fenced, or ─▶ new producer, and read again
//! ```
//!
//! `init_transactions` ends whatever an earlier producer of the task has begun, and from then on the broker
//! refuses that one. So what this producer has read and written itself is where the place stands, for as long
//! as it is not refused: comparing with that is comparing with the place. Whenever it fails, for whatever
//! reason, it is discarded, and with it all that is known: the outcome is then read, not guessed.
//!
//! Two instances could refuse each other for ever by making new producers. They do not: a new one is made
//! for a commit only if the positions, as they are read first, still carry this owner's mark.

#[expect(clippy::module_inception, reason = "the file has the name that it has in every place")]
mod anchor;
pub(crate) mod changelog;
mod claim;
mod commit;
#[cfg(test)]
mod damage;
mod failure;
mod forget;
mod options;
mod place;
pub(crate) mod positions;
mod replay;
mod restore;
mod session;
mod target;
mod transaction;

pub use place::KafkaAnchor;
