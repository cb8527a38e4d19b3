//! Other names for categories.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

/// Another name for a category, given as `CATEGORY=NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    category: String,
    name: String,
}

impl FromStr for Alias {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The name stands in keys, and has no equals sign; a category may have any.
        match text.rsplit_once('=') {
            Some((category, name)) if !category.is_empty() && !name.is_empty() => {
                Ok(Self { category: category.to_owned(), name: name.to_owned() })
            }
            Some(_) | None => Err("it must be CATEGORY=NAME"),
        }
    }
}

/// The names of all categories: their own, where there is no other.
#[derive(Debug, Clone, Default)]
pub struct Aliases(Arc<BTreeMap<String, String>>);

impl Aliases {
    /// These names; of two for one category the last.
    #[must_use]
    pub fn of_all(aliases: impl IntoIterator<Item = Alias>) -> Self {
        Self(Arc::new(aliases.into_iter().map(|alias| (alias.category, alias.name)).collect()))
    }

    /// The name of a category.
    #[must_use]
    pub fn of<'a>(&'a self, category: &'a str) -> &'a str {
        self.0.get(category).map_or(category, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_has_its_own_name_or_another() {
        let aliases = ["전자제품/컴퓨터=electronics", "a=b=c"].map(|text| text.parse().unwrap());
        let aliases = Aliases::of_all(aliases);
        assert_eq!(aliases.of("전자제품/컴퓨터"), "electronics");
        assert_eq!((aliases.of("a=b"), aliases.of("도서")), ("c", "도서"));
        for wrong in ["", "=", "books", "books=", "=b"] {
            assert!(wrong.parse::<Alias>().is_err(), "{wrong}");
        }
    }
}
