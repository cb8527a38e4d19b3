//! What others match on and construct: it can grow without breaking them, or it says why it is not to.

use syn::visit::Visit;

use crate::code::{File, is_test};
use crate::{crate_of, libraries};

/// Public enums to which a variant is not added without breaking who matches on them, and why.
const CLOSED: &[(&str, &str)] = &[
    ("BucketChange", STORED),
    ("Class", "a record ends in exactly one of them, and who counts has to count each"),
    ("Content", FLOWS),
    ("Delivery", FLOWS),
    ("Either", "there are two sides"),
    ("EitherOrBoth", "there are two sides"),
    ("Element", FLOWS),
    ("SourceEvent", FLOWS),
    ("Step", "a place has to do what it says, and cannot do what it does not know"),
];
const FLOWS: &str = "whoever hands it on has to hand on all of it: what is passed over is lost";
const STORED: &str = "a place has to keep all of it: what it does not keep is lost";

/// Public structs of public fields alone that others construct and take apart, and why.
const PLAIN: &[(&str, &str)] = &[
    ("Change", "a version and the one before it"),
    ("Chunk", STORED),
    ("Log", STORED),
    ("Partition", "a topic and a number: what has more is no partition"),
    ("Position", STORED),
    ("Tally", "a number for each class of records"),
    ("Task", "a number of how many: what has more is no task"),
    ("Window", "a span of time has a start and an end"),
    ("Windowed", "a result, its key and its window; it is stored in this form"),
];

/// The public types of a file that cannot grow.
#[derive(Default)]
struct Rigid {
    enums: Vec<String>,
    structs: Vec<String>,
}

impl Rigid {
    fn of(file: &File) -> Self {
        let mut rigid = Self::default();
        rigid.visit_file(&syn::parse_file(&file.text).unwrap());
        rigid
    }
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

fn can_grow(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("non_exhaustive"))
}

impl<'ast> Visit<'ast> for Rigid {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        if is_public(&item.vis) && !can_grow(&item.attrs) {
            self.enums.push(item.ident.to_string());
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        let mut fields = item.fields.iter().map(|field| is_public(&field.vis));
        let is_open = !item.fields.is_empty() && fields.all(|is_public| is_public);
        if is_public(&item.vis) && is_open && !can_grow(&item.attrs) {
            self.structs.push(item.ident.to_string());
        }
    }
}

/// Which public types cannot grow, and do not say why.
fn breaches<'a>(files: impl IntoIterator<Item = &'a File>) -> Vec<String> {
    let mut found = Vec::new();
    let known = |list: &[(&str, &str)], name: &str| list.iter().any(|(known, _)| *known == name);
    for file in files {
        let rigid = Rigid::of(file);
        let enums = rigid.enums.iter().filter(|name| !known(CLOSED, name));
        let structs = rigid.structs.iter().filter(|name| !known(PLAIN, name));
        found.extend(enums.chain(structs).map(|name| format!("{}: {name}", file.name())));
    }
    found
}

#[test]
fn what_others_match_on_and_construct_can_grow() {
    assert_eq!(breaches(&libraries().files), [""; 0]);
}

#[test]
fn what_is_said_not_to_grow_is_there_and_does_not() {
    let rigid: Vec<_> = libraries().files.iter().map(Rigid::of).collect();
    let is_there = |name: &str, of: fn(&Rigid) -> &Vec<String>| {
        rigid.iter().any(|rigid| of(rigid).iter().any(|found| found == name))
    };
    for (name, _) in CLOSED {
        assert!(is_there(name, |rigid| &rigid.enums), "no enum {name} is closed");
    }
    for (name, _) in PLAIN {
        assert!(is_there(name, |rigid| &rigid.structs), "no struct {name} is plain");
    }
}

#[test]
fn a_public_type_that_cannot_grow_is_noticed() {
    let text = "\
#[derive(Debug)] pub enum Kind { One }
#[non_exhaustive] pub enum Open { One }
pub(crate) enum Own { One }
pub struct Range { pub from: u64, pub to: u64 }
pub struct Hidden { pub from: u64, to: u64 }
pub struct Unit;
#[non_exhaustive] pub struct Grows { pub from: u64 }
pub enum Element { Record }
mod deeper { pub struct Pair(pub u64, pub u64); }
#[cfg(test)] mod tests { pub enum Case { One } }
";
    let files = crate_of("rtbflow", &[("a.rs", text)]);
    assert_eq!(
        breaches(&files),
        ["rtbflow/a.rs: Kind", "rtbflow/a.rs: Range", "rtbflow/a.rs: Pair"]
    );
}
