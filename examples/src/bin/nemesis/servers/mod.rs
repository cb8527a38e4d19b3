//! The servers of a run, which faults kill, freeze and start again.

mod brokers;
mod front;
mod postgres;
mod process;
mod redis;
mod relay;
mod world;

pub(crate) use brokers::Brokers;
pub(crate) use postgres::{Postgres, connect as connect_postgres};
pub(crate) use process::{Process, signal};
pub(crate) use redis::{Redis, connect as connect_redis};
pub(crate) use world::World;
