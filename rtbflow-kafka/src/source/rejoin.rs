//! Whether the reading client comes back to its group after it has lost all its brokers.

use std::time::Duration;

use crate::client::deadline::Deadline;

/// How long a client that has lost all its brokers may be without an assignment before it is replaced.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A client that is looked after. librdkafka 2.12.1 forgets all its brokers where one answers that there are none, as one
/// does that was frozen and is not taken in again yet. It then reports nothing more, and is never assigned anything.
#[derive(Debug)]
pub(crate) struct Rejoin {
    patience: Duration,
    /// Whether it has lost all its brokers since it was assigned something.
    has_lost_brokers: bool,
    /// By when it has to be assigned something then.
    by: Option<Deadline>,
}

impl Rejoin {
    pub(crate) fn within(patience: Duration) -> Self {
        Self { patience, has_lost_brokers: false, by: None }
    }

    /// It was assigned something.
    pub(crate) fn note_assigned(&mut self) {
        *self = Self::within(self.patience);
    }

    /// Whether the client is to be replaced. `all_down` says that it has reported so since this was called last: a client
    /// that still does looks for its brokers by itself.
    pub(crate) fn has_failed(&mut self, all_down: bool, is_assigned: bool) -> bool {
        self.has_lost_brokers |= all_down;
        if all_down || is_assigned || !self.has_lost_brokers {
            self.by = None;
            return false;
        }
        self.by.get_or_insert_with(|| Deadline::after(self.patience)).is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_brokers_and_without_tasks_is_replaced_once_it_reports_nothing_more() {
        let mut rejoin = Rejoin::within(Duration::ZERO);
        assert!(!rejoin.has_failed(false, false), "it waits for its first assignment");
        assert!(!rejoin.has_failed(true, true), "it may find them again");
        assert!(!rejoin.has_failed(false, true), "it has its tasks");
        assert!(!rejoin.has_failed(true, false), "it still looks for them");
        assert!(rejoin.has_failed(false, false));
    }

    #[test]
    fn one_that_was_assigned_something_since_has_them_again() {
        let mut rejoin = Rejoin::within(Duration::ZERO);
        assert!(!rejoin.has_failed(true, true));
        rejoin.note_assigned();
        assert!(!rejoin.has_failed(false, false), "an ordinary rebalance");
    }

    #[test]
    fn it_has_time_to_come_back() {
        let mut rejoin = Rejoin::within(Duration::from_secs(3600));
        assert!(!rejoin.has_failed(true, false));
        assert!(!rejoin.has_failed(false, false));
    }
}
