//! The small programs of the guide: each runs, and the guide shows it as it is.

#![cfg(test)]

#[path = "../../examples/hello-flow.rs"]
mod hello_flow;
#[path = "../../examples/join.rs"]
mod join;
#[path = "../../examples/own-operator-and-sink.rs"]
mod own_operator_and_sink;
#[path = "../../examples/windows.rs"]
mod windows;

/// A program, and the chapter that shows it.
const SHOWN: [(&str, &str); 4] = [
    (
        include_str!("../../examples/hello-flow.rs"),
        include_str!("../../../rtbflow/docs/first-pipeline.md"),
    ),
    (include_str!("../../examples/windows.rs"), include_str!("../../../rtbflow/docs/windows.md")),
    (include_str!("../../examples/join.rs"), include_str!("../../../rtbflow/docs/joins.md")),
    (
        include_str!("../../examples/own-operator-and-sink.rs"),
        include_str!("../../../rtbflow/docs/own-operators.md"),
    ),
];

#[test]
fn the_guide_shows_each_program_as_it_is() {
    for (program, chapter) in SHOWN {
        // Without the sentence that says what it is, and without its test.
        let (_, program) = program.split_once("\n\n").unwrap();
        let (program, _) = program.split_once("\n\n#[cfg(test)]").unwrap();
        assert!(chapter.contains(program), "the guide has another text than this:\n{program}");
        let lines = program.lines().count();
        assert!((15..=60).contains(&lines), "{lines} lines: a program of the guide is short");
    }
}
