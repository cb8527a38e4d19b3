//! Each row of the page "What happens if" names a test that is there.

use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../docs/what-happens-if.md");

/// The tests that a row names, each as a file and a function.
fn named(row: &str) -> Vec<(&str, &str)> {
    let quoted = row.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.split_once(".rs: ")).collect()
}

#[test]
fn every_row_has_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let rows: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("| ")).collect();
    let rows: Vec<&str> =
        rows.into_iter().filter(|row| !row.starts_with("| What happens |")).collect();
    assert!(rows.len() > 30, "only {} rows", rows.len());
    for row in rows {
        let cells = row.split(" | ").count();
        assert_eq!(cells, 5, "{row}");
        let tests = named(row);
        assert!(!tests.is_empty(), "no test shows this: {row}");
        for (file, function) in tests {
            let path = root.join(format!("{file}.rs"));
            let text = fs::read_to_string(&path).unwrap_or_default();
            let is_there = text.contains(&format!("fn {function}("));
            assert!(is_there, "{} has no test {function}", path.display());
        }
    }
}
