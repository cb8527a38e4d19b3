//! The names of files: the same ones for the same things in all places, and none that say nothing.

use std::fs;
use std::path::Path;

use crate::code::Code;
use crate::{crate_of, libraries};

/// The places of results outside the process: the crate of each, and its folder there.
const PLACES: &[(&str, &str)] =
    &[("rtbflow_kafka", "anchor"), ("rtbflow_sinks", "postgres"), ("rtbflow_sinks", "redis")];
/// What each of them consists of, whatever else it has.
const IN_COMMON: &[&str] = &[
    "mod",
    // The public type, and its settings.
    "place",
    "options",
    // Its connections.
    "session",
    // The contract, and the steps that have a file of their own.
    "anchor",
    "claim",
    "restore",
    "commit",
    "forget",
    // The form of positions there, and what an error asks for.
    "positions",
    "failure",
];
/// What no file or folder of sources is called: pictures where there are words for it, and what holds anything.
const FORBIDDEN: &[&str] = &[
    "common", "door", "given", "held", "helper", "helpers", "inlet", "misc", "opening", "outgoing",
    "outlet", "room", "rooms", "seat", "seats", "shared", "stuff", "util", "utils", "wish",
    "wishes",
];
/// The crates of the workspace, and the one beside it.
const CRATES: &[&str] =
    &["rtbflow", "rtbflow-kafka", "rtbflow-sinks", "examples", "examples/newcomer", "benches"];

/// Which files a place does not have, and whether the anchor is elsewhere than in its file.
fn missing(code: &Code, places: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for (crate_name, folder) in places {
        for name in IN_COMMON {
            let path = Path::new(folder).join(name).with_extension("rs");
            let file =
                code.files.iter().find(|file| file.crate_name == *crate_name && file.path == path);
            match file {
                None => found.push(format!("{crate_name}/{} is missing", path.display())),
                Some(file) if *name == "anchor" && !file.text.contains("impl Anchor for ") => {
                    found.push(format!("{} has no anchor", file.name()));
                }
                Some(_) => {}
            }
        }
    }
    found
}

/// Which of these names of files are forbidden: that of the file, or of a folder that it is in.
fn forbidden<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<String> {
    let is_forbidden = |path: &&Path| {
        let path = path.with_extension("");
        path.iter().any(|name| FORBIDDEN.iter().any(|forbidden| name == *forbidden))
    };
    let found = paths.into_iter().filter(is_forbidden);
    found.map(|path| path.display().to_string()).collect()
}

/// The files of a folder and of those in it, by their paths below `root`.
fn files(root: &Path, folder: &Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(root, &path, into);
        } else {
            into.push(path.strip_prefix(root).unwrap().to_owned());
        }
    }
}

#[test]
fn the_same_thing_has_the_same_file_in_every_place() {
    assert_eq!(missing(libraries(), PLACES), [""; 0]);
}

#[test]
fn a_place_that_lacks_a_file_is_noticed() {
    let whole: Vec<(String, &str)> = IN_COMMON
        .iter()
        .map(|name| {
            (
                format!("oracle/{name}.rs"),
                if *name == "anchor" { "impl Anchor for Oracle {}" } else { "" },
            )
        })
        .collect();
    let place = |files: &[(String, &str)]| {
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        missing(&Code::of(crate_of("rtbflow_sinks", &files)), &[("rtbflow_sinks", "oracle")])
    };
    assert_eq!(place(&whole), [""; 0]);
    let mut broken = whole;
    for (path, text) in &mut broken {
        match path.as_str() {
            "oracle/session.rs" => *path = "oracle/seat.rs".to_owned(),
            "oracle/anchor.rs" => *text = "",
            _ => {}
        }
    }
    assert_eq!(
        place(&broken),
        [
            "rtbflow_sinks/oracle/session.rs is missing",
            "rtbflow_sinks/oracle/anchor.rs has no anchor"
        ]
    );
}

#[test]
fn no_file_has_a_name_that_is_forbidden() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = Vec::new();
    for name in CRATES {
        files(&workspace, &workspace.join(name).join("src"), &mut all);
    }
    assert!(all.len() > 300, "only {} files found", all.len());
    assert_eq!(forbidden(all.iter().map(|path| &**path)), [""; 0]);
}

#[test]
fn a_name_that_is_forbidden_is_noticed() {
    let names = ["src/anchor/seat.rs", "src/utils/time.rs", "src/lua/room.lua", "src/bedroom.rs"];
    let found = forbidden(names.map(Path::new));
    assert_eq!(found, ["src/anchor/seat.rs", "src/utils/time.rs", "src/lua/room.lua"]);
}
