//! The Redis anchor and its sinks against a real server.
#![cfg(feature = "redis")]

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod commit;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod forget;
#[cfg(test)]
mod get;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod live;
#[cfg(test)]
mod merge_hash;
#[cfg(test)]
mod namespace;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod server;
#[cfg(test)]
mod size;
#[cfg(test)]
mod stored;
#[cfg(test)]
mod tls;
