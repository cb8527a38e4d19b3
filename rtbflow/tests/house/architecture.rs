//! What `ARCHITECTURE.md` says of the code: beside each invariant stands what would fail if it did not hold, or that
//! it is a convention; and the words are those of the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::libraries;

/// Ends of names of files that are looked for by their paths.
const FILES: &[&str] = &[".rs", ".toml"];

/// What there is to be named: functions, and files by their paths.
#[derive(Default)]
struct Tree {
    functions: BTreeSet<String>,
    files: BTreeSet<String>,
}

impl Tree {
    /// Adds what is below a folder of the workspace.
    fn read(&mut self, root: &Path, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name == "target" || name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                self.read(root, &path);
            } else if FILES.iter().any(|ending| name.ends_with(ending)) {
                self.files.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                let text = fs::read_to_string(&path).unwrap();
                self.functions.extend(functions(&text).map(str::to_owned));
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        self.functions.contains(name) || self.files.contains(name)
    }
}

/// The functions without arguments that a text defines: no test has any.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.split("fn ").skip(1).filter_map(|rest| rest.split_once("()").map(|(name, _)| name))
}

/// The paragraphs of the invariants.
fn invariants(document: &str) -> Vec<&str> {
    let section = document.split("\n## ").find(|section| section.starts_with("Invariants\n"));
    let paragraphs = section.unwrap_or_default().split("\n\n").skip(1).map(str::trim);
    paragraphs.filter(|paragraph| paragraph.starts_with("**")).collect()
}

/// What is wrong with an invariant: nothing shows it, or what it names is not there.
fn wrong(tree: &Tree, invariant: &str) -> Vec<String> {
    let name = invariant.split("**").nth(1).unwrap_or(invariant);
    let shown_by = invariant.split_once("*Shown by*").map(|(_, names)| names);
    let names: Vec<_> =
        shown_by.into_iter().flat_map(|names| names.split('`').skip(1).step_by(2)).collect();
    if names.is_empty() && !invariant.contains("convention") {
        return vec![format!("{name}: nothing shows it, and it is no convention")];
    }
    let missing = names.into_iter().filter(|named| !tree.has(named));
    missing.map(|named| format!("{name}: there is no {named}")).collect()
}

/// The names in the first column of the table of words.
fn words(document: &str) -> Vec<&str> {
    let section = document.split("\n## ").find(|section| section.starts_with("Words"));
    let rows = section.unwrap_or_default().lines().filter(|line| line.starts_with("| "));
    rows.skip(1)
        .filter_map(|row| row.split(" | ").next())
        .flat_map(|first| first.split('`').skip(1).step_by(2))
        .collect()
}

/// Whether a public type or trait has this name.
fn is_a_type(texts: &[&str], name: &str) -> bool {
    let kinds = ["struct", "enum", "trait"];
    let begins = kinds.map(|kind| format!("pub {kind} {name}"));
    let is_whole = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric());
    texts.iter().any(|text| begins.iter().any(|begin| text.split(begin).skip(1).any(is_whole)))
}

#[test]
fn each_word_names_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let texts: Vec<_> = libraries().files.iter().map(|file| file.text.as_str()).collect();
    let words = words(&document);
    assert!(words.len() > 20, "{words:?}");
    let missing: Vec<_> = words.into_iter().filter(|word| !is_a_type(&texts, word)).collect();
    assert_eq!(missing, [""; 0], "of the table of words");
}

#[test]
fn a_word_that_names_nothing_is_noticed() {
    let document =
        "## Code\n\n## Words here\n\n| here | there |\n|---|---|\n| job (`Job`), `Seat` | `Task` |";
    assert_eq!(words(&document.replace("## Code", "\n## Code")), ["Job", "Seat"]);
    let texts = ["/// It.\npub struct Job<S> {}", "pub struct Seats;"];
    assert!(is_a_type(&texts, "Job") && !is_a_type(&texts, "Seat"));
}

/// Names of tests in a document: of several words, and in the font of code.
fn tests_named(document: &str) -> impl Iterator<Item = &str> {
    let quoted = document.split('`').skip(1).step_by(2);
    quoted.filter(|name| {
        name.matches('_').count() > 3 && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn each_test_that_security_rests_on_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut tree = Tree::default();
    tree.read(root, root);
    let document = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    assert!(tests_named(&document).count() > 15, "so few are named");
    let missing: Vec<_> = tests_named(&document).filter(|name| !tree.has(name)).collect();
    assert_eq!(missing, [""; 0], "SECURITY.md names tests that are not there");
}

#[test]
fn each_invariant_is_shown_by_a_test_or_is_a_convention() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut tree = Tree::default();
    tree.read(root, root);
    assert!(tree.files.len() > 400, "only {} files", tree.files.len());
    let document = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let invariants = invariants(&document);
    assert!(invariants.len() > 15, "only {} invariants", invariants.len());
    let found: Vec<_> = invariants.into_iter().flat_map(|one| wrong(&tree, one)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_invariant_that_nothing_shows_is_noticed() {
    let document = "\
# Architecture

## Invariants

**Nothing waits.** A call is polled. *Shown by* `nothing_waits`, `clippy.toml`.

**All is well.** *Shown by* `it_is`.

**Names are nouns.** A convention.

**Hope.** `nothing_waits`

## Dependencies

**None.**";
    let mut tree = Tree::default();
    tree.functions
        .extend(functions("async fn nothing_waits() {} fn other(a: u8) {}").map(str::to_owned));
    tree.files.insert("clippy.toml".to_owned());
    assert_eq!(tree.functions.len(), 1);
    let found: Vec<_> =
        invariants(document).into_iter().flat_map(|one| wrong(&tree, one)).collect();
    let hope = "Hope.: nothing shows it, and it is no convention";
    assert_eq!(found, ["All is well.: there is no it_is", hope]);
}
