//! Redis as the place: results, state and positions in one script.
//!
//! ```text
//!   sinks ── operations ──▶ epoch ──▶ EVALSHA commit.lua
//!                                       1 compare positions      differ: nothing happens
//!                                       2 write them as they are the server may refuse that
//!                                       3 apply operations       each notes what undoes it
//!                                       4 append chunks of state
//!                                       5 move the positions
//! ```
//!
//! **What is guaranteed.** A script runs alone, so nobody sees half an epoch, and an epoch is applied
//! once whatever is killed, cut off or sent twice. Redis does not roll back; the script does, by what each of its
//! writes notes beforehand. So either an epoch is there whole or nothing of it is:
//!
//! - What Redis refuses *for what it is* (a sum beyond 64 bits, a key that holds something else, an error of a
//!   function of one's own) becomes a dead letter, and the rest of its epoch is applied.
//! - What the server refuses *for its own reasons* moves nothing. Out of memory, read-only and unable to persist
//!   are waited for; missing rights and commands are a configuration error at the start, as far as
//!   [`Options::uses`] says what will be needed, or at the first commit, and are waited for once a commit has
//!   succeeded.
//!
//! **What is not.** The guarantee is as durable as the server: with `appendfsync everysec` a crash of
//! the machine loses the last second, of results and positions alike, and the records are read again
//! and applied again to what was lost, once. A fail-over to a replica that was behind does the same.
//! Several servers as a Redis Cluster are refused, since the keys of one script have to be in one place. Rights
//! that allow one command on a key and forbid another (selectors that differ for keys of one sink) can keep a
//! script from taking back what it has written: the job then stops, and says so.
//!
//! [`get`](Redis::get) and [`get_hash`](Redis::get_hash) look up keys for
//! [`lookup`](rtbflow::KeyedFlow::lookup), outside any commit.
//!
//! **Keys of its own**: `rtbflow:{job}:positions`, `…:claimed`, `…:tasks`, `…:state:{task}/{tasks}` (an index, and with a
//! bucket behind it a list of chunks), while a script runs `…:aside…`, and `…:forgetting` while the job is
//! forgotten. Nothing scans for them.

mod call;
mod commit;
mod fault;
mod follow_up;
mod forget;
mod get;
mod inspect;
mod keys;
mod library;
mod mark;
mod merge_hash;
mod operations;
mod pattern;
mod rights;
mod script;
mod server;
mod staged;
mod step;
mod write;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{Client, ConnectionAddr, IntoConnectionInfo, TlsCertificates};
use rtbflow::sink::Place;
use rtbflow::{Error, Result};

pub use merge_hash::MergeHash;
pub use operations::Operations;
pub use pattern::Pattern;
pub use rights::{MERGE_HASH, OWN_KEYS, WRITE};
pub use script::{Call, Script};
pub use write::Write;

use follow_up::FollowUps;
use library::{Library, Text};
use server::Server;

const NO_CLUSTER: &str = "Redis Cluster spreads keys over several servers, and the keys of one atomic \
                          script have to be in one: give the URL of one server that is not part of a cluster";

/// A place in Redis. Clones are handles on the same place, over the same connection.
///
/// Nothing is connected before the first call; a connection that breaks is made again.
///
/// ```
/// use rtbflow_sinks::redis::Redis;
///
/// let redis = Redis::connect_to("redis://user:secret@127.0.0.1:6379/2").build()?;
/// assert_eq!(format!("{redis:?}"), "Redis(127.0.0.1:6379, database 2)");
/// # Ok::<(), rtbflow::Error>(())
/// ```
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    server: Arc<Server>,
}

struct Shared {
    place: Place,
    library: Library,
    follow_ups: FollowUps,
    claim: Text,
    restore: Text,
    forget: Text,
    remove: Text,
    check: Text,
    page_bytes: usize,
    /// What the names of results' keys begin with, and the commands that are run on them.
    uses: Vec<(String, Vec<&'static str>)>,
    /// Whether operations were committed: the user may, or might.
    may_write: AtomicBool,
}

impl Redis {
    /// A place at `redis[s]://[user:password@]host[:port][/database]`; nothing is connected yet.
    pub fn connect_to(url: impl Into<String>) -> Options {
        Options {
            url: url.into(),
            call_timeout: Duration::from_secs(10),
            ca_file: None,
            page_bytes: 4 << 20,
            uses: Vec::new(),
        }
    }

    /// Another handle on the same place, with a connection of its own.
    #[must_use]
    pub fn separate(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), server: Arc::new(self.server.separate()) }
    }

    fn place(&self) -> Place {
        self.shared.place
    }

    fn server(&self) -> &Server {
        &self.server
    }

    fn library(&self) -> &Library {
        &self.shared.library
    }

    fn follow_ups(&self) -> &FollowUps {
        &self.shared.follow_ups
    }

    fn claim_text(&self) -> &Text {
        &self.shared.claim
    }

    fn restore_text(&self) -> &Text {
        &self.shared.restore
    }

    fn forget_text(&self) -> &Text {
        &self.shared.forget
    }

    fn remove_text(&self) -> &Text {
        &self.shared.remove
    }

    fn check_text(&self) -> &Text {
        &self.shared.check
    }

    fn uses(&self) -> &[(String, Vec<&'static str>)] {
        &self.shared.uses
    }

    /// Whether operations have been committed before.
    fn may_write(&self) -> bool {
        self.shared.may_write.load(Ordering::Relaxed)
    }

    /// So many operations were committed.
    fn has_written(&self, operations: usize) {
        if operations > 0 {
            self.shared.may_write.store(true, Ordering::Relaxed);
        }
    }

    fn page_bytes(&self) -> usize {
        self.shared.page_bytes
    }
}

