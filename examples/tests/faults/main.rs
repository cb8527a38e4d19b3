//! The pipelines as processes against real servers, while everything around them goes wrong.
//!
//! The topic's name is the system's own, so the tests take turns; each has its own group, its own schema
//! in Postgres and its own database in Redis, and makes the topics anew.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod cache;
#[cfg(test)]
mod commit_cut;
#[cfg(test)]
mod fenced;
#[cfg(test)]
mod frozen;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod letters;
#[cfg(test)]
mod matching;
#[cfg(test)]
mod named;
#[cfg(test)]
mod older;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod refunds;
#[cfg(test)]
mod reset;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod spoilt;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod starting;
#[cfg(test)]
mod traffic;
#[cfg(test)]
mod watched;
#[cfg(test)]
mod worker;
