//! What an epoch notes of records that were late or bad, and of results that were refused: the first of each kind, and by how much the
//! late ones were late. Enough to tell an operator what to look at, whatever their number.

use std::fmt;
use std::time::Duration;

use crate::record::Origin;
use crate::sketch::Sketch;

/// The first late and the first bad record of an epoch, its first refused result, and by how much records came too late.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    late: Option<Sample>,
    bad: Option<Sample>,
    refused: Option<Sample>,
    overdue: Option<Box<Overdue>>,
}

/// A record, and why it was not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) origin: Origin,
    pub(crate) reason: String,
    /// By how much it came too late, where that is known.
    pub(crate) by: Option<Duration>,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.reason)
    }
}

/// By how much records came too late: this much later the watermark should have passed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overdue {
    /// In milliseconds.
    sketch: Sketch,
    count: u64,
    most: Duration,
}

impl Samples {
    /// A record came too late; what is known of it is asked for if it is the first.
    #[cold]
    pub(crate) fn late(
        &mut self,
        origin: Origin,
        by: Option<Duration>,
        reason: impl FnOnce() -> String,
    ) {
        self.late.get_or_insert_with(|| Sample { origin, reason: reason(), by });
        if let Some(by) = by {
            self.overdue.get_or_insert_default().add(by);
        }
    }

    /// A record cannot be used.
    #[cold]
    pub(crate) fn bad(&mut self, origin: Origin, reason: &str) {
        self.bad.get_or_insert_with(|| Sample { origin, reason: reason.to_owned(), by: None });
    }

    /// A result cannot be written; what was read last before it is here.
    #[cold]
    pub(crate) fn refused(&mut self, origin: Origin, reason: &str) {
        self.refused.get_or_insert_with(|| Sample { origin, reason: reason.to_owned(), by: None });
    }

    /// Adds what was noted later.
    pub(crate) fn merge(&mut self, later: &Self) {
        let Self { late, bad, refused, overdue } = later;
        let firsts = [(&mut self.late, late), (&mut self.bad, bad), (&mut self.refused, refused)];
        for (first, later) in firsts {
            if first.is_none() {
                first.clone_from(later);
            }
        }
        if let Some(later) = overdue {
            self.overdue.get_or_insert_default().merge(later);
        }
    }

    /// Whether nothing was noted.
    pub(crate) fn is_empty(&self) -> bool {
        let none = self.late.is_none() && self.bad.is_none() && self.refused.is_none();
        none && self.overdue.is_none()
    }

    /// The first late record.
    pub(crate) fn first_late(&self) -> Option<&Sample> {
        self.late.as_ref()
    }

    /// The first bad record.
    pub(crate) fn first_bad(&self) -> Option<&Sample> {
        self.bad.as_ref()
    }

    /// The first result that could not be written.
    pub(crate) fn first_refused(&self) -> Option<&Sample> {
        self.refused.as_ref()
    }

    /// By how much records came too late; `None` if none did, or it is not known of any.
    pub(crate) fn overdue(&self) -> Option<&Overdue> {
        self.overdue.as_deref()
    }
}

impl Overdue {
    #[expect(clippy::cast_precision_loss, reason = "the sketch is exact to a hundredth")]
    fn add(&mut self, by: Duration) {
        self.sketch.add(by.as_millis() as f64);
        self.count += 1;
        self.most = self.most.max(by);
    }

    fn merge(&mut self, later: &Self) {
        self.sketch.merge(&later.sketch);
        self.count += later.count;
        self.most = self.most.max(later.most);
    }

    /// The largest.
    pub(crate) fn most(&self) -> Duration {
        self.most
    }

    /// What all but this many records were late by at most; at most 3 % more, and not less.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the sketch is exact to a hundredth, and has only what is not negative"
    )]
    pub(crate) fn all_but(&self, few: u64) -> Duration {
        if few == 0 {
            return self.most;
        }
        // Nothing but these few was late.
        let Some(rank) = self.count.checked_sub(few + 1) else { return Duration::ZERO };
        let quantile = rank as f64 / (self.count - 1).max(1) as f64;
        // Rounding must not lead to the rank below.
        let ms = self.sketch.quantile(quantile + f64::EPSILON * 4.0) * 1.0102;
        Duration::from_millis(ms.ceil() as u64).min(self.most)
    }

    /// What half of them were late by at most, nearly.
    pub(crate) fn median(&self) -> Duration {
        self.all_but(self.count / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Partition, Topic};

    fn origin(offset: i64) -> Origin {
        Origin::new(Partition::new(Topic::new("test"), 3), offset)
    }

    #[test]
    fn the_first_of_each_kind_stays() {
        let mut samples = Samples::default();
        samples.bad(origin(4), "no JSON");
        samples.bad(origin(5), "no value");
        let mut later = Samples::default();
        later.bad(origin(6), "no time");
        later.late(origin(7), None, || "late".to_owned());
        later.late(origin(8), None, || unreachable!("only the first is described"));
        samples.merge(&later);
        assert_eq!(samples.first_bad().unwrap().to_string(), "test/3 at offset 4: no JSON");
        assert_eq!(samples.first_late().unwrap().origin, origin(7));
        assert!(samples.overdue().is_none());
    }

    #[test]
    fn what_would_have_sufficed_does_for_all_but_a_few() {
        let mut samples = Samples::default();
        let ms = |by: u64| Duration::from_millis(by);
        for by in 1..=1000 {
            let mut one = Samples::default();
            one.late(origin(0), Some(ms(by * 1000)), String::new);
            samples.merge(&one);
        }
        let overdue = samples.overdue().unwrap();
        assert_eq!((overdue.all_but(0), overdue.most()), (ms(1_000_000), ms(1_000_000)));
        for few in 1..1000 {
            let found = overdue.all_but(few);
            let exact = (1000 - few) * 1000;
            assert!(found >= ms(exact) && found <= ms(exact * 103 / 100), "{few}: {found:?}");
        }
        assert_eq!(overdue.all_but(1000), Duration::ZERO);
    }
}
