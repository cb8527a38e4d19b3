//! The pipelines over records in memory and the places that they are made for: what is there in the end must
//! not depend on how many tasks read, nor on where epochs end.

#[cfg(test)]
mod budget;
#[cfg(test)]
mod cache;
#[cfg(test)]
mod ranking;
#[cfg(test)]
mod refund;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod waits;
