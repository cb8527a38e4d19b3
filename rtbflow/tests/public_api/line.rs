//! A line of a listing: how it is written, and what it is about.

/// Crates whose items go by their last names, wherever they are defined.
const WELL_KNOWN: [&str; 4] = ["serde_core", "alloc", "core", "std"];

/// Crates that bounds are of.
const CRATES: [&str; 8] = [
    "rtbflow_kafka",
    "rtbflow_sinks",
    "rtbflow",
    "futures_core",
    "serde_core",
    "alloc",
    "core",
    "std",
];

/// Replaces each path that a line names.
pub(crate) fn replace_paths(line: &str, replace: impl Fn(&str) -> String) -> String {
    let ends = |sign: char| !sign.is_alphanumeric() && sign != '_' && sign != ':';
    let pieces = line.split_inclusive(ends).flat_map(|piece| {
        let (path, rest) = piece.split_at(piece.find(ends).unwrap_or(piece.len()));
        let name = path.trim_end_matches(':');
        [replace(name), path[name.len()..].to_owned(), rest.to_owned()]
    });
    pieces.collect()
}

/// An associated type and its bound, which are listed without what is between them; or no type, and the whole.
pub(crate) fn bound(path: &str) -> (Option<&str>, &str) {
    let first = path.split("::").next().unwrap_or_default();
    let crate_name = CRATES.iter().find(|name| first.ends_with(*name));
    let (bounded, bound) = path.split_at(first.len() - crate_name.map_or(0, |name| name.len()));
    let is_bounded = crate_name.is_some() && bounded.starts_with(char::is_uppercase);
    if is_bounded { (Some(bounded), bound) } else { (None, path) }
}

/// A path of a well-known crate is its last name; any other is as it is.
pub(crate) fn short(path: &str) -> String {
    let first = path.split("::").next().unwrap_or_default();
    let is_short = WELL_KNOWN.contains(&first);
    path.rsplit("::").next().filter(|_| is_short).unwrap_or(path).to_owned()
}

/// The path at which a text begins, without parameters.
fn without_parameters(text: &str) -> String {
    let (mut path, mut depth) = (String::new(), 0);
    for sign in text.chars() {
        match sign {
            '<' => depth += 1,
            '>' => depth -= 1,
            '(' | ' ' if depth == 0 => break,
            _ if depth == 0 => path.push(sign),
            _ => {}
        }
    }
    path.trim_end_matches(':').to_owned()
}

/// The path of the item that a line is, without parameters.
pub(crate) fn path(line: &str) -> String {
    let line = &line[line.find("pub ").unwrap_or_default()..];
    let names: Vec<&str> = line.split(' ').collect();
    let first = names.iter().position(|name| name.contains("::")).unwrap_or(names.len() - 1);
    without_parameters(&names[first..].join(" "))
}

/// The path of the type that implements a trait, or of the trait, if the type is not the crate's own.
pub(crate) fn implementor(head: &str, crate_name: &str) -> String {
    let (implemented, implementor) = head.split_once(" for ").unwrap_or(("", head));
    let names = implemented.rsplit(' ').map(without_parameters);
    let mut names = [without_parameters(implementor)].into_iter().chain(names);
    let own = |name: &String| name.split("::").next() == Some(crate_name);
    names.find(own).unwrap_or_default()
}

/// Whether a line says that a type is not what types are by themselves, and nobody notices when one ceases to be.
pub(crate) fn is_negative(line: &str) -> bool {
    line.starts_with("impl") && line.split(' ').any(|word| ["!Send", "!Sync"].contains(&word))
}

/// Whether a line is a field or a variant: it has no word for what it is.
pub(crate) fn is_part(line: &str) -> bool {
    let rest = line.strip_prefix("pub ").unwrap_or_default();
    rest.split(['(', ' ']).next().is_some_and(|name| name.contains("::"))
}

#[test]
fn a_line_is_about_a_path() {
    for (line, about) in [
        ("pub mod a", "a"),
        ("#[non_exhaustive] pub enum a::Kind", "a::Kind"),
        ("pub a::Either::Left(L)", "a::Either::Left"),
        ("pub a::Range::from: u64", "a::Range::from"),
        ("pub async fn a::Source<T: a::B>::close(&self) -> a::C", "a::Source::close"),
    ] {
        assert_eq!(path(line), about, "{line}");
    }
    for (head, about) in [
        ("impl<T> a::Sink<T> for a::Collect<T> where T: Send", "a::Collect"),
        ("impl<F> a::Route<a::B> for F where F: Fn(&a::B)", "a::Route"),
        ("impl !Send for a::Range", "a::Range"),
        ("impl a::Sink for b::Range", "a::Sink"),
    ] {
        assert_eq!(implementor(head, "a"), about, "{head}");
    }
}

#[test]
fn paths_of_well_known_crates_are_short() {
    let line = "pub fn a::f(core::option::Option<&a::A>, alloc::vec::Vec<u8>) -> Self";
    assert_eq!(replace_paths(line, short), "pub fn a::f(Option<&a::A>, Vec<u8>) -> Self");
}

#[test]
fn a_bound_is_set_apart_from_its_type() {
    let path = "Valueserde_core::ser::Serialize";
    assert_eq!(bound(path), (Some("Value"), "serde_core::ser::Serialize"));
    assert_eq!(bound("Batchrtbflow::source::Batch"), (Some("Batch"), "rtbflow::source::Batch"));
    for whole in ["rtbflow::source::Batch", "Value", "Self", "S2", "core::fmt::Debug"] {
        assert_eq!(bound(whole), (None, whole));
    }
}
