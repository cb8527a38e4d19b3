//! Which rules of time zones windows of the calendar go by is in the log, once. A process of its own: the first window
//! of the calendar says it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use rtbflow::operators::window::{Calendar, TimeZoneRules};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps what is logged, a line each.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<String>>>);

impl Subscriber for Logged {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        write!(self.0, " {value:?}").unwrap();
    }
}

#[test]
fn the_log_says_once_which_rules_windows_of_the_calendar_go_by() {
    let logged = Logged::default();
    tracing::subscriber::set_global_default(logged.clone()).unwrap();
    for zone in ["Asia/Seoul", "America/New_York"] {
        assert!(Calendar::daily(zone).is_ok());
    }
    let rules = TimeZoneRules::in_force();
    let expected = format!("INFO calendar windows follow {rules}");
    assert_eq!(*logged.0.lock().unwrap(), [expected]);
}
