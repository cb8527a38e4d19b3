//! The names of types: what others see under a name is one thing.

use std::collections::BTreeMap;

use syn::visit::Visit;

use crate::code::{Code, File, is_test};
use crate::{crate_of, libraries};

/// Names that more than one type may have, since it is the same thing in each place, and what it is.
const RHYMES: &[(&str, &str)] = &[
    ("Options", "how a place is reached and what it does, in each place"),
    ("Sealed", "what keeps a trait to the types of its own module; nobody else can name it"),
    ("Session", "the field's word for two things: the connection to a server, and a window"),
];

/// From where a type is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Module,
    Crate,
    Everywhere,
}

/// A type, a trait or an alias, and from where it is seen.
struct Definition<'a> {
    name: String,
    seen: Seen,
    file: &'a File,
}

/// The definitions of a file.
struct Definitions<'a> {
    file: &'a File,
    found: Vec<Definition<'a>>,
}

impl Definitions<'_> {
    fn note(&mut self, name: &syn::Ident, visibility: &syn::Visibility) {
        let seen = match visibility {
            syn::Visibility::Public(_) => Seen::Everywhere,
            syn::Visibility::Restricted(within) if within.path.is_ident("crate") => Seen::Crate,
            syn::Visibility::Restricted(_) | syn::Visibility::Inherited => Seen::Module,
        };
        self.found.push(Definition { name: name.to_string(), seen, file: self.file });
    }
}

impl<'ast> Visit<'ast> for Definitions<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.note(&item.ident, &item.vis);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.note(&item.ident, &item.vis);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.note(&item.ident, &item.vis);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.note(&item.ident, &item.vis);
    }

    // What is defined within a function is seen there alone.
    fn visit_block(&mut self, _: &'ast syn::Block) {}
}

impl Definition<'_> {
    /// The crate, and which of its places: they do not know each other.
    fn place(&self) -> (&'static str, Option<&std::ffi::OsStr>) {
        let room = self.file.path.iter().next();
        let is_place = self.file.crate_name == "rtbflow_sinks";
        (self.file.crate_name, room.filter(|_| is_place))
    }

    /// Whether code that sees the one may see the other, and one of them is seen from far enough to be mistaken for it.
    fn clashes_with(&self, other: &Self) -> bool {
        let (near, far) = if self.seen < other.seen { (self, other) } else { (other, self) };
        match far.seen {
            Seen::Everywhere => {
                let is_known = far.file.crate_name == "rtbflow" || far.place() == near.place();
                near.seen == Seen::Everywhere || is_known
            }
            Seen::Crate => near.seen == Seen::Crate && far.place() == near.place(),
            Seen::Module => false,
        }
    }
}

/// Which types have the name of another.
fn clashes(code: &Code) -> Vec<String> {
    let mut names: BTreeMap<String, Vec<Definition<'_>>> = BTreeMap::new();
    for file in &code.files {
        let mut definitions = Definitions { file, found: Vec::new() };
        definitions.visit_file(&syn::parse_file(&file.text).unwrap());
        for definition in definitions.found {
            names.entry(definition.name.clone()).or_default().push(definition);
        }
    }
    let mut found = Vec::new();
    for (name, definitions) in names {
        if RHYMES.iter().any(|(rhyme, _)| *rhyme == name) {
            continue;
        }
        for (index, one) in definitions.iter().enumerate() {
            let others = definitions[index + 1..].iter().filter(|other| one.clashes_with(other));
            found.extend(
                others
                    .map(|other| format!("{name}: {} and {}", one.file.name(), other.file.name())),
            );
        }
    }
    found
}

#[test]
fn a_name_that_others_see_is_one_thing() {
    let found = clashes(libraries());
    assert!(
        found.is_empty(),
        "give one of each two a name of its own, by the field's words, or say in RHYMES why both have it:\n{}",
        found.join("\n")
    );
}

#[test]
fn a_name_that_is_two_things_is_noticed() {
    let mut files = crate_of(
        "rtbflow",
        &[
            ("a.rs", "pub struct Batch; pub(crate) struct Lane; struct Own; pub trait Sealed {}"),
            ("b.rs", "struct Batch; pub(crate) enum Lane {} struct Own; pub trait Sealed {}"),
            ("c.rs", "fn f() { struct Batch; } #[cfg(test)] mod tests { struct Batch; }"),
            ("d.rs", "pub(super) struct Lane; pub(crate) struct Row;"),
        ],
    );
    files.extend(crate_of(
        "rtbflow_sinks",
        &[
            (
                "postgres/a.rs",
                "pub(crate) type Batch = u64; pub(crate) struct Work; pub struct Row;",
            ),
            ("redis/a.rs", "pub(crate) struct Work; struct Row;"),
        ],
    ));
    files.extend(crate_of("rtbflow_kafka", &[("a.rs", "pub struct Row;")]));
    assert_eq!(
        clashes(&Code::of(files)),
        [
            "Batch: rtbflow/a.rs and rtbflow/b.rs",
            "Batch: rtbflow/a.rs and rtbflow_sinks/postgres/a.rs",
            "Lane: rtbflow/a.rs and rtbflow/b.rs",
            "Row: rtbflow_sinks/postgres/a.rs and rtbflow_kafka/a.rs",
        ]
    );
}
