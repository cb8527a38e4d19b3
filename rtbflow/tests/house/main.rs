//! The rules of the house that the compiler does not know: who may know whom, how a file begins and is called, how long
//! it is, and which words are not used.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources has failed")]
#![expect(clippy::panic, reason = "a source that does not parse fails the test")]
#![expect(clippy::indexing_slicing, reason = "indices are of the files that were read")]

mod architecture;
mod bounds;
mod code;
mod connectors;
mod contracts;
mod listing;
mod metrics;
mod names;
mod operators;
mod places;
mod sizes;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use code::{Code, File};

/// The floors of `rtbflow`, from the ground up: a room may know its own floor and those below it.
const FLOORS: &[(&str, &[&str])] = &[
    (
        "words",
        &[
            "activity",
            "alarm",
            "barrier",
            "bounded",
            "broken",
            "chunk",
            "clock",
            "dead_letter",
            "either",
            "element",
            "error",
            "hash",
            "log",
            "position",
            "raw_record",
            "record",
            "refused_result",
            "samples",
            "sketch",
            "staged",
            "table",
            "time",
        ],
    ),
    ("contracts", &["codec", "epoch", "lookup", "sink", "source", "state"]),
    ("flow", &["flow", "topology", "writer"]),
    ("operators", &["operators"]),
    ("job", &["job"]),
    ("testing", &["guide", "testing", "lib"]),
];
/// What connectors may know of `rtbflow`, as a user's own may.
const CONNECTORS_KNOW: usize = 1;
/// Rooms in which nothing waits and nothing is spawned, and what they must not name therefore.
const STILL: &[(&str, &[&str])] = &[
    // A source waits by its nature; none of them starts anything.
    ("source/stream", &["tokio::task", "tokio::spawn"]),
    ("source/tick.rs", &["tokio::task", "tokio::spawn"]),
    ("source", &["tokio"]),
    ("state", &["tokio"]),
    ("codec", &["tokio"]),
    ("sink", &["tokio"]),
    ("epoch", &["tokio"]),
    ("flow.rs", &["tokio"]),
    ("operators", &["tokio", "SystemTime", "Instant"]),
];

/// The chapter that says what each operator keeps.
const TIME: &str = include_str!("../../docs/time.md");

fn libraries() -> &'static Code {
    static LIBRARIES: OnceLock<Code> = OnceLock::new();
    LIBRARIES.get_or_init(read)
}

fn read() -> Code {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let code = Code::read(&[
        ("rtbflow", workspace.join("rtbflow")),
        ("rtbflow_kafka", workspace.join("rtbflow-kafka")),
        ("rtbflow_sinks", workspace.join("rtbflow-sinks")),
    ]);
    assert!(code.files.len() > 250, "only {} files found", code.files.len());
    code
}

/// A small crate, to show that a rule is noticed when it is broken.
fn crate_of(name: &'static str, files: &[(&str, &str)]) -> Vec<File> {
    let file = |(path, text): &(&str, &str)| File::new(name, Path::new(path), (*text).to_owned());
    files.iter().map(file).collect()
}

/// On which floor a file is.
fn floor(file: &File) -> usize {
    let room = file.path.iter().next().unwrap().to_str().unwrap();
    let room = room.strip_suffix(".rs").unwrap_or(room);
    let floor = FLOORS.iter().position(|(_, rooms)| rooms.contains(&room));
    floor.unwrap_or_else(|| panic!("{room} is on no floor"))
}

/// Who knows a floor that it must not know.
fn climbers(code: &Code) -> Vec<String> {
    let mut found = Vec::new();
    for (index, file) in code.files.iter().enumerate() {
        let highest = if file.crate_name == "rtbflow" { floor(file) } else { CONNECTORS_KNOW };
        for used in code.uses(index) {
            let used = &code.files[used];
            if used.crate_name == "rtbflow" && floor(used) > highest {
                found.push(format!("{} knows {}", file.name(), used.name()));
            }
        }
    }
    found
}

