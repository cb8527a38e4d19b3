//! What the library crates show to others, as it is written down in `public-api.txt`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Crates whose types others may have to name, and why.
const SHOWN: &[(&str, &str)] = &[
    ("bytes", "state is shared with the place, and not copied"),
    ("futures_core", "a flow is a stream, and what connectors implement returns futures"),
];

/// Types of the language that begin a path.
const LANGUAGE: &[&str] = &["f64", "i32", "i64", "u32", "u64"];

/// The lines of all library crates.
fn lines() -> Vec<String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut lines = Vec::new();
    for name in ["rtbflow", "rtbflow-kafka", "rtbflow-sinks"] {
        let text = fs::read_to_string(workspace.join(name).join("public-api.txt")).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    assert!(lines.len() > 1_500, "only {} lines found", lines.len());
    lines
}

/// Whose items lines name that are neither our own nor may be shown.
fn foreign(lines: &[String]) -> BTreeSet<String> {
    let is_sign = |sign: char| sign.is_alphanumeric() || sign == '_' || sign == ':';
    let words = lines.iter().flat_map(|line| line.split(move |sign| !is_sign(sign)));
    let crates = words.filter_map(|word| word.split_once("::")).map(|(first, _)| first);
    let is_crate = |name: &&str| name.starts_with(|sign: char| sign.is_lowercase());
    let is_ours =
        |name: &str| name == "rtbflow" || name.starts_with("rtbflow_") || LANGUAGE.contains(&name);
    let is_shown = |name: &str| SHOWN.iter().any(|(shown, _)| *shown == name);
    let foreign = crates.filter(is_crate).filter(|name| !is_ours(name) && !is_shown(name));
    foreign.map(str::to_owned).collect()
}

#[test]
fn no_item_of_another_crate_is_shown() {
    assert_eq!(foreign(&lines()), BTreeSet::new());
}

#[test]
fn an_item_of_another_crate_is_noticed() {
    let lines = [
        "pub fn rtbflow_kafka::Kafka::client(&self) -> Option<rdkafka::client::Client>",
        "impl postgres_types::ToSql for rtbflow_sinks::postgres::Value",
        "pub fn rtbflow::state::Chunk::bytes(&self) -> bytes::bytes::Bytes",
        "pub type rtbflow::codec::Json<T>::Value = T",
        "pub type i32::Wide = i128",
    ];
    let found = foreign(&lines.map(str::to_owned));
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["postgres_types", "rdkafka"]);
}
