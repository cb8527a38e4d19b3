//! How much of the input was late or bad, in one line, and whether that is more than was allowed.

use std::time::Duration;

use crate::barrier::Samples;
use crate::error::{Error, Result};
use crate::job::report::Report;
use crate::samples::Overdue;
use crate::time::rough;

/// From this share on, a summary is worth a line.
const WORTH_A_LINE: f64 = 0.01;
/// From this on, no bound that one would set for disorder helps: the input is not in the order of time.
const NO_DISORDER: Duration = Duration::from_hours(1);

/// How many records there were, and how many of them late, behind the watermark, or bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shares {
    records: u64,
    late: u64,
    behind: u64,
    bad: u64,
}

/// The largest shares of the input that may be late and bad.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Most {
    pub(crate) late: Option<f64>,
    pub(crate) bad: Option<f64>,
}

#[expect(clippy::cast_precision_loss, reason = "a share is rounded anyway")]
fn share(of: u64, records: u64) -> f64 {
    if records == 0 { 0.0 } else { of as f64 / records as f64 }
}

impl Shares {
    /// Those of the records that were committed between two reports of a run.
    pub(crate) fn between(before: &Report, now: &Report) -> Self {
        let committed = |report: &Report| report.records_in() - report.pending;
        // What is committed only ever grows.
        Self {
            records: committed(now) - committed(before),
            late: now.late - before.late,
            behind: now.behind - before.behind,
            bad: now.dead_lettered - before.dead_lettered,
        }
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// The summary, if more than 1 % was late, behind or bad; the sources are out of order by at most this
    /// much.
    pub(crate) fn line(&self, samples: &Samples, out_of_orderness: Duration) -> Option<String> {
        let Self { records, late, behind, bad } = *self;
        if share(late + behind + bad, records) <= WORTH_A_LINE {
            return None;
        }
        let percent = |of| format!("{:.1} % ({of})", 100.0 * share(of, records));
        let mut line = format!("of {records} records {} were late", percent(late));
        if behind > 0 {
            line += &format!(", {} were used though behind the watermark", percent(behind));
        }
        line += &format!(", {} were bad", percent(bad));
        if let Some(overdue) = samples.overdue().filter(|_| late + behind > 0) {
            line += &self.by_how_much(overdue, out_of_orderness);
        }
        if let Some(first) = samples.first_late().filter(|_| late + behind > 0) {
            line += &format!("; first late: {first}");
        }
        if let Some(first) = samples.first_bad().filter(|_| bad > 0) {
            line += &format!("; first bad: {first}");
        }
        if let Some(cause) = self.likely_cause(samples) {
            line += &format!("; likely cause: {cause}");
        }
        Some(line)
    }

    /// How far they were behind, and which bound on disorder would have done.
    fn by_how_much(&self, overdue: &Overdue, out_of_orderness: Duration) -> String {
        // A record is late already where the watermark has just reached what it must not.
        let enough = |by: Duration| out_of_orderness + by + Duration::from_millis(1);
        let most = enough(overdue.most());
        let few = self.records / 100;
        let nearly = match overdue.all_but(few) {
            Duration::ZERO => out_of_orderness,
            by => enough(by).min(most),
        };
        format!(
            ", by {} at the median and {} at most; an out-of-orderness of {} (it is {}) would have sufficed for \
             99 % of the records, {} for all",
            rough(overdue.median()),
            rough(overdue.most()),
            rough(nearly),
            rough(out_of_orderness),
            rough(most)
        )
    }

    fn likely_cause(&self, samples: &Samples) -> Option<&'static str> {
        if self.bad > self.late + self.behind {
            return Some(
                "the producer writes another format than the decoder expects, see the first bad record",
            );
        }
        match samples.overdue() {
            Some(overdue) if overdue.median() > NO_DISORDER => Some(
                "the input is not in the order of its event times, as when files are loaded one after \
                 another or a record far ahead of the others came first; sort it before it is loaded",
            ),
            Some(_) => {
                Some("the sources are less in order than the out-of-orderness allows; raise it")
            }
            None => None,
        }
    }
}

