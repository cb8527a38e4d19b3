//! What does not fit does not compile, and the compiler says what to do in the library's own words.
//!
//! Each file in `cases` is a program. Its lines `//~` are words that must stand in what the compiler says;
//! one without them must compile. The rest of the compiler's message changes from release to release, and
//! nothing is expected of it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot compile its cases has failed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MANIFEST: &str = r#"
[package]
name = "misuse"
version = "0.0.0"
edition = "2024"

[workspace]

[dependencies]
futures = "0.3"
rtbflow = { path = "PATH" }

[profile.dev]
debug = false
"#;

/// A package with a program for each case.
fn package(cases: &BTreeMap<String, String>) -> PathBuf {
    let library = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("misuse");
    let programs = package.join("src/bin");
    let _ = fs::remove_dir_all(&programs);
    fs::create_dir_all(&programs).unwrap();
    fs::write(package.join("Cargo.toml"), MANIFEST.replace("PATH", library.to_str().unwrap()))
        .unwrap();
    // The versions that the library itself is built with.
    if let Ok(lock) = fs::read(library.join("../Cargo.lock")) {
        fs::write(package.join("Cargo.lock"), lock).unwrap();
    }
    for (name, text) in cases {
        fs::write(programs.join(format!("{name}.rs")), text).unwrap();
    }
    package
}

/// What the compiler says against each program.
fn errors(package: &Path) -> BTreeMap<String, String> {
    // Where what the library needs is checked already.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--bins", "--keep-going", "--message-format", "json"])
        .current_dir(package)
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let mut errors: BTreeMap<String, String> = BTreeMap::new();
    let mut finished = false;
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        finished |= message["reason"] == "build-finished";
        if message["reason"] == "compiler-message" && message["message"]["level"] == "error" {
            let name = message["target"]["name"].as_str().unwrap().to_owned();
            *errors.entry(name).or_default() += message["message"]["rendered"].as_str().unwrap();
        }
    }
    assert!(finished, "{}", String::from_utf8_lossy(&output.stderr));
    errors
}

#[test]
fn misuse_does_not_compile_and_is_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/misuse/cases");
    let cases: BTreeMap<String, String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(cases.len() >= 8, "only {} cases", cases.len());
    let errors = errors(&package(&cases));
    let mut wrong = String::new();
    for (name, text) in &cases {
        let expected: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("//~ ")).collect();
        let said = errors.get(name).map(String::as_str).unwrap_or_default();
        let missing = expected.iter().filter(|words| !said.contains(**words));
        let missing: Vec<_> = missing.collect();
        if !missing.is_empty() || expected.is_empty() != said.is_empty() {
            wrong += &format!("── {name}: it does not say {missing:?}, but\n{said}\n");
        }
    }
    if !wrong.is_empty() {
        panic!("{wrong}");
    }
}
