//! How operators are made: few know of barriers, and none says in its signature how it works.

use super::code::File;
use super::{crate_of, libraries};

/// Of the operators, these take barriers apart: the loops of those with and without state, where flows part and come
/// together, and where they end. Whatever else there is, is written in terms of these.
const KNOW_BARRIERS: &[&str] = &[
    "operators/split.rs",
    "operators/stateful/operator.rs",
    "operators/stateless.rs",
    "operators/to.rs",
    "operators/union.rs",
];

/// And these are polled: those, and one that waits for answers in their order.
const ARE_POLLED: &[&str] = &[
    "operators/in_order.rs",
    "operators/split.rs",
    "operators/stateful/operator.rs",
    "operators/stateless.rs",
    "operators/to.rs",
    "operators/union.rs",
];

fn operators(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.crate_name == "rtbflow" && file.path.starts_with("operators"))
}

fn shipped(file: &File) -> &str {
    file.text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// The operators whose shipped code has this text.
fn that_have(files: &[File], text: &str) -> Vec<String> {
    let have = operators(files).filter(|file| shipped(file).contains(text));
    let mut names: Vec<_> = have.map(|file| file.path.display().to_string()).collect();
    names.sort_unstable();
    names
}

fn know_barriers(files: &[File]) -> Vec<String> {
    that_have(files, "Element::Barrier")
}

fn are_polled(files: &[File]) -> Vec<String> {
    that_have(files, "fn poll")
}

/// Public methods whose type says what makes the flow.
fn tell_how(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in operators(files) {
        for method in shipped(file).split("    pub fn ").skip(1) {
            let signature = method.split('{').next().unwrap_or_default();
            let Some((name, returned)) = signature.split_once("-> Flow<") else { continue };
            if !returned.starts_with("impl Elements<") {
                let name = name.split(['(', '<']).next().unwrap_or_default();
                found.push(format!("{}: {name}", file.name()));
            }
        }
    }
    found
}

#[test]
fn few_operators_know_of_barriers() {
    assert_eq!(know_barriers(&libraries().files), KNOW_BARRIERS);
}

#[test]
fn few_operators_are_polled() {
    assert_eq!(are_polled(&libraries().files), ARE_POLLED);
}

#[test]
fn no_operator_says_in_its_signature_how_it_works() {
    assert_eq!(tell_how(&libraries().files), [""; 0]);
}

#[test]
fn an_operator_that_breaks_these_rules_is_noticed() {
    let text = "impl<S: Elements> Flow<S> {
    /// Doubles.
    pub fn double(self) -> Flow<Double<S>> {
        match element { Element::Barrier(barrier) => barrier }
    }
    fn poll_next() {}
}";
    let files = crate_of("rtbflow", &[("operators/double.rs", text)]);
    assert_eq!(know_barriers(&files), ["operators/double.rs"]);
    assert_eq!(are_polled(&files), ["operators/double.rs"]);
    assert_eq!(tell_how(&files), ["rtbflow/operators/double.rs: double"]);
}