impl Most {
    /// Whether the shares keep within the bounds; `of` says of which records they are.
    ///
    /// # Errors
    /// If more was late or bad than may be: with the figures.
    pub(crate) fn check(self, shares: &Shares, of: &str, summary: &str) -> Result<()> {
        let Shares { records, late, behind, bad } = *shares;
        for (what, most, count) in [("late", self.late, late + behind), ("bad", self.bad, bad)] {
            // No bound is set, or it is kept.
            let Some(most) = most.filter(|most| share(count, records) > *most) else { continue };
            return Err(Error::permanent(format!(
                "keep {what} records within {} % of the input: {count} of the {records} {of} were, {:.1} %: {summary}",
                100.0 * most,
                100.0 * share(count, records)
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Origin, Partition, Topic};

    fn at(offset: i64) -> Origin {
        Origin::new(Partition::new(Topic::new("clicks"), 3), offset)
    }

    fn late(by: impl IntoIterator<Item = u64>) -> Samples {
        let mut samples = Samples::default();
        for (seconds, offset) in by.into_iter().zip(0..) {
            let by = Duration::from_secs(seconds);
            samples.late(at(offset), Some(by), || "late: of noon".to_owned());
        }
        samples
    }

    fn shares(records: u64, late: u64, bad: u64) -> Shares {
        Shares { records, late, behind: 0, bad }
    }

    const FIVE: Duration = Duration::from_secs(5);

    #[test]
    fn one_in_a_hundred_is_not_worth_a_line() {
        assert_eq!(shares(1000, 5, 5).line(&late([1; 5]), FIVE), None);
        assert_eq!(shares(0, 0, 0).line(&Samples::default(), FIVE), None);
        assert!(shares(1000, 6, 5).line(&late([1; 6]), FIVE).is_some());
    }

    #[test]
    fn the_line_says_how_much_by_how_far_and_what_would_have_sufficed() {
        // Late by one second to 40 seconds; ten of a thousand may stay late.
        let line = shares(1000, 40, 0).line(&late(1..=40), FIVE).unwrap();
        assert!(
            line.starts_with("of 1000 records 4.0 % (40) were late, 0.0 % (0) were bad, by "),
            "{line}"
        );
        assert!(line.contains("40s at most"), "{line}");
        // 30 s and 5 s and what the sketch is off by.
        assert!(
            ["36s", "37s"].iter().any(|enough| line.contains(&format!("of {enough}"))),
            "{line}"
        );
        assert!(line.contains("(it is 5s)") && line.contains("46s for all"), "{line}");
        assert!(line.contains("first late: clicks/3 at offset 0: late: of noon"), "{line}");
        assert!(line.contains("raise it"), "{line}");
    }

    #[test]
    fn the_likely_cause_follows_from_how_late_they_were() {
        let hours = shares(100, 83, 0).line(&late([7200; 83]), FIVE).unwrap();
        assert!(hours.contains("files are loaded one after another"), "{hours}");
        let mut bad = Samples::default();
        bad.bad(at(7), "invalid type: floating point `579.0`");
        let line = shares(100, 0, 100).line(&bad, FIVE).unwrap();
        assert!(
            line.contains("100.0 % (100) were bad; first bad: clicks/3 at offset 7: invalid type"),
            "{line}"
        );
        assert!(line.contains("likely cause: the producer"), "{line}");
    }

    #[test]
    fn more_than_may_be_is_an_error_with_the_figures() {
        let most = Most { late: Some(0.05), bad: None };
        assert!(most.check(&shares(100, 5, 95), "records", "").is_ok());
        let error = most.check(&shares(100, 6, 0), "records of the run", "by 3s").unwrap_err();
        assert!(
            error.to_string().contains("within 5 % of the input: 6 of the 100 records of the run"),
            "{error}"
        );
        assert!(error.to_string().contains("6.0 %: by 3s"), "{error}");
        let most = Most { late: None, bad: Some(0.0) };
        assert!(most.check(&shares(100, 50, 1), "records", "").is_err());
    }
}
