//! The account of a run, as the last line of the output tells it.

use rtbflow::job::Report;
use serde::Serialize;

#[derive(Serialize)]
struct Line<'a> {
    pipeline: &'a str,
    /// The sum of all classes: every record ends in exactly one.
    records_in: u64,
    #[serde(flatten)]
    report: &'a Report,
}

/// One JSON object on a line of its own.
#[must_use]
pub fn accounting_line(pipeline: &str, report: &Report) -> String {
    let line = Line { pipeline, records_in: report.records_in(), report };
    // Names and numbers always have a JSON form.
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_fields_of_the_contract() {
        let mut report = Report::default();
        (report.decoded, report.skipped, report.restarts) = (2, 1, 4);
        assert_eq!(
            accounting_line("balance-worker", &report),
            concat!(
                r#"{"pipeline":"balance-worker","records_in":3,"decoded":2,"filtered":0,"late":0,"#,
                r#""duplicates":0,"dead_lettered":0,"skipped":1,"pending":0,"records_out":0,"#,
                r#""commits":0,"restarts":4,"results_refused":0,"behind":0}"#,
                "\n"
            )
        );
    }
}
