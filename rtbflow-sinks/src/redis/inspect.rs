//! What the server's settings mean for positions and state.

use rtbflow::{Error, Result};

use crate::redis::failure::NO_CLUSTER;

/// The oldest server that copies a key, which `merge_hash` needs.
const OLDEST: (u32, u32) = (6, 2);

/// Reads the text of `INFO` and returns warnings, one line each.
///
/// # Errors
/// If the server cannot be used at all.
pub(crate) fn inspect(info: &str) -> Result<Vec<&'static str>> {
    let value = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    if value("cluster_enabled") == Some("1") || value("redis_mode") == Some("cluster") {
        return Err(Error::config(format!("use Redis: {NO_CLUSTER}")));
    }
    // A server that says no version, or one that cannot be read, passes for new: commands that it does not know are
    // found by what they answer.
    let version = value("redis_version").unwrap_or_default();
    let mut parts = version.split('.').map_while(|part| part.parse().ok());
    if let (Some(major), Some(minor)) = (parts.next(), parts.next())
        && (major, minor) < OLDEST
    {
        return Err(Error::config(format!(
            "use Redis {version}: it is too old, since 6.2 or newer is required; update the server"
        )));
    }
    Ok(warnings(value))
}

/// What may lose positions, state or results.
fn warnings<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    if value("aof_enabled") == Some("0") {
        warnings.push(
            "Redis keeps no append-only file: a crash of the server loses the newest commits, results \
             and positions alike (set appendonly yes)",
        );
    }
    // A server that names no policy is taken for one that evicts nothing, as servers do by default.
    let policy = value("maxmemory_policy").unwrap_or("noeviction");
    if value("maxmemory").is_some_and(|limit| limit != "0") && policy != "noeviction" {
        warnings.push(if policy.starts_with("allkeys") {
            "Redis may evict positions and state when memory runs short: set maxmemory-policy noeviction"
        } else {
            "Redis may evict results that expire before their time, and sums begin again from 0: set \
             maxmemory-policy noeviction"
        });
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durable_server_causes_no_warning() {
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nmaxmemory:0\r\n\
                    maxmemory_policy:allkeys-lru\r\naof_enabled:1\r\ncluster_enabled:0\r\n";
        assert_eq!(inspect(info).unwrap(), Vec::<&str>::new());
        assert_eq!(inspect("").unwrap(), Vec::<&str>::new());
    }

    #[test]
    fn what_may_lose_positions_is_a_warning() {
        let all = "aof_enabled:0\nmaxmemory:1000\nmaxmemory_policy:allkeys-lru\n";
        let [durable, evicted] = inspect(all).unwrap()[..] else { panic!() };
        assert!(durable.contains("appendonly yes") && evicted.contains("positions"));
        let expiring = "aof_enabled:1\nmaxmemory:1000\nmaxmemory_policy:volatile-ttl\n";
        assert!(inspect(expiring).unwrap()[0].contains("results that expire"));
    }

    #[test]
    fn a_cluster_and_an_old_server_are_refused() {
        for (info, advice) in [
            ("cluster_enabled:1", "one server"),
            ("redis_mode:cluster", "one server"),
            ("redis_version:6.0.16", "6.2"),
        ] {
            let error = inspect(info).unwrap_err();
            assert!(error.is_config() && error.to_string().contains(advice), "{error}");
        }
    }
}
