//! What a change of a listing means for whoever uses the crate.

use std::collections::HashSet;
use std::fmt::Write;

use crate::line::{is_negative, is_part, path};

/// What a line is about: two lines that are about the same are one that changed.
fn subject(line: &str) -> String {
    if line.starts_with("impl") { line.to_owned() } else { path(line) }
}

/// Whether a line that came is part of something that others match on, construct, or implement.
fn is_part_of_closed(line: &str, before: &[&str]) -> bool {
    let path_of_line = path(line);
    let Some((parent, _)) = path_of_line.rsplit_once("::") else { return false };
    before.iter().any(|known| {
        let closed = !known.contains("#[non_exhaustive]") && !known.contains("pub mod ");
        closed && (is_part(line) || known.contains("pub trait ")) && path(known) == parent
    })
}

/// Says what a change of a listing breaks; nothing if there is none.
pub(crate) fn between(before: &str, after: &str) -> String {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let (old, new): (HashSet<_>, HashSet<_>) =
        (before.iter().copied().collect(), after.iter().copied().collect());
    let gone: Vec<&str> = before.iter().copied().filter(|line| !new.contains(line)).collect();
    let changed: HashSet<String> = gone.iter().map(|line| subject(line)).collect();
    let (mut breaking, mut closed, mut open) = (String::new(), String::new(), String::new());
    for line in &gone {
        writeln!(breaking, "- {line}").unwrap();
    }
    for line in after.iter().filter(|line| !old.contains(*line)) {
        let group = if is_negative(line) || changed.contains(&subject(line)) {
            &mut breaking
        } else if is_part_of_closed(line, &before) {
            &mut closed
        } else {
            &mut open
        };
        writeln!(group, "+ {line}").unwrap();
    }
    let titles = [
        ("breaks whoever uses it", breaking),
        ("breaks whoever matches on it, constructs it, or implements it without a default", closed),
        ("breaks nobody", open),
    ];
    let groups = titles.iter().filter(|(_, lines)| !lines.is_empty());
    groups.map(|(title, lines)| format!("{title}:\n{lines}")).collect()
}

#[test]
fn a_change_says_what_it_breaks() {
    let before = "\
pub mod a
pub enum a::Either<L, R>
pub a::Either::Left(L)
#[non_exhaustive] pub enum a::Kind
pub a::Kind::One
pub struct a::Range
pub a::Range::from: u64
pub fn a::Range::new(u64) -> Self
impl Clone for a::Range
pub trait a::Source<T>: Send
pub fn a::Source::open(&self) -> a::Range
pub fn a::gone()
";
    let after = "\
pub mod a
pub enum a::Either<L, R>
pub a::Either::Left(L)
pub a::Either::Both(L, Option<R>)
#[non_exhaustive] pub enum a::Kind
pub a::Kind::One
pub a::Kind::Two
pub struct a::Range
pub a::Range::from: u64
pub a::Range::to: u64
pub fn a::Range::new(u64, u64) -> Self
pub fn a::Range::len(&self) -> u64
pub trait a::Source<T>: Send
pub fn a::Source::open(&self) -> a::Range
pub async fn a::Source<T>::close(&self)
pub struct a::Other
pub a::Other::field: u64
impl !Send for a::Range
";
    assert_eq!(
        between(before, after),
        "\
breaks whoever uses it:
- pub fn a::Range::new(u64) -> Self
- impl Clone for a::Range
- pub fn a::gone()
+ pub fn a::Range::new(u64, u64) -> Self
+ impl !Send for a::Range
breaks whoever matches on it, constructs it, or implements it without a default:
+ pub a::Either::Both(L, Option<R>)
+ pub a::Range::to: u64
+ pub async fn a::Source<T>::close(&self)
breaks nobody:
+ pub a::Kind::Two
+ pub fn a::Range::len(&self) -> u64
+ pub struct a::Other
+ pub a::Other::field: u64
"
    );
    assert_eq!(between(after, after), "");
}
