//! Lookups of strings and of hashes, many keys per round trip.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroUsize;

use futures::FutureExt;
use futures::future::BoxFuture;
use redis::{Pipeline, RedisResult, Value};
use rtbflow::lookup::{Batched, Failed};
use rtbflow::{BadRecord, Result};

use crate::redis::failure;
use crate::redis::place::Redis;
use crate::redis::reply::unreadable;

/// The most keys that go into one round trip.
const MOST_KEYS: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// What a key stands for, unless it is something that cannot be used.
type Answer<V> = Result<V, BadRecord>;

impl Redis {
    /// Looks up strings: for [`lookup`](rtbflow::KeyedFlow::lookup). `name` makes of a flow's key that of
    /// Redis; a key that is not there, or that holds no string, is `None`.
    ///
    /// Keys that are asked for at the same time are one `MGET`. It goes over the connection that commits use;
    /// [`with_own_connections`](Self::with_own_connections) gives it one of its own.
    ///
    /// # Errors
    /// Transient if the server is away: the call is then made again, as [`Calls`](rtbflow::operators::Calls)
    /// says. A text that is not UTF-8 makes a dead letter of the record.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::operators::{Calls, Lookup};
    /// use rtbflow::{Elements, Flow};
    /// use rtbflow_sinks::redis::Redis;
    ///
    /// /// Clicks, each with the name of its campaign.
    /// fn named(
    ///     clicks: Flow<impl Elements<Value = u64>>,
    ///     redis: &Redis,
    /// ) -> Flow<impl Elements<Value = (u64, Option<String>)>> {
    ///     let names = Lookup::new(Calls::at_most(256), Duration::from_mins(1), 10_000);
    ///     let name = redis.get(|campaign: &u64| format!("campaign:{campaign}"));
    ///     clicks.key_by(|campaign| *campaign).lookup(names, name)
    /// }
    ///
    /// let redis = Redis::connect_to("redis://127.0.0.1/2").build()?;
    /// let flow = named(Flow::from_elements(futures::stream::empty()), &redis);
    /// assert!(flow.topology()?.to_string().contains("lookup"));
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    pub fn get<K, F>(
        &self,
        name: F,
    ) -> impl Fn(K) -> BoxFuture<'static, Result<Option<String>, Failed>> + Clone + use<K, F>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        F: Fn(&K) -> String + Send + Sync + 'static,
    {
        let commands = |names: &[String]| {
            let mut command = redis::cmd("MGET");
            command.arg(names);
            let mut commands = Pipeline::with_capacity(1);
            commands.add_command(command);
            commands
        };
        let read = |attempted: &str, names: &[String], answers: Vec<RedisResult<Value>>| {
            let mut values = Vec::with_capacity(names.len());
            for answer in answers {
                let answer = answer.map_err(|cause| failure::error(attempted, cause))?;
                let Value::Array(some) = answer else { return Err(unreadable(attempted)) };
                values.extend(some);
            }
            values.into_iter().map(|value| string(attempted, value)).collect()
        };
        looked_up(self.clone(), "look up strings", name, commands, read)
    }

