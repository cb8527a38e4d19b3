//! Whether anybody listens at a server's addresses, and if not, which of the reasons it is: its client library
//! says of an unknown host, a closed port and a server that is merely slow that it is not there.

use std::fmt;
use std::time::Duration;

use futures::future::join_all;
use rtbflow::{Error, Result};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout};

/// How long the name of a host may take to be found.
const LONGEST_LOOKUP: Duration = Duration::from_secs(2);
/// How long an address may take to answer that somebody listens.
const LONGEST_CONNECT: Duration = Duration::from_secs(2);
/// The pause between two looks, and between two log lines.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
const LOG_PAUSE: Duration = Duration::from_secs(5);
/// The port of Kafka where none is named.
const KAFKA_PORT: u16 = 9092;

/// Why nobody is reached at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    UnknownHost(String),
    Refused(String),
    Silent(Duration),
}

/// An address at which nobody is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unreached {
    address: String,
    reason: Reason,
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, reason } = self;
        match reason {
            Reason::UnknownHost(why) => write!(
                f,
                "{address}: the host is not known ({why}); is the name right, and does this machine resolve it?"
            ),
            Reason::Refused(why) => write!(
                f,
                "{address}: the host is there, but nobody listens at this port ({why}); is the server running, \
                 and the port right?"
            ),
            Reason::Silent(longest) => write!(
                f,
                "{address}: no answer in {longest:?}; is a firewall between, or the host down?"
            ),
        }
    }
}

/// Waits until somebody listens at one of Kafka's bootstrap addresses; says each 5 s who does not, and why.
///
/// # Errors
/// Transient, naming each address and why nobody is reached there, if that is so until the deadline.
pub(crate) async fn kafka(servers: &str, deadline: Instant) -> Result<()> {
    let mut next_line = Instant::now();
    loop {
        let Err(unreached) = look(servers).await else { return Ok(()) };
        let all: Vec<String> = unreached.iter().map(ToString::to_string).collect();
        let reason = all.join("; ");
        let now = Instant::now();
        if now + LOOK_PAUSE >= deadline {
            return Err(Error::transient(format!("reach Kafka at {servers}")).because(reason));
        }
        if now >= next_line {
            next_line = now + LOG_PAUSE;
            tracing::warn!("reach Kafka at {servers}: {reason}; trying again");
        }
        sleep(LOOK_PAUSE).await;
    }
}

/// Looks at all addresses at once: fine if somebody listens at one of them.
async fn look(servers: &str) -> Result<(), Vec<Unreached>> {
    let addresses = servers.split(',').map(str::trim).filter(|address| !address.is_empty());
    let looks = join_all(addresses.map(look_at)).await;
    let unreached: Vec<Unreached> = looks.iter().filter_map(|look| look.clone().err()).collect();
    if unreached.len() == looks.len() && !looks.is_empty() { Err(unreached) } else { Ok(()) }
}

async fn look_at(address: &str) -> Result<(), Unreached> {
    let unreached = |reason| Unreached { address: address.to_owned(), reason };
    let target = with_port(address);
    let hosts = match timeout(LONGEST_LOOKUP, lookup_host(target)).await {
        Ok(Ok(hosts)) => hosts,
        Ok(Err(why)) => return Err(unreached(Reason::UnknownHost(why.to_string()))),
        Err(_) => return Err(unreached(Reason::UnknownHost("no answer in time".to_owned()))),
    };
    let mut reason = Reason::UnknownHost("it has no address".to_owned());
    for host in hosts {
        match timeout(LONGEST_CONNECT, TcpStream::connect(host)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(why)) => reason = Reason::Refused(why.to_string()),
            Err(_) => return Err(unreached(Reason::Silent(LONGEST_CONNECT))),
        }
    }
    Err(unreached(reason))
}

/// `host:port` of a bootstrap address, which may name a protocol and leave out the port.
fn with_port(address: &str) -> String {
    let plain = address.split_once("://").map_or(address, |(_, plain)| plain);
    let has_port = plain.rsplit_once(':').is_some_and(|(host, port)| {
        !port.contains(']') && (host.ends_with(']') || !host.contains(':'))
    });
    if has_port { plain.to_owned() } else { format!("{plain}:{KAFKA_PORT}") }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_may_leave_out_its_port() {
        for (address, target) in [
            ("kafka:1", "kafka:1"),
            ("kafka", "kafka:9092"),
            ("SSL://kafka:1", "kafka:1"),
            ("[::1]:1", "[::1]:1"),
            ("[::1]", "[::1]:9092"),
        ] {
            assert_eq!(with_port(address), target);
        }
    }

    #[tokio::test]
    async fn an_unknown_host_and_a_closed_port_are_distinguished() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().to_string();
        let closed =
            TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let unknown = "no-such-host.invalid:9092";
        assert_eq!(look(&open).await, Ok(()));
        assert_eq!(look(&format!("{closed},{unknown}, {open}")).await, Ok(()), "one will do");
        let unreached = look(&format!("{closed},{unknown}")).await.unwrap_err();
        let says: Vec<_> = unreached.iter().map(ToString::to_string).collect();
        assert!(says[0].contains(&closed) && says[0].contains("nobody listens"), "{says:?}");
        assert!(says[1].contains(unknown) && says[1].contains("not known"), "{says:?}");
    }

    #[tokio::test]
    async fn at_the_deadline_the_error_says_which_it_is() {
        let deadline = Instant::now();
        let error = kafka("no-such-host.invalid:1", deadline).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        let report = error.report();
        assert!(report.contains("reach Kafka at no-such-host.invalid:1"), "{report}");
        assert!(report.contains("the host is not known"), "{report}");
    }
}
