//! Words that the house does not use in code, comments, messages and documents, and what to say instead.

use std::fs;
use std::path::Path;

/// What is not said, in small letters, and what is said instead.
const BANNED: &[(&str, &str)] = &[
    ("told", "`reported`, `distinguished`, `assigned`, or who learns what"),
    ("put out", "`emit` or `emitted`"),
    ("puts out", "`emits`"),
    ("putting out", "`emitting`"),
    ("can not", "`cannot`; `must not` where it is a rule"),
    ("let go of", "`drop`, `release`, `complete` or `give back`"),
    ("lets go of", "`drops`, `releases`, `completes` or `gives back`"),
    ("letting go of", "`dropping`, `releasing` or `giving back`"),
    ("so many", "`this many`, or the quantity by its name"),
    ("so long", "`this long`, `as long as`, or the time by its name"),
    ("one a key", "`one per key`"),
    ("one a partition", "`one per partition`"),
    ("row a key", "`row per key`"),
    ("records a key", "`records per key`"),
    ("state a key", "`state per key`"),
    ("task a partition", "`task per partition`"),
];
/// Lines that stand as they are: names in state that earlier builds have stored.
const STORED: &[&str] = &["#[serde(rename = \"put_out\")]"];
/// Endings of the files that are read.
const READ: &[&str] = &["rs", "md", "lua", "sql", "toml"];
/// Begins of lines that say that they are comments; what a sentence says goes on behind them.
const MARKS: &[&str] = &["///", "//!", "//", "--", "#", ">"];

/// A word in small letters and the number of its line; empty where a sign ends a phrase.
type Word = (String, usize);

/// The words of a text. A line's end is a blank, whether a comment, a document or a string goes on behind it,
/// and so is the line between the parts of a name.
fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if STORED.contains(&line.trim()) {
            continue;
        }
        let line = line.trim().trim_end_matches('\\');
        let mark = MARKS.iter().find_map(|mark| line.strip_prefix(mark));
        let mut word = String::new();
        for sign in mark.unwrap_or(line).chars().chain([' ']) {
            if sign.is_alphanumeric() {
                word.extend(sign.to_lowercase());
                continue;
            }
            if !word.is_empty() {
                words.push((std::mem::take(&mut word), number));
            }
            if !sign.is_whitespace() && sign != '_' {
                words.push((word.clone(), number));
            }
        }
    }
    words
}

/// What a text says that the house does not, each with its line and what to say instead.
fn breaches(name: &str, text: &str) -> Vec<String> {
    let words = words(text);
    let mut found = Vec::new();
    for (banned, instead) in BANNED {
        let phrase: Vec<_> = banned.split(' ').collect();
        for said in words.windows(phrase.len()) {
            if said.iter().map(|(word, _)| word).eq(&phrase) {
                let line = said.first().map_or(0, |(_, line)| *line);
                found.push(format!("{name}:{line}: not `{banned}`, but {instead}"));
            }
        }
    }
    found
}

/// Reads all sources and documents below a folder: how many there are, and their breaches.
fn breaches_below(folder: &Path) -> (usize, Vec<String>) {
    let (mut count, mut found) = (0, Vec::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // What is built, what is hidden, and this list.
        if name == "target" || name.starts_with('.') || path.ends_with("house/words.rs") {
            continue;
        }
        if path.is_dir() {
            let (files, breaches) = breaches_below(&path);
            count += files;
            found.extend(breaches);
        } else if READ.iter().any(|ending| path.extension().is_some_and(|found| found == *ending)) {
            count += 1;
            let (path, text) = (path.to_str().unwrap(), fs::read_to_string(&path).unwrap());
            found.extend(breaches(path, name));
            found.extend(breaches(path, &text));
        }
    }
    (count, found)
}

#[test]
fn the_words_of_the_house_are_used() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (count, found) = breaches_below(&workspace);
    assert!(count > 600, "only {count} files were read");
    assert!(found.is_empty(), "{} breaches:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_word_that_the_house_does_not_use_is_noticed() {
    let text = "\
/// Whoever asks is Told so, and it can
/// not be `put` out.
fn put_out() -> Error {
    config(\"so \\
        many\")
}";
    assert_eq!(
        breaches("a.rs", text),
        [
            "a.rs:1: not `told`, but `reported`, `distinguished`, `assigned`, or who learns what",
            "a.rs:3: not `put out`, but `emit` or `emitted`",
            "a.rs:1: not `can not`, but `cannot`; `must not` where it is a rule",
            "a.rs:4: not `so many`, but `this many`, or the quantity by its name",
        ]
    );
    let good = "They cannot be retold: so. Many put it. Out of it, one key after the other.";
    assert_eq!(breaches("b.md", good), [""; 0]);
    assert_eq!(breaches("told.rs", "told.rs").len(), 1, "a file's name counts as well");
    assert_eq!(breaches("c.rs", STORED[0]), [""; 0]);
}