fn circles(code: &Code) -> Vec<String> {
    let circle = |circle: Vec<usize>| {
        let names: Vec<_> = circle.into_iter().map(|file| code.files[file].name()).collect();
        names.join(", ")
    };
    code.circles().into_iter().map(circle).collect()
}

#[test]
fn no_room_knows_a_floor_above_it() {
    assert_eq!(climbers(libraries()), [""; 0]);
}

#[test]
fn a_room_that_knows_a_floor_above_it_is_noticed() {
    let mut files = crate_of(
        "rtbflow",
        &[
            ("lib.rs", "pub mod error; pub mod job; pub use job::Job;"),
            ("error.rs", "fn f() { crate::job::run() }"),
            ("job/mod.rs", "pub mod run; pub use run::Job;"),
            ("job/run.rs", "use crate::error::Error; pub struct Job;"),
        ],
    );
    files.extend(crate_of(
        "rtbflow_sinks",
        &[("lib.rs", "use rtbflow::Job; use rtbflow::error::Error;")],
    ));
    let found = climbers(&Code::of(files));
    assert_eq!(
        found,
        [
            "rtbflow/error.rs knows rtbflow/job/run.rs",
            "rtbflow_sinks/lib.rs knows rtbflow/job/run.rs"
        ]
    );
}

#[test]
fn no_files_use_each_other() {
    assert_eq!(circles(libraries()), [""; 0]);
}

#[test]
fn files_that_use_each_other_are_noticed() {
    let files = crate_of(
        "rtbflow",
        &[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::{B, other as o};"),
            ("b.rs", "fn f(c: super::c::C) {}"),
            ("c.rs", "use crate::a; #[cfg(test)] mod tests { use crate::d::D; }"),
            ("d.rs", "use crate::c::C;"),
        ],
    );
    assert_eq!(circles(&Code::of(files)), ["rtbflow/a.rs, rtbflow/b.rs, rtbflow/c.rs"]);
}

#[test]
fn below_the_job_nothing_waits() {
    let (code, mut looked) = (libraries(), 0);
    for file in code.files.iter().filter(|file| file.crate_name == "rtbflow") {
        let Some((_, banned)) = STILL.iter().find(|(room, _)| file.path.starts_with(room)) else {
            continue;
        };
        looked += 1;
        for name in *banned {
            assert!(!file.names(name), "{} names {name}", file.name());
        }
    }
    assert!(looked > 80, "only {looked} files were looked at");
    let waits =
        crate_of("rtbflow", &[("flow.rs", "async fn f() { tokio::time::sleep(long()).await }")]);
    assert!(waits.iter().all(|file| file.names("tokio") && !file.names("tokio::spawn")));
}

#[test]
fn every_file_opens_with_one_sentence() {
    for file in &libraries().files {
        let opens = file.text.starts_with("//! ") || file.text.starts_with("#![doc = include_str!");
        assert!(opens, "{} does not say what it is", file.name());
    }
}

#[test]
fn an_operator_is_one_file_and_one_line() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/operators");
    let rooms = fs::read_to_string(folder.join("mod.rs")).unwrap();
    for entry in fs::read_dir(&folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // What several operators share.
        if path.is_dir() || ["mod", "late", "stateless", "in_order"].contains(&name.as_str()) {
            continue;
        }
        assert!(rooms.contains(&format!("mod {name};")), "{name} is not in operators/mod.rs");
        let text = fs::read_to_string(&path).unwrap();
        let method = [format!("pub fn {name}<"), format!("pub fn {name}(")];
        let known = method.iter().any(|method| text.contains(method));
        assert!(known, "operators/{name}.rs has no method `{name}`");
        let has_a_row = [format!("`{name}`"), format!("`{name}(")];
        let has_a_row = has_a_row.iter().any(|row| TIME.contains(row));
        assert!(has_a_row, "docs/time.md does not say what `{name}` keeps");
    }
}
