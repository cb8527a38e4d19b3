//! The pipelines, run in this process as their binaries would run them.

use std::ffi::OsString;

use clap::Args;
use futures::FutureExt;
use futures::future::BoxFuture;
use rtbflow::{Error, Result};
use rtbflow_examples::options::Options;
use rtbflow_examples::pipeline::{
    BALANCE, BUDGET, COMPENSATION, DUPLICATES, MATCHING, PERFORMANCE, Pipeline, RANKING,
};
use rtbflow_examples::process::{Outcome, Shutdown};
use rtbflow_examples::{balance, budget, duplicate_clicks, matching, performance, ranking, refund};

use crate::untransacted;

/// Where the pipelines read and write.
#[derive(Clone)]
pub(crate) struct Places {
    /// Kafka's bootstrap servers.
    pub(crate) kafka: String,
    /// Whether that Kafka has transactions.
    pub(crate) has_transactions: bool,
    /// The pipelines' options beside the servers.
    pub(crate) arguments: Vec<String>,
    /// The URL of Redis.
    pub(crate) redis: String,
    /// The URL of Postgres.
    pub(crate) postgres: String,
    /// Makes groups of their own where the servers are somebody else's.
    pub(crate) group_prefix: Option<String>,
}

/// Where a pipeline keeps its positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    Postgres,
    Redis,
    /// Its group's offsets.
    Kafka,
}

/// A pipeline that is ready to run.
pub(crate) struct Ready {
    /// What is known of it.
    pub(crate) pipeline: Pipeline,
    /// Where it keeps its positions.
    pub(crate) keeps: Keeps,
    /// Its consumer group.
    pub(crate) group: String,
    /// Its run.
    pub(crate) run: BoxFuture<'static, Result<Outcome>>,
}

/// All pipelines.
pub(crate) fn all(places: &Places, stop: &Shutdown) -> Result<Vec<Ready>> {
    let stop = || stop.clone();
    Ok(vec![
        ready(places, (RANKING, Keeps::Redis), &[], {
            let stop = stop();
            |options| ranking::run(options, stop).boxed()
        })?,
        ready(places, (PERFORMANCE, Keeps::Redis), &["--early=1s"], {
            let stop = stop();
            |options| performance::run(options, stop).boxed()
        })?,
        ready(places, (MATCHING, Keeps::Postgres), &[], {
            let stop = stop();
            |options| matching::run(options, stop).boxed()
        })?,
        ready(places, (DUPLICATES, Keeps::Kafka), &[], {
            let (stop, has_transactions) = (stop(), places.has_transactions);
            move |options| match has_transactions {
                true => duplicate_clicks::run(options, stop).boxed(),
                false => untransacted::run(options, stop).boxed(),
            }
        })?,
        ready(places, (BALANCE, Keeps::Postgres), &[], {
            let stop = stop();
            |options| balance::run(options, stop).boxed()
        })?,
        ready(places, (BUDGET, Keeps::Postgres), &[], {
            let stop = stop();
            |options| budget::run(options, stop).boxed()
        })?,
        ready(places, (COMPENSATION, Keeps::Postgres), &[], {
            let stop = stop();
            |options| refund::run(options, stop).boxed()
        })?,
    ])
}

fn ready<P: Args>(
    places: &Places,
    (pipeline, keeps): (Pipeline, Keeps),
    more: &[&str],
    run: impl FnOnce(Options<P>) -> BoxFuture<'static, Result<Outcome>>,
) -> Result<Ready> {
    let Places { kafka, arguments, redis, postgres, group_prefix, .. } = places;
    let group = match group_prefix {
        Some(prefix) => format!("{prefix}-{}", pipeline.name),
        None => pipeline.group.to_owned(),
    };
    let servers = ["--kafka", kafka, "--redis", redis, "--postgres", postgres, "--group", &group]
        .map(str::to_owned);
    let line = [pipeline.name, "--create-tables"]
        .into_iter()
        .map(str::to_owned)
        .chain(servers)
        .chain(arguments.iter().cloned())
        .chain(more.iter().map(|&argument| argument.to_owned()))
        .map(OsString::from);
    let options = Options::read(pipeline.name, pipeline.about, pipeline.group, line)
        .map_err(|refusal| Error::config(refusal.to_string()))?;
    Ok(Ready { pipeline, keeps, group, run: run(options) })
}
