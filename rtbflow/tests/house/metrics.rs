//! What is measured: each metric of the libraries stands on the page about them, once in its table and once where it is
//! said what to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::code::File;
use crate::{crate_of, libraries};

/// How the names of all metrics begin.
const BEGIN: &str = "\"rtbflow_";

/// The metrics that shipped code names.
fn named(files: &[File]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|file| file.names("metrics")) {
        let shipped = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        for rest in shipped.split(BEGIN).skip(1) {
            names.extend(rest.split('"').next().map(|rest| format!("rtbflow_{rest}")));
        }
    }
    names
}

/// The metrics in the table of a page.
fn listed(page: &str) -> Vec<&str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `rtbflow_"));
    rows.filter_map(|row| row.split('`').next()).collect()
}

/// What is wrong with a page about these metrics.
fn faults(names: &BTreeSet<String>, page: &str) -> Vec<String> {
    let listed: Vec<String> = listed(page).iter().map(|rest| format!("rtbflow_{rest}")).collect();
    let mut faults = Vec::new();
    for name in names {
        let rows = listed.iter().filter(|listed| *listed == name).count();
        let said = page.lines().filter(|line| !line.starts_with(&format!("| `{name}`")));
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let said = said.flat_map(|line| line.split(|c| !is_name(c))).any(|word| word == name);
        if rows != 1 {
            faults.push(format!("{name} has {rows} rows"));
        }
        if !said {
            faults.push(format!("{name} has no alert, and nothing says that it needs none"));
        }
    }
    let unknown = listed.iter().filter(|listed| !names.contains(*listed));
    faults.extend(unknown.map(|listed| format!("{listed} is measured nowhere")));
    faults
}

#[test]
fn each_metric_stands_on_the_page_about_them() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/watching.md");
    let names = named(&libraries().files);
    assert!(names.len() > 20, "only {} metrics found", names.len());
    assert_eq!(faults(&names, &fs::read_to_string(page).unwrap()), [""; 0]);
}

#[test]
fn a_metric_that_is_missing_on_the_page_is_noticed() {
    let code = "use metrics::counter;
fn measure() { counter!(\"rtbflow_a_total\"); counter!(\"rtbflow_b_total\"); }
#[cfg(test)]
mod tests { const C: &str = \"rtbflow_c_total\"; }";
    let names =
        named(&crate_of("rtbflow", &[("a.rs", code), ("b.rs", "const D: &str = \"rtbflow_d\";")]));
    assert_eq!(names.iter().collect::<Vec<_>>(), ["rtbflow_a_total", "rtbflow_b_total"]);
    let page = "| `rtbflow_a_total` | |\n| `rtbflow_e` | |\n| e | `rtbflow_a_total > 0 and rtbflow_a_total_x` |";
    assert_eq!(
        faults(&names, page),
        [
            "rtbflow_b_total has 0 rows",
            "rtbflow_b_total has no alert, and nothing says that it needs none",
            "rtbflow_e is measured nowhere",
        ]
    );
}
