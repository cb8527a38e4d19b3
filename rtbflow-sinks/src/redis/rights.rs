//! What the user may do: checked at the start, and remembered.

use std::collections::BTreeMap;

use rtbflow::{Error, Result};

use crate::redis::failure;
use crate::redis::keys::Keys;
use crate::redis::place::Redis;
use crate::redis::reply::{elements, groups, text};

/// Commands that a job runs on its own keys, which begin with `rtbflow:`; always looked at.
pub const OWN_KEYS: &[&str] = &[
    "COPY",
    "EXISTS",
    "HDEL",
    "HGET",
    "HSET",
    "LRANGE",
    "LTRIM",
    "PERSIST",
    "PEXPIRE",
    "PTTL",
    "RENAME",
    "RPUSH",
    "SADD",
    "SET",
    "SMEMBERS",
    "SREM",
    "TYPE",
    "UNLINK",
    "ZADD",
    "ZRANGE",
    "ZRANGEBYLEX",
    "ZREM",
];

/// Commands that [`Redis::merge_hash`] runs on the keys of its results, for [`Options::uses`].
///
/// [`Options::uses`]: super::Options::uses
pub const MERGE_HASH: &[&str] = &[
    "COPY", "HDEL", "HGET", "HINCRBY", "HMGET", "HSET", "PERSIST", "PEXPIRE", "PTTL", "RENAME",
    "UNLINK",
];

/// Commands that [`Redis::write`] runs on the keys of its results, for [`Options::uses`]. Those of operations
/// that a pipeline does not stage can be left out.
///
/// [`Options::uses`]: super::Options::uses
pub const WRITE: &[&str] = &[
    "EXISTS", "HDEL", "HGET", "HINCRBY", "HMGET", "HSET", "PERSIST", "PEXPIRE", "PTTL", "RENAME",
    "UNLINK", "ZADD", "ZREM", "ZSCORE",
];

impl Redis {
    /// Makes sure that the user may do what the job and its results need.
    ///
    /// # Errors
    /// A configuration error that lists all that is missing; transient if the server is away.
    pub(crate) async fn check_rights(&self, keys: Option<&Keys>) -> Result<()> {
        let attempted = "check the user's rights";
        let aside = match (keys, self.uses()) {
            // A key that nobody else uses, of those that the user has to have rights to in any case.
            (Some(keys), _) => format!("{}:check", keys.aside()),
            (None, [(prefix, _), ..]) => format!("{prefix}rtbflow:aside"),
            // Neither a job nor a prefix: there is nothing that would have to be allowed.
            (None, []) => return Ok(()),
        };
        let script = self.check_text();
        let request = || {
            let mut command = script.run(&[&aside]);
            if let Some(keys) = keys {
                command.arg(keys.prefix()).arg(OWN_KEYS.len()).arg(OWN_KEYS);
            }
            for (prefix, commands) in self.uses() {
                command.arg(prefix).arg(commands.len()).arg(commands);
            }
            command
        };
        let answer = script.send_one(self.server(), attempted, request).await?;
        let attempted = format!("{attempted} in Redis at {}", self.server().address());
        let missing = missing(&attempted, &elements(&attempted, answer)?)?;
        if missing.is_empty() { Ok(()) } else { Err(self.lacks(&attempted, &missing)) }
    }

    /// The error of rights that are missing, with what grants them.
    #[cold]
    fn lacks(&self, attempted: &str, missing: &Missing) -> Error {
        let user = self.server().user();
        let each = missing.iter().map(|(prefix, commands)| {
            format!("{} on keys that begin with {prefix}", commands.join(", "))
        });
        let grants = missing.iter().map(|(prefix, commands)| {
            let commands: Vec<String> =
                commands.iter().map(|command| format!("+{}", command.to_lowercase())).collect();
            format!("ACL SETUSER {user} ~{prefix}* {}", commands.join(" "))
        });
        Error::config(format!(
            "{attempted}: the user {user} may not run {}, or the server does not know these commands; allow \
             it: {}",
            each.collect::<Vec<_>>().join("; "),
            grants.collect::<Vec<_>>().join("; "),
        ))
    }
}

/// Commands that were refused, by what the names of the keys begin with.
type Missing = BTreeMap<String, Vec<String>>;

/// What the script has found to be refused.
///
/// # Errors
/// If a command is refused for another reason than that the user may not run it.
fn missing(attempted: &str, refused: &[Vec<u8>]) -> Result<Missing> {
    let mut missing = Missing::new();
    for [prefix, command, refusal] in groups(attempted, refused)? {
        let [prefix, command, refusal] = [prefix, command, refusal].map(|part| text(part));
        // Such as a server that is out of memory: it says nothing about rights, and is waited for.
        if !failure::is_forbidden(&refusal) {
            return Err(failure::forbidden(attempted, &refusal, &command, &prefix, true));
        }
        let commands = missing.entry(prefix).or_default();
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    Ok(missing)
}
