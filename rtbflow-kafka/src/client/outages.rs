//! Says that a broker is away once, and then once a minute for how long: each client would say so several times a
//! second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::client::deadline::Moment;

/// The pause between two lines.
const PAUSE: Duration = Duration::from_secs(60);
/// An outage is over when nothing was heard of it for this long.
const OVER: Duration = Duration::from_secs(30);

/// What the clients of one cluster say of brokers that are away.
#[derive(Debug, Default)]
pub(crate) struct Outages(Mutex<Option<Outage>>);

#[derive(Debug)]
struct Outage {
    since: Moment,
    last: Moment,
    said: Moment,
}

/// What to do with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// It is the first of an outage.
    First,
    /// The outage goes on, and has lasted this long by now.
    Still(Duration),
    /// It was said already.
    Said,
}

impl Outages {
    /// A client has lost a broker, or does not reach one.
    pub(crate) fn heard(&self) -> Line {
        self.heard_at(Moment::now())
    }

    fn heard_at(&self, now: Moment) -> Line {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *outage {
            Some(outage) if now.since(outage.last) < OVER => {
                outage.last = now;
                if now.since(outage.said) < PAUSE {
                    return Line::Said;
                }
                outage.said = now;
                Line::Still(now.since(outage.since))
            }
            _ => {
                *outage = Some(Outage { since: now, last: now, said: now });
                Line::First
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_has_a_line_at_once_and_then_one_a_minute() {
        let (outages, begin) = (Outages::default(), Moment::now());
        let at = |seconds| outages.heard_at(begin.after(Duration::from_secs(seconds)));
        assert_eq!(at(0), Line::First);
        assert_eq!((at(0), at(20), at(45)), (Line::Said, Line::Said, Line::Said));
        assert_eq!((at(61), at(62)), (Line::Still(Duration::from_secs(61)), Line::Said));
        assert_eq!(at(130), Line::First, "nothing was heard for a while: it is another one");
    }
}
