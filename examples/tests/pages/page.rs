//! What can be compared of a page in Markdown.

use std::collections::BTreeSet;

/// The blocks of code: the language, with what follows it, and the code.
pub(crate) fn code_blocks(page: &str) -> Vec<(&str, &str)> {
    let fenced = page.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).collect()
}

/// Where its links lead.
pub(crate) fn links(text: &str) -> BTreeSet<&str> {
    let behind = text.split("](").skip(1);
    behind.filter_map(|rest| rest.split_once(')')).map(|(link, _)| link).collect()
}

/// What stands between backticks.
pub(crate) fn code_names(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Numbers and versions.
pub(crate) fn numbers(text: &str) -> BTreeSet<&str> {
    let runs = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    runs.map(|run| run.trim_matches('.')).filter(|run| !run.is_empty()).collect()
}

/// A row of a table.
pub(crate) struct Row<'a>(&'a str);

impl<'a> Row<'a> {
    pub(crate) fn text(&self) -> &'a str {
        self.0
    }

    /// One of its cells; empty if there is none.
    pub(crate) fn cell(&self, at: usize) -> &'a str {
        self.0.split('|').nth(at + 1).unwrap_or_default().trim()
    }
}

/// The tables, without their heads.
pub(crate) fn tables(page: &str) -> Vec<Vec<Row<'_>>> {
    let mut tables = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with('|') && lines.next_if(|line| line.starts_with("|---")).is_some() {
            let mut rows = Vec::new();
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(Row(row));
            }
            tables.push(rows);
        }
    }
    tables
}
