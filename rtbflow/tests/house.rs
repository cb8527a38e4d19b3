//! The rules of the house that the compiler does not know: who may know whom, and how a file begins.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// A room, and words that must not stand in its files.
const FLOORS: &[(&str, &[&str])] = &[
    ("error.rs", &["crate::", "tokio"]),
    ("time.rs", &["crate::", "tokio"]),
    ("clock.rs", &["crate::job", "crate::operators", "tokio"]),
    ("alarm.rs", &["crate::", "tokio"]),
    ("either.rs", &["crate::", "tokio"]),
    ("hash.rs", &["crate::", "tokio"]),
    ("sketch.rs", &["crate::", "tokio"]),
    ("samples.rs", &["crate::job", "crate::operators", "crate::epoch", "tokio"]),
    ("refused_result.rs", &["crate::", "tokio"]),
    ("element.rs", &["crate::job", "crate::operators", "crate::epoch", "tokio"]),
    ("barrier.rs", &["crate::job", "crate::operators", "crate::epoch", "tokio"]),
    ("state", &["crate::job", "crate::operators", "crate::epoch", "tokio"]),
    ("codec", &["crate::job", "crate::operators", "tokio"]),
    ("sink", &["crate::job", "crate::operators", "tokio"]),
    // A source waits by its nature; none of them starts anything.
    ("source/stream.rs", &["crate::job", "crate::operators", "tokio::task", "tokio::spawn"]),
    ("source/tick.rs", &["crate::job", "crate::operators", "tokio::task", "tokio::spawn"]),
    ("source", &["crate::job", "crate::operators", "tokio"]),
    ("flow.rs", &["crate::job", "crate::operators", "crate::epoch", "tokio"]),
    (
        "operators",
        &["crate::job", "crate::epoch", "crate::clock", "tokio", "SystemTime", "Instant"],
    ),
    ("epoch", &["crate::job", "crate::operators", "tokio"]),
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn all() -> Vec<PathBuf> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 40, "only {} files found", files.len());
    files
}

/// The lines that are compiled into the library: no tests, no comments.
fn shipped(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_room_knows_a_floor_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut looked = 0;
    for path in all() {
        let inside = path.strip_prefix(&root).unwrap();
        let Some((_, forbidden)) = FLOORS.iter().find(|(room, _)| inside.starts_with(room)) else {
            continue;
        };
        looked += 1;
        let code = shipped(&path);
        for word in *forbidden {
            assert!(!code.contains(word), "{} knows {word}", inside.display());
        }
    }
    assert!(looked > 25, "only {looked} files were looked at");
}

#[test]
fn every_file_opens_with_one_sentence() {
    for path in all() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not say what it is", path.display());
    }
}

#[test]
fn an_operator_is_one_file_and_one_line() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/operators");
    let rooms = fs::read_to_string(folder.join("mod.rs")).unwrap();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() || name == "mod" {
            continue;
        }
        assert!(rooms.contains(&format!("mod {name};")), "{name} is not in operators/mod.rs");
        let text = fs::read_to_string(&path).unwrap();
        let method = [format!("pub fn {name}<"), format!("pub fn {name}(")];
        let known = method.iter().any(|method| text.contains(method));
        assert!(known, "operators/{name}.rs has no method `{name}`");
    }
}
