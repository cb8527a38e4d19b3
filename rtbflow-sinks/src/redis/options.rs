//! How a Redis is reached.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use redis::{Client, ConnectionAddr, IntoConnectionInfo, TlsCertificates};
use rtbflow::sink::Place;
use rtbflow::{Error, Result};

use crate::redis::follow_ups::FollowUps;
use crate::redis::library::{Library, Text};
use crate::redis::place::{Redis, Shared};
use crate::redis::session::Server;

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
    /// [`MERGE_HASH`](crate::redis::MERGE_HASH) and [`WRITE`](crate::redis::WRITE) are the commands of the sinks; of functions of one's own, name what they
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
    /// If the URL, which the error does not repeat, or the file of authorities cannot be used.
    pub fn build(self) -> Result<Redis> {
        let client = self.client()?;
        self.check()?;
        // Another one may be installed already, which will do as well.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        Ok(Redis {
            server: Arc::new(Server::new(client, self.call_timeout)),
            shared: Arc::new(Shared {
                place: Place::new("redis"),
                library: Library::new(),
                follow_ups: FollowUps::default(),
                claim: Text::new(concat!(
                    include_str!("lua/checksum.lua"),
                    include_str!("lua/claim.lua")
                )),
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

    fn check(&self) -> Result<()> {
        let settings =
            [("call_timeout", self.call_timeout.is_zero()), ("page_bytes", self.page_bytes == 0)];
        let wrong = settings.iter().filter(|(_, is_zero)| *is_zero);
        Error::all(wrong.map(|(what, _)| {
            Err(Error::config(format!("set the {what} of Redis: it must not be zero")))
        }))
    }

    fn client(&self) -> Result<Client> {
        // The cause is left out: it might quote the URL, and with it the password.
        let unreadable = |_| {
            Error::config(
                "read the URL of Redis: redis[s]://[user:password@]host[:port][/database] is expected, with \
                 special characters of the password percent-encoded",
            )
        };
        let info = self.url.as_str().into_connection_info().map_err(unreadable)?;
        let Some(path) = &self.ca_file else { return Client::open(info).map_err(unreadable) };
        // Without TLS the authorities would prove nothing, and nobody would notice.
        if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Err(Error::config(
                "use a file of certificate authorities for Redis: the URL asks for no TLS; let it begin \
                 with rediss:// instead of redis://",
            ));
        }
        let attempted = format!("read the certificate authorities in {}", path.display());
        let pem = std::fs::read(path).map_err(|cause| Error::config(&attempted).because(cause))?;
        let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
        Client::build_with_tls(info, certificates)
            .map_err(|cause| Error::config(attempted).because(cause))
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
