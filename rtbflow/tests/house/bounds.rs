//! The table of bounds in the guide says what the code says, and leaves no bound out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use syn::visit::Visit;
use syn::{ImplItemConst, ItemConst, ItemMod};

use crate::libraries;

/// What names of constants have that bound something.
const BOUNDS: &[&str] =
    &["MOST", "LONGEST", "TIMEOUT", "DEADLINE", "PATIENCE", "GRACE", "DEEPEST", "RETENTION"];
/// Constants that are called so and bound nothing: a text, and the name of a setting.
const OTHERS: &[&str] = &["TIMEOUT_TOO_LONG", "MOST_BYTES_SETTING"];
/// What makes a queue, a buffer that others wait for, or a number of those who may go on.
const QUEUES: &[&str] = &["mpsc::channel(", "sync_channel(", "broadcast::channel("];

/// What a row says: a file, and what it has.
fn claims(page: &str) -> Vec<(&str, &str)> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |"));
    let last = rows.filter_map(|row| row.trim_end_matches("` |").rsplit_once('`'));
    last.filter_map(|(_, claim)| claim.split_once(": ")).collect()
}

/// Without what does not decide: blanks and the type of a constant.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// A constant `NAME = value`, or any other piece of code.
fn is_said(source: &str, code: &str) -> bool {
    let (source, code) = (plain(source), plain(code));
    let constant = code
        .split_once('=')
        .filter(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    let Some((name, value)) = constant else { return source.contains(&code) };
    source.split(&format!("const{name}:")).skip(1).any(|rest| {
        rest.split_once('=').is_some_and(|(_, rest)| rest.starts_with(&format!("{value};")))
    })
}

/// The names of constants that bound something, outside of tests.
#[derive(Default)]
struct Found(BTreeSet<String>);

impl Found {
    fn note(&mut self, name: &syn::Ident) {
        let name = name.to_string();
        let is_bound = name.split('_').any(|word| BOUNDS.contains(&word));
        if is_bound && !OTHERS.contains(&name.as_str()) {
            self.0.insert(name);
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_const(&mut self, constant: &'ast ItemConst) {
        self.note(&constant.ident);
    }

    fn visit_impl_item_const(&mut self, constant: &'ast ImplItemConst) {
        self.note(&constant.ident);
    }

    /// Modules within a file are its tests.
    fn visit_item_mod(&mut self, _module: &'ast ItemMod) {}
}

fn bounds(source: &str) -> BTreeSet<String> {
    let mut found = Found::default();
    found.visit_file(&syn::parse_file(source).unwrap());
    found.0
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bounds.md");
    fs::read_to_string(path).unwrap()
}

#[test]
fn each_bound_in_the_guide_is_the_one_in_the_code() {
    let (page, root) = (page(), Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    let claims = claims(&page);
    assert!(claims.len() > 100, "only {} rows", claims.len());
    let wrong = claims.into_iter().filter(|(file, code)| {
        let source = fs::read_to_string(root.join(file)).unwrap_or_default();
        !is_said(&source, code)
    });
    assert_eq!(wrong.collect::<Vec<_>>(), [], "these say something else than the code");
}

#[test]
fn each_bound_in_the_code_is_in_the_guide() {
    let page = page();
    let claims = claims(&page);
    let mut missing = Vec::new();
    for file in libraries().files.iter().filter(|file| !file.path.starts_with("testing")) {
        let name = file.name();
        let path = name.replacen('/', "/src/", 1).replace('_', "-");
        let of_file = || claims.iter().filter(|(file, _)| file.replace('_', "-") == path);
        let listed = |bound: &String| of_file().any(|(_, code)| code.starts_with(bound.as_str()));
        missing.extend(
            bounds(&file.text)
                .into_iter()
                .filter(|bound| !listed(bound))
                .map(|bound| format!("{name}: {bound}")),
        );
        let shipped = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        let shipped: Vec<_> =
            shipped.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let shipped = shipped.join("\n");
        let queues = QUEUES.iter().filter(|queue| shipped.contains(**queue));
        missing.extend(
            queues.filter(|_| of_file().next().is_none()).map(|queue| format!("{name}: {queue}…)")),
        );
    }
    assert_eq!(missing, [""; 0], "in no row of docs/bounds.md");
}

#[test]
fn a_row_that_says_something_else_is_noticed() {
    let source = "const MOST: usize = 1 << 20; fn f() { const LONGEST_CALL: Duration = A; }";
    assert!(is_said(source, "MOST = 1 << 20") && !is_said(source, "MOST = 1 << 2"));
    assert!(is_said("Self { most_rows: 10_000, a }", "most_rows: 10_000"));
    assert_eq!(bounds(source), ["LONGEST_CALL", "MOST"].map(str::to_owned).into());
    assert_eq!(claims("| a | 1 | none | waits | `a/b.rs: MOST = 1` |"), [("a/b.rs", "MOST = 1")]);
}
