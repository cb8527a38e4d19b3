//! What builds have stored half-way, each in a file that names the build; and how this one stores it.

use std::fs;

/// Names the build whose state is to be stored, such as `2026-11-28-83c1bbf`; nothing is stored without it.
const STORE: &str = "RTBFLOW_STORE_STATE";

/// The fixtures in a folder: texts by the names of the builds.
pub(crate) fn stored(folder: &str) -> Vec<(String, String)> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let build = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (build, fs::read_to_string(path).unwrap())
    };
    let mut stored: Vec<_> = files.map(read).collect();
    stored.sort_unstable();
    assert!(!stored.is_empty(), "{folder} has nothing that was stored");
    stored
}

/// Stores what lies in a place, if that is wanted; a remark that says how opens it.
pub(crate) fn store(folder: &str, (ending, remark): (&str, &str), text: &str) {
    if let Ok(build) = std::env::var(STORE) {
        let head = format!(
            "{remark} Stored half-way by the build {build}; again, in its tree and by these tests:\n\
             {remark} {STORE}={build} cargo test --workspace this_build\n"
        );
        fs::write(format!("{folder}/{build}.{ending}"), head + text).unwrap();
    }
}

/// The text with another last digit in the last of its lines that has all these words.
pub(crate) fn spoilt(text: &str, words: &[&str]) -> String {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let found = lines.iter_mut().rfind(|line| words.iter().all(|word| line.contains(word)));
    let line = found.unwrap_or_else(|| panic!("no line has {words:?}"));
    let at = line.rfind(|sign: char| sign.is_ascii_hexdigit()).unwrap();
    let other = if line[at..].starts_with('0') { "1" } else { "0" };
    line.replace_range(at..=at, other);
    lines.join("\n")
}
