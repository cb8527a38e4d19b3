//! Names of tables and columns, checked and quoted.

use rtbflow::{Error, Result};

/// The longest name that Postgres keeps whole.
const MOST_BYTES: usize = 63;

/// A column's name, quoted.
pub(crate) fn column(name: &str) -> Result<String> {
    quoted(name, "column")
}

/// A table's name, quoted; `schema.table` names a table of a schema, a name alone is looked up in the
/// connection's `search_path`.
pub(crate) fn table(name: &str) -> Result<String> {
    match name.split_once('.') {
        Some((schema, table)) => {
            Ok(format!("{}.{}", quoted(schema, "schema")?, quoted(table, "table")?))
        }
        None => quoted(name, "table"),
    }
}

/// A quoted name as it was before.
pub(crate) fn plain(quoted: &str) -> String {
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    // One without quotes was never quoted.
    inner.unwrap_or(quoted).replace("\"\"", "\"")
}

fn quoted(name: &str, what: &str) -> Result<String> {
    if name.is_empty() || name.len() > MOST_BYTES || name.contains('\0') {
        return Err(Error::config(format!(
            "name a {what} {name:?} for Postgres: a name has 1 to {MOST_BYTES} bytes and no U+0000"
        )));
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_checked() {
        assert_eq!(column("offset").unwrap(), "\"offset\"");
        assert_eq!(column("O'Brien\"; --한").unwrap(), "\"O'Brien\"\"; --한\"");
        assert_eq!(table("shop.ledger").unwrap(), "\"shop\".\"ledger\"");
        for bad in ["", "a\0b", &"x".repeat(64), "shop.", ".ledger"] {
            assert!(table(bad).unwrap_err().is_config(), "{bad:?}");
        }
        assert!(column(&"x".repeat(63)).is_ok());
    }
}