impl fmt::Debug for Redis {
    /// Host, port and database; never the user or the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({:?})", self.server)
    }
}

/// How a [`Redis`] is reached; see [`Redis::connect_to`].
#[must_use]
pub struct Options {
    url: String,
    call_timeout: Duration,
    ca_file: Option<PathBuf>,
    page_bytes: usize,
    uses: Vec<(String, Vec<&'static str>)>,
}

impl Options {
    /// Says that commands will be run on keys whose names begin with `prefix`:
    /// [`prepare`](rtbflow::epoch::Anchor::prepare) then makes sure that the user may, before anything is read.
    /// [`MERGE_HASH`] and [`WRITE`] are the commands of the sinks; of functions of one's own, name what they
    /// call, `HDEL` beside `HSET`, `ZREM` and `ZSCORE` beside `ZADD`, since what they write may have to be taken back.
    ///
    /// ```
    /// use rtbflow_sinks::redis::{MERGE_HASH, Redis};
    ///
    /// let redis = Redis::connect_to("redis://127.0.0.1/2").uses("perf:", MERGE_HASH).build()?;
    /// assert_eq!(format!("{redis:?}"), "Redis(127.0.0.1:6379, database 2)");
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    pub fn uses(mut self, prefix: impl Into<String>, commands: &[&'static str]) -> Self {
        self.uses.push((prefix.into(), commands.to_vec()));
        self
    }

    /// How long a call may take as a whole, with all its attempts to connect (10 s). One that takes
    /// longer is a transient error; the next one then may take twice as long, up to 64 times, so that an epoch
    /// gets through a thin line.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// A file of certificate authorities in PEM form that the server's certificate must come from,
    /// instead of those that browsers trust. The URL has to begin with `rediss://`.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Bytes of state that are read back at a time (4 MiB).
    pub fn page_bytes(mut self, bytes: usize) -> Self {
        self.page_bytes = bytes;
        self
    }

    /// The place.
    ///
    /// # Errors
    /// If the URL, which the error does not repeat, or the file of authorities can not be used.
    pub fn build(self) -> Result<Redis> {
        // The cause is left out: it might quote the URL, and with it the password.
        let unreadable = |_| {
            Error::config(
                "read the URL of Redis: redis[s]://[user:password@]host[:port][/database] is expected, with \
                 special characters of the password percent-encoded",
            )
        };
        let info = self.url.as_str().into_connection_info().map_err(unreadable)?;
        let client = match self.ca_file {
            Some(_) if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) => {
                return Err(Error::config(
                    "use a file of certificate authorities for Redis: the URL asks for no TLS; let it begin \
                     with rediss:// instead of redis://",
                ));
            }
            Some(path) => {
                let attempted = format!("read the certificate authorities in {}", path.display());
                let pem = std::fs::read(&path)
                    .map_err(|cause| Error::config(&attempted).because(cause))?;
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
                Client::build_with_tls(info, certificates)
                    .map_err(|cause| Error::config(attempted).because(cause))?
            }
            None => Client::open(info).map_err(unreadable)?,
        };
        // Another one may be installed already, which will do as well.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        Ok(Redis {
            server: Arc::new(Server::new(client, self.call_timeout)),
            shared: Arc::new(Shared {
                place: Place::new("redis"),
                library: Library::new(),
                follow_ups: FollowUps::default(),
                claim: Text::new(include_str!("lua/claim.lua")),
                restore: Text::new(include_str!("lua/restore.lua")),
                forget: Text::new(include_str!("lua/forget.lua")),
                remove: Text::new(include_str!("lua/remove.lua")),
                check: Text::new(include_str!("lua/check.lua")),
                page_bytes: self.page_bytes,
                uses: self.uses,
                may_write: AtomicBool::new(false),
            }),
        })
    }
}

impl fmt::Debug for Options {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("call_timeout", &self.call_timeout).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_printed() {
        for url in ["redis://u:hunter2@", "redis://u:hunter2@h:x/1", "hunter2", "redis://h/hunter2"]
        {
            let options = Redis::connect_to(url);
            assert!(!format!("{options:?}").contains("hunter2"));
            let error = options.build().unwrap_err();
            assert!(error.is_config() && !format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        let plain = Redis::connect_to("redis://u:hunter2@h").ca_file("/no/such/file").build();
        let error = plain.unwrap_err();
        assert!(error.is_config() && error.to_string().contains("rediss://"), "{error:?}");
        let redis = Redis::connect_to("rediss://u:hunter2@example.com/3").build().unwrap();
        assert_eq!(format!("{redis:?}"), "Redis(example.com:6379, database 3)");
    }
}
