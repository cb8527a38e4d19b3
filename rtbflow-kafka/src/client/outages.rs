//! Says that a broker is away once, and then once per minute for how long: each client would say so several times per
//! second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::client::deadline::Moment;

/// The pause between two lines.
const PAUSE: Duration = Duration::from_secs(60);
/// An outage is over when nothing was reported of it for this long.
const OVER: Duration = Duration::from_secs(30);

/// What the clients of one cluster say of brokers that are away.
#[derive(Debug, Default)]
pub(crate) struct Outages(Mutex<Option<Outage>>);

#[derive(Debug)]
struct Outage {
    since: Moment,
    reported: Moment,
    logged: Moment,
}

/// What is to be logged of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutageReport {
    /// It is the first of an outage.
    First,
    /// The outage goes on, and has lasted this long by now.
    Ongoing(Duration),
    /// It was logged already.
    Repeated,
}

impl Outages {
    /// A client has lost a broker, or does not reach one.
    pub(crate) fn report(&self) -> OutageReport {
        self.report_at(Moment::now())
    }

    fn report_at(&self, now: Moment) -> OutageReport {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *outage {
            Some(outage) if now.since(outage.reported) < OVER => {
                outage.reported = now;
                if now.since(outage.logged) < PAUSE {
                    return OutageReport::Repeated;
                }
                outage.logged = now;
                OutageReport::Ongoing(now.since(outage.since))
            }
            _ => {
                *outage = Some(Outage { since: now, reported: now, logged: now });
                OutageReport::First
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_has_a_line_at_once_and_then_one_per_minute() {
        let (outages, begin) = (Outages::default(), Moment::now());
        let at = |seconds| outages.report_at(begin.after(Duration::from_secs(seconds)));
        assert_eq!(at(0), OutageReport::First);
        assert_eq!(
            (at(0), at(20), at(45)),
            (OutageReport::Repeated, OutageReport::Repeated, OutageReport::Repeated)
        );
        assert_eq!(
            (at(61), at(62)),
            (OutageReport::Ongoing(Duration::from_secs(61)), OutageReport::Repeated)
        );
        assert_eq!(
            at(130),
            OutageReport::First,
            "nothing was reported for a while: it is another one"
        );
    }
}
