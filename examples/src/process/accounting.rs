//! The account of a run: every record ends in exactly one class, and the sum says so.

use rtbflow::job::Report;
use rtbflow::{Error, Result};
use serde::Serialize;

/// How many records a run took in, and what became of them. Only what was committed counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Accounting {
    /// Read.
    pub records_in: u64,
    /// Used for a result.
    pub decoded: u64,
    /// Of no interest to the pipeline.
    pub filtered: u64,
    /// Too late, whether dropped or sent to the dead-letter topic.
    pub late: u64,
    /// Repeats of one that was seen.
    pub duplicates: u64,
    /// Not usable.
    pub dead_lettered: u64,
    /// Without a value.
    pub skipped: u64,
    /// Read and not committed.
    pub pending: u64,
    /// Rows, keys or events written.
    pub records_out: u64,
    /// Commits.
    pub commits: u64,
    /// How often the pipeline began again after an error.
    pub restarts: u64,
}

impl From<Report> for Accounting {
    fn from(report: Report) -> Self {
        Self {
            records_in: report.records_in(),
            decoded: report.decoded,
            filtered: report.filtered,
            late: report.late,
            duplicates: report.duplicates,
            dead_lettered: report.dead_lettered,
            skipped: report.skipped,
            pending: report.pending,
            records_out: report.records_out,
            commits: report.commits,
            restarts: report.restarts,
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    pipeline: &'a str,
    #[serde(flatten)]
    accounting: Accounting,
}

impl Accounting {
    /// The records in all classes together.
    #[must_use]
    pub fn classified(&self) -> u64 {
        self.decoded
            + self.filtered
            + self.late
            + self.duplicates
            + self.dead_lettered
            + self.skipped
            + self.pending
    }

    /// Checks that every record ended in exactly one class.
    ///
    /// # Errors
    /// If the classes do not add up to the records read: a record was lost or counted twice.
    pub fn check(&self) -> Result<()> {
        if self.classified() == self.records_in {
            return Ok(());
        }
        Err(Error::permanent(format!(
            "account for every record: {} were read, {} are accounted for",
            self.records_in,
            self.classified()
        )))
    }

    /// One JSON object on a line of its own.
    #[must_use]
    pub fn line(&self, pipeline: &str) -> String {
        let line = Line { pipeline, accounting: *self };
        // Names and numbers always have a JSON form.
        serde_json::to_string(&line).unwrap_or_default() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_fields_of_the_contract() {
        let accounting = Accounting { records_in: 3, decoded: 2, skipped: 1, ..Default::default() };
        assert!(accounting.check().is_ok());
        assert_eq!(
            accounting.line("balance-worker"),
            concat!(
                r#"{"pipeline":"balance-worker","records_in":3,"decoded":2,"filtered":0,"late":0,"#,
                r#""duplicates":0,"dead_lettered":0,"skipped":1,"pending":0,"records_out":0,"#,
                r#""commits":0,"restarts":0}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_lost_record_is_an_error() {
        let accounting = Accounting { records_in: 3, decoded: 2, ..Default::default() };
        assert!(accounting.check().unwrap_err().report().contains("3 were read, 2"));
    }
}
