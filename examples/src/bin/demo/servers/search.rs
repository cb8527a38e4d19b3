//! Where the programs of the servers are.

use std::path::{Path, PathBuf};

use rtbflow::{Error, Result};

/// Debian keeps one folder a version here.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// The program `name`: on the path, or in one of the folders.
fn find(name: &str, folders: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    on_path.into_iter().chain(folders).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn missing(what: &str, flag: &str) -> Error {
    Error::config(format!(
        "find {what} on this machine: ./dev demo installs it, or give {flag} the URL of one that runs"
    ))
}

/// The program of Redis.
pub(super) fn redis() -> Result<PathBuf> {
    let folders = || ["/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    let found = find("redis-server", folders()).or_else(|| find("valkey-server", folders()));
    found.ok_or_else(|| missing("redis-server", "--redis"))
}

/// The folder of the newest Postgres's programs.
pub(super) fn postgres() -> Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(POSTGRES_VERSIONS)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.split('.').next()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_unstable_by_key(|(version, _)| std::cmp::Reverse(*version));
    let folders = versions.into_iter().map(|(_, folder)| folder);
    let is_whole = |folder: &Path| folder.join("initdb").is_file();
    let program = find("postgres", folders).and_then(|program| program.canonicalize().ok());
    let folder = program.and_then(|program| program.parent().map(Path::to_path_buf));
    folder.filter(|folder| is_whole(folder)).ok_or_else(|| missing("Postgres", "--postgres"))
}
