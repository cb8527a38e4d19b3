//! The Postgres anchor and its sinks, against a real server.

#[cfg(test)]
mod cuts;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod forget;
#[cfg(test)]
mod increments;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod needs;
#[cfg(test)]
mod pooler;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod renamed;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod select;
#[cfg(test)]
mod sinks;
#[cfg(test)]
mod standby;
#[cfg(test)]
mod stored;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod waits;
