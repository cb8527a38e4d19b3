//! The public items of a crate, one a line, in an order and by names that do not depend on where they are defined.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use public_api::{Builder, PublicItem};
use serde_json::Value;

use crate::line::{bound, implementor, is_negative, path, replace_paths, short};

/// Of the compiler itself.
const INTERNAL: &str = "StructuralPartialEq";

/// Under which names types are listed, by where they are defined.
pub(crate) type Names = HashMap<String, String>;

/// What a crate shows.
pub(crate) struct Shown {
    crate_name: String,
    items: Vec<PublicItem>,
    /// The same, and which traits its types implement by themselves or do not.
    with_automatic: Vec<String>,
    /// Where everything is defined that the crate has or names, by its number.
    defined: BTreeMap<u32, String>,
}

/// Whether an item is the head of an implementation.
fn is_head(item: &str) -> bool {
    item.starts_with("impl")
}

/// Whether such a head has conditions of its own.
fn is_conditional(head: &str) -> bool {
    head.replace("::", "").contains(':')
}

/// The last name of the trait that a head implements.
fn implemented(head: &str) -> Option<&str> {
    let (implemented, _) = head.split_once(" for ")?;
    implemented.rsplit([' ', ':']).next()
}

fn items(json: &Path, automatic: bool) -> Vec<PublicItem> {
    let builder = Builder::from_rustdoc_json(json).omit_blanket_impls(true);
    builder.omit_auto_trait_impls(!automatic).build().unwrap().into_items().collect()
}

impl Shown {
    pub(crate) fn read(crate_name: &str, json: &Path) -> Self {
        let text = fs::read(json).unwrap();
        let paths = serde_json::from_slice::<Value>(&text).unwrap()["paths"].take();
        let defined = paths.as_object().unwrap().iter().map(|(number, item)| {
            let names = item["path"].as_array().unwrap().iter();
            let names: Vec<_> = names.map(|name| name.as_str().unwrap()).collect();
            (number.parse().unwrap(), names.join("::"))
        });
        Self {
            crate_name: crate_name.to_owned(),
            defined: defined.collect(),
            items: items(json, false),
            with_automatic: items(json, true).iter().map(ToString::to_string).collect(),
        }
    }

    /// Notes under which names this crate's types are listed: by where they are shown, or if they are not, by their last
    /// names.
    pub(crate) fn name(&self, names: &mut Names) {
        for item in &self.items {
            let Some(defined) = self.defined.get(&item.id().0) else { continue };
            let shown = path(&item.to_string());
            // Where it is shown at several paths, that of its definition, or else the first.
            if *defined == shown || !names.contains_key(defined) {
                names.insert(defined.clone(), shown);
            }
        }
        for defined in self.defined.values() {
            let parts: Vec<_> = defined.split("::").collect();
            if parts.first() == Some(&self.crate_name.as_str()) && !names.contains_key(defined) {
                let hidden = format!("{}::_::{}", self.crate_name, parts[parts.len() - 1]);
                names.insert(defined.clone(), hidden);
            }
        }
    }

    /// Lists what the crate shows, each type with what it implements and has.
    pub(crate) fn list(&self, names: &Names) -> Vec<String> {
        let name = |path: &str| {
            let (bounded, path) = bound(path);
            let name = short(names.get(path).map_or(path, String::as_str));
            bounded.map_or(name.clone(), |bounded| format!("{bounded}: {name}"))
        };
        let lines = self.items.iter().map(|item| replace_paths(&item.to_string(), name));
        let lines: Vec<_> = self.items.iter().zip(lines).collect();
        let heads = lines.iter().filter(|(_, line)| is_head(line));
        let heads: HashMap<_, _> = heads.map(|(item, line)| (item.id(), line.as_str())).collect();
        let listed = lines.iter().filter_map(|(item, line)| {
            let head = item.parent_id().and_then(|parent| heads.get(&parent).copied());
            self.entry(line, head)
        });
        let automatic = self.with_automatic.iter().map(|item| replace_paths(item, name));
        let negative = automatic.filter(|line| is_negative(line));
        let negative = negative.filter_map(|line| self.entry(&line, None));
        let listed: BTreeSet<_> = listed.chain(negative).collect();
        listed.into_iter().map(|(_, _, line)| line).collect()
    }

    /// The line of an item, with where it belongs; `head` is that of the implementation that the item is in. A trait that
    /// is implemented is one line, whatever the trait has, with lines for the types that go with it; a method says
    /// under which conditions it is there.
    fn entry(&self, line: &str, head: Option<&str>) -> Option<(String, u8, String)> {
        if is_head(line) {
            let is_listed = implemented(line).is_some_and(|name| name != INTERNAL);
            return is_listed.then(|| (implementor(line, &self.crate_name), 1, line.to_owned()));
        }
        let with_head = |head: &str| format!("{line} in {head}");
        match head {
            Some(head) if implemented(head).is_some() => {
                let is_listed = line.starts_with("pub type");
                is_listed.then(|| (implementor(head, &self.crate_name), 2, with_head(head)))
            }
            Some(head) if is_conditional(head) => Some((path(line), 0, with_head(head))),
            _ => Some((path(line), 0, line.to_owned())),
        }
    }
}
