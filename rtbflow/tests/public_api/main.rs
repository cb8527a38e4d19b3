//! What the library crates show is what is written down beside each of them, in `public-api.txt`: whatever changes for
//! who uses them is a line of the commit that changes it.

#![expect(clippy::unwrap_used, reason = "a test that cannot read what the crates show has failed")]
#![expect(clippy::indexing_slicing, reason = "rustdoc and cargo say what their JSON has")]

mod change;
mod line;
mod listing;
mod rustdoc;

use std::env;
use std::fs;

use listing::{Names, Shown};

/// Where set, the listings are written anew.
const RENEW: &str = "RTBFLOW_RENEW_PUBLIC_API";

#[test]
fn the_public_api_is_the_one_that_is_written_down() {
    let (mut changes, mut names) = (String::new(), Names::new());
    let libraries = rustdoc::json().into_iter();
    let libraries: Vec<_> =
        libraries.map(|library| (Shown::read(&library.name, &library.json), library)).collect();
    for (shown, _) in &libraries {
        shown.name(&mut names);
    }
    for (shown, library) in libraries {
        let path = library.folder.join("public-api.txt");
        let now = shown.list(&names).join("\n") + "\n";
        if env::var_os(RENEW).is_some() {
            fs::write(path, now).unwrap();
            continue;
        }
        let change = change::between(&fs::read_to_string(&path).unwrap_or_default(), &now);
        if !change.is_empty() {
            changes += &format!("── {}\n{change}", path.display());
        }
    }
    assert!(
        changes.is_empty(),
        "the public API is not what is written down:\n{changes}If that is meant, write it down in the same commit, by \
         `./dev api`; what breaks others has a line in CHANGELOG.md."
    );
}