    /// Looks up fields of hashes: for [`lookup`](rtbflow::KeyedFlow::lookup). The answer has a place for each
    /// field, in their order; a key that is not there, or has none of the fields, is `None`.
    ///
    /// Keys that are asked for at the same time are one round trip, with an `HMGET` each. As [`get`](Self::get)
    /// otherwise.
    ///
    /// # Errors
    /// As [`get`](Self::get). A key that holds something else than a hash makes a dead letter of the record.
    ///
    /// # Examples
    /// ```
    /// use rtbflow_sinks::redis::Redis;
    ///
    /// let redis = Redis::connect_to("redis://127.0.0.1/2").build()?;
    /// let budgets = redis.get_hash(["spent", "daily_budget"], |campaign: &u64| format!("budget:{campaign}"));
    /// let nothing_is_asked_before_it_is_awaited = budgets(7);
    /// # drop(nothing_is_asked_before_it_is_awaited);
    /// assert_eq!(format!("{redis:?}"), "Redis(127.0.0.1:6379, database 2)");
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    pub fn get_hash<K, F, const N: usize>(
        &self,
        fields: [&str; N],
        name: F,
    ) -> impl Fn(K) -> BoxFuture<'static, Result<Option<[Option<String>; N]>, Failed>>
    + Clone
    + use<K, F, N>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        F: Fn(&K) -> String + Send + Sync + 'static,
    {
        let fields = fields.map(str::to_owned);
        let commands = move |names: &[String]| {
            let mut commands = Pipeline::with_capacity(names.len());
            for name in names {
                let mut command = redis::cmd("HMGET");
                command.arg(name).arg(&fields[..]);
                commands.add_command(command);
            }
            commands
        };
        let read = |attempted: &str, names: &[String], answers: Vec<RedisResult<Value>>| {
            let answer = |(name, answer): (&String, RedisResult<Value>)| match answer {
                Ok(Value::Array(values)) => strings(attempted, values),
                Ok(_) => Err(unreadable(attempted)),
                Err(cause) if cause.code() == Some("WRONGTYPE") => {
                    Ok(Some(Err(BadRecord::new(format!("key {name} of Redis holds no hash")))))
                }
                Err(cause) => Err(failure::error(attempted, cause)),
            };
            names.iter().zip(answers).map(answer).collect()
        };
        looked_up(self.clone(), "look up hashes", name, commands, read)
    }
}

/// Looks up keys by one round trip for those that are asked for together. `read` takes the names and the
/// answers to the commands, and gives an answer for each name.
fn looked_up<K, V>(
    redis: Redis,
    what: &'static str,
    name: impl Fn(&K) -> String + Send + Sync + 'static,
    commands: impl Fn(&[String]) -> Pipeline + Send + Sync + 'static,
    read: impl Fn(&str, &[String], Vec<RedisResult<Value>>) -> Result<Vec<Option<Answer<V>>>>
    + Clone
    + Send
    + Sync
    + 'static,
) -> impl Fn(K) -> BoxFuture<'static, Result<Option<V>, Failed>> + Clone
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let batched = Batched::new(MOST_KEYS, move |keys: Vec<K>| {
        let names: Vec<String> = keys.iter().map(&name).collect();
        let mut commands = commands(&names);
        let (redis, read) = (redis.clone(), read.clone());
        async move {
            let answers = redis.server().send(what, &mut commands).await?;
            let attempted = format!("{what} in Redis at {}", redis.server().address());
            let answers = read(&attempted, &names, answers)?;
            // A key without an answer would pass for one that is not there.
            if answers.len() != keys.len() {
                return Err(unreadable(&attempted));
            }
            let found = keys.into_iter().zip(answers);
            let found = found.filter_map(|(key, answer)| Some((key, answer?)));
            Ok(found.collect::<HashMap<K, Answer<V>>>())
        }
    });
    move |key| {
        let answer = batched.get(key);
        async move { Ok(answer.await?.transpose()?) }.boxed()
    }
}

/// A string; nothing if it is not there, or something else than a string.
fn string(attempted: &str, value: Value) -> Result<Option<Answer<String>>> {
    if matches!(value, Value::Nil) {
        return Ok(None);
    }
    let Value::BulkString(bytes) = value else { return Err(unreadable(attempted)) };
    let text = String::from_utf8(bytes);
    Ok(Some(text.map_err(|_| BadRecord::new("a value of Redis is not UTF-8"))))
}

/// Strings; nothing if none of them is there.
fn strings<const N: usize>(
    attempted: &str,
    values: Vec<Value>,
) -> Result<Option<Answer<[Option<String>; N]>>> {
    let mut found = Vec::with_capacity(N);
    for value in values {
        match string(attempted, value)?.transpose() {
            Ok(text) => found.push(text),
            Err(bad) => return Ok(Some(Err(bad))),
        }
    }
    let found = <[Option<String>; N]>::try_from(found).map_err(|_| unreadable(attempted))?;
    Ok(found.iter().any(Option::is_some).then_some(Ok(found)))
}
