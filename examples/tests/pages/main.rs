//! The pages at the front: README in both languages, the READMEs of the crates, the changelog.

#![cfg(test)]

mod page;

use std::collections::BTreeSet;

use page::{code_blocks, code_names, links, numbers, tables};
use rtbflow_examples::pipeline::{
    BALANCE, BUDGET, COMPENSATION, DUPLICATES, MATCHING, PERFORMANCE, Pipeline, RANKING,
};

const ENGLISH: &str = include_str!("../../../README.md");
const KOREAN: &str = include_str!("../../../README.ko.md");
const KAFKA: &str = include_str!("../../../rtbflow-kafka/README.md");
const SINKS: &str = include_str!("../../../rtbflow-sinks/README.md");
const CHANGELOG: &str = include_str!("../../../CHANGELOG.md");

const PIPELINES: [Pipeline; 7] =
    [RANKING, PERFORMANCE, MATCHING, DUPLICATES, BALANCE, BUDGET, COMPENSATION];

/// What the translation says otherwise than the original, or not at all. Beyond that it may say more.
fn differences(original: &str, translation: &str) -> Vec<String> {
    let mut found = Vec::new();
    if code_blocks(original) != code_blocks(translation) {
        found.push("other code blocks".to_owned());
    }
    for link in links(original).difference(&links(translation)) {
        // To the translation itself.
        if *link != "README.ko.md" {
            found.push(format!("no link to {link}"));
        }
    }
    let (originals, translations) = (tables(original), tables(translation));
    if originals.len() != translations.len() {
        found.push(format!("{} tables instead of {}", translations.len(), originals.len()));
    }
    for (original, translation) in originals.iter().zip(&translations) {
        if original.len() != translation.len() {
            found.push(format!("{} rows instead of {}", translation.len(), original.len()));
        }
        for (original, translation) in original.iter().zip(translation) {
            let (name, translated) = (original.cell(0), translation.cell(0));
            if code_names(name) != code_names(translated) || links(name) != links(translated) {
                found.push(format!("{translated} instead of {name}"));
            }
            let (original, translation) = (original.text(), translation.text());
            for missing in code_names(original).difference(&code_names(translation)) {
                found.push(format!("{name}: nothing of `{missing}`"));
            }
            for missing in numbers(original).difference(&numbers(translation)) {
                found.push(format!("{name}: nothing of {missing}"));
            }
        }
    }
    found
}

#[test]
fn the_korean_readme_says_what_the_english_one_says() {
    assert_eq!(differences(ENGLISH, KOREAN), [""; 0]);
    let sizes: Vec<usize> = tables(KOREAN).iter().map(Vec::len).collect();
    assert_eq!(sizes, [7, 6, 3], "pipelines, guarantees, servers");
    assert_eq!(code_blocks(KOREAN).len(), 2, "the example, the two commands");
}

#[test]
fn a_translation_that_falls_behind_is_noticed() {
    for (from, to, expected) in [
        ("./dev demo    #", "./dev show    #", "other code blocks"),
        ("[`balance-worker`]", "[`balance`]", "[`balance`](examples/src/balance.rs) instead of"),
        ("(examples/src/balance.rs)", "(examples/src/b.rs)", "no link to examples/src/balance.rs"),
        ("appendfsync everysec", "appendfsync", "Redis: nothing of `appendfsync everysec`"),
        ("9.6.24, ", "", "Postgres: nothing of 9.6.24"),
        ("| 메모리 |", "메모리 |", "instead of"),
        ("(DESIGN.md)", "(design.md)", "no link to DESIGN.md"),
    ] {
        let behind = KOREAN.replacen(from, to, 1);
        assert_ne!(behind, KOREAN, "{from}");
        let found = differences(ENGLISH, &behind);
        assert!(found.iter().any(|found| found.contains(expected)), "{from}: {found:?}");
    }
}

#[test]
fn the_readmes_name_each_other_at_their_top() {
    for (page, link) in [(ENGLISH, "README.ko.md"), (KOREAN, "README.md")] {
        let top: String = page.lines().take(3).collect();
        assert_eq!(links(&top), BTreeSet::from([link]));
    }
}

#[test]
fn the_readmes_have_the_pipelines_that_there_are() {
    for page in [ENGLISH, KOREAN] {
        let pages = tables(page);
        let rows = pages.first().unwrap();
        assert_eq!(rows.len(), PIPELINES.len());
        for (pipeline, row) in PIPELINES.iter().zip(rows) {
            assert_eq!(code_names(row.cell(0)), BTreeSet::from([pipeline.name]));
        }
    }
    for (pipeline, row) in PIPELINES.iter().zip(tables(KOREAN).first().unwrap()) {
        let documented = row.cell(1);
        assert_eq!(code_names(documented), BTreeSet::from([pipeline.group]));
        let kind =
            if pipeline.group.starts_with("flink-") { "스테이트먼트" } else { "워커" };
        assert!(documented.contains(kind), "{documented}");
        let topics: BTreeSet<&str> = pipeline.reads.iter().map(|topic| topic.name()).collect();
        assert_eq!(code_names(row.cell(3)), topics, "{}", pipeline.name);
    }
}

#[test]
fn a_readme_shows_no_line_that_is_for_the_compiler_alone() {
    let hidden = |page: &str| {
        let lines: Vec<String> = code_blocks(page)
            .iter()
            .flat_map(|(_, code)| code.lines())
            .filter(|line| *line == "#" || line.starts_with("# "))
            .map(str::to_owned)
            .collect();
        lines
    };
    for page in [ENGLISH, KOREAN, KAFKA, SINKS] {
        assert!(!code_blocks(page).is_empty());
        assert_eq!(hidden(page), [""; 0]);
    }
    assert_eq!(hidden("```rust\nlet one = 1;\n# drop(one);\n```\n"), ["# drop(one);"]);
}

#[test]
fn the_changelog_says_which_release_this_is() {
    let version = env!("CARGO_PKG_VERSION");
    let mut releases = CHANGELOG.lines().filter_map(|line| line.strip_prefix("## "));
    assert_eq!(releases.next(), Some("[Unreleased]"));
    let Some(newest) = releases.next() else {
        // There is no tag that a heading of its own would be linked to.
        assert!(CHANGELOG.contains(&format!("\nThe first release, {version}, is being prepared")));
        return;
    };
    let (named, date) = newest.split_once(" - ").unwrap();
    assert_eq!(named, format!("[{version}]"));
    let digits: Vec<usize> = date.split('-').map(str::len).collect();
    assert_eq!(digits, [4, 2, 2], "{date} is no date");
    for linked in ["Unreleased", version] {
        assert!(CHANGELOG.contains(&format!("\n[{linked}]: ")), "{linked} leads nowhere");
    }
}
