//! The folder of a private server, and the user who owns it.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rtbflow::{Error, Result};

/// A new folder for one server, removed when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: Option<PathBuf>,
}

impl Folder {
    /// Makes a folder that only its owner can read.
    pub(super) fn new(name: &str, owner: Owner) -> Result<Self> {
        let unique = format!("rtbflow-demo-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        let made =
            std::fs::DirBuilder::new().mode(0o700).create(&path).and_then(|()| match owner {
                Owner::Us => Ok(()),
                Owner::Other { user, group } => chown(&path, Some(user), Some(group)),
            });
        made.map_err(|error| {
            Error::permanent(format!("make the folder {}", path.display())).because(error)
        })?;
        Ok(Self { path: Some(path) })
    }

    pub(super) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or_else(|| Path::new("/nonexistent"))
    }

    /// Somebody else removes it from now on.
    pub(super) fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What cannot be removed is in the system's temporary folder.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// Who a server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Whoever runs this process.
    Us,
    /// Another user.
    Other {
        /// The user's number.
        user: u32,
        /// The group's number.
        group: u32,
    },
}

impl Owner {
    /// Who a server runs as that refuses to run as root: we, or where we are root, `postgres` or
    /// `nobody`.
    pub(super) fn not_root() -> Result<Self> {
        let us = std::fs::metadata("/proc/self").map(|process| process.uid());
        if !matches!(us, Ok(0)) {
            return Ok(Self::Us);
        }
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"].iter().find_map(|name| find_user(&users, name)).ok_or_else(|| {
            Error::config(
                "run Postgres as root, which it refuses: add a user postgres, or give --postgres a URL",
            )
        })
    }

    pub(super) fn apply(self, command: &mut Command) {
        if let Self::Other { user, group } = self {
            command.uid(user).gid(group);
        }
    }
}

fn find_user(users: &str, name: &str) -> Option<Owner> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2);
    let (user, group) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    Some(Owner::Other { user, group })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\npostgres:x:105:109::/var:/bin/sh\nx:y";
        assert_eq!(find_user(users, "postgres"), Some(Owner::Other { user: 105, group: 109 }));
        assert_eq!(find_user(users, "nobody"), None);
        assert_eq!(find_user(users, "x"), None);
    }
}
