//! What a type's values are made of, as its own `Deserialize` says.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;

use super::node::{Kind, Node};
use super::trace::trace;
use crate::hash::stable_hash;

/// What the values of a type are made of.
///
/// Its text is part of what is stored: state is refused where it differs. So what is said here of a type must
/// stay the same from release to release.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) text: String,
    pub(crate) hash: u64,
    /// The names of all fields and variants that are known beforehand.
    pub(crate) names: Vec<&'static str>,
    /// Whether values are read by what comes, or nobody can say how.
    pub(crate) dynamic: bool,
}

impl Shape {
    /// The shape of a type; found out once.
    pub(crate) fn of<T: DeserializeOwned + 'static>() -> Arc<Self> {
        static KNOWN: Mutex<Option<HashMap<TypeId, Arc<Shape>>>> = Mutex::new(None);
        let lock = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lock().as_ref().and_then(|known| known.get(&TypeId::of::<T>()).cloned());
        found.unwrap_or_else(|| {
            // Not while others wait: it calls what users have written.
            let shape = Arc::new(Self::find::<T>());
            let mut known = lock();
            let known = known.get_or_insert_default();
            Arc::clone(known.entry(TypeId::of::<T>()).or_insert(shape))
        })
    }

    fn find<T: DeserializeOwned>() -> Self {
        let node = trace::<T>(false);
        let dynamic = node.is_dynamic();
        // What has a form for people is then written in it.
        let node = if dynamic { trace::<T>(true) } else { node };
        let (mut text, mut names) = (String::new(), Vec::new());
        show(&node, &mut text);
        collect(&node, &mut names);
        let hash = stable_hash(text.as_str());
        Self { text, hash, names, dynamic }
    }
}

/// The names of a type, each once, in the order in which they are mostly written.
fn collect(node: &Node, names: &mut Vec<&'static str>) {
    if let Kind::Struct(_, fields) | Kind::Enum(_, fields) = node.kind {
        for name in fields {
            if !names.contains(name) {
                names.push(name);
            }
        }
    }
    for part in &node.parts {
        collect(part, names);
    }
}

fn within((open, close): (&str, &str), parts: &[Node], between: &str, text: &mut String) {
    text.push_str(open);
    list(parts, between, text);
    text.push_str(close);
}

fn list(parts: &[Node], between: &str, text: &mut String) {
    for (number, part) in parts.iter().enumerate() {
        text.push_str(if number > 0 { between } else { "" });
        show(part, text);
    }
}

fn show(node: &Node, text: &mut String) {
    match node.kind {
        Kind::Unset | Kind::Unknown => text.push('?'),
        Kind::Any => text.push_str("any"),
        Kind::Leaf(name) => text.push_str(name),
        Kind::Recursive(name) => _ = write!(text, "{name}.."),
        Kind::Option => within(("", "?"), &node.parts, "", text),
        Kind::Seq => within(("[", "]"), &node.parts, "", text),
        Kind::Map => within(("{", "}"), &node.parts, ": ", text),
        Kind::Newtype(name) | Kind::Tuple(name) => {
            text.push_str(name);
            within(("(", ")"), &node.parts, ", ", text);
        }
        Kind::Struct(name, fields) => {
            show_named((name, ", "), fields, &node.parts, text, |part, text| {
                text.push_str(": ");
                show(part, text);
            });
        }
        Kind::Enum(name, variants) => {
            show_named((name, " | "), variants, &node.parts, text, show_content);
        }
    }
}

/// A type whose parts have names.
fn show_named(
    (name, between): (&str, &str),
    names: &[&str],
    parts: &[Node],
    text: &mut String,
    show_part: impl Fn(&Node, &mut String),
) {
    _ = write!(text, "{name}{{");
    for (number, (name, part)) in names.iter().zip(parts).enumerate() {
        _ = write!(text, "{}{name}", if number > 0 { between } else { "" });
        show_part(part, text);
    }
    text.push('}');
}

/// What a variant holds.
fn show_content(node: &Node, text: &mut String) {
    match node.kind {
        Kind::Leaf("unit") => {}
        Kind::Tuple(_) | Kind::Struct(..) | Kind::Newtype(_) => show(node, text),
        Kind::Unset
        | Kind::Leaf(_)
        | Kind::Option
        | Kind::Seq
        | Kind::Map
        | Kind::Enum(..)
        | Kind::Any
        | Kind::Recursive(_)
        | Kind::Unknown => {
            text.push('(');
            show(node, text);
            text.push(')');
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;
    use std::num::NonZeroU32;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Click {
        device: String,
        #[serde(alias = "price")]
        paid: Option<i64>,
        at: (u8, NonZeroU32, char),
        kind: Kind,
        #[serde(default)]
        again: Option<Box<Click>>,
    }

    #[derive(Serialize, Deserialize)]
    enum Kind {
        View,
        Click(i64),
        Both(u8, u16),
        Named { a: f32, b: () },
    }

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(u64),
    }

    fn shape<T: DeserializeOwned + 'static>() -> (String, bool) {
        let shape = Shape::of::<T>();
        (shape.text.clone(), shape.dynamic)
    }

    #[test]
    fn a_type_says_what_it_is_made_of() {
        assert_eq!(shape::<(String, Vec<i128>)>(), ("(str, [i128])".into(), false));
        assert_eq!(shape::<BTreeMap<u8, Option<bool>>>(), ("{u8: bool?}".into(), false));
        let (text, dynamic) = shape::<Click>();
        let kind = "Kind{View | Click(i64) | Both(u8, u16) | Named{a: f32, b: unit}}";
        let inner = format!(
            "Click{{device: str, paid: i64?, price: i64?, at: (u8, u32, char), kind: {kind}, again: Click..?}}"
        );
        let expected = format!(
            "Click{{device: str, paid: i64?, price: i64?, at: (u8, u32, char), kind: {kind}, again: {inner}?}}"
        );
        assert_eq!((text, dynamic), (expected, false));
        assert!(!shape::<(IpAddr, u8)>().1);
    }

    #[test]
    fn what_is_read_by_what_comes_is_seen() {
        assert!(shape::<Either>().1);
        assert!(shape::<Vec<Option<Either>>>().1);
        assert!(shape::<(u8, BTreeMap<String, Either>)>().1);
    }
}
