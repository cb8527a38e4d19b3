//! How busy the machine is: where many compute beside the nemesis, everything takes longer, and bounds with it.

use std::time::Duration;

/// What a core carries without waits that matter here: most of what runs waits for servers.
const LOAD_OF_A_CORE: f64 = 4.0;

/// By how much everything takes longer at present; 1 on a machine that has enough cores.
pub(crate) fn stretch() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cores = f64::from(u32::try_from(cores).unwrap_or(1));
    (load / (LOAD_OF_A_CORE * cores)).max(1.0)
}

/// A bound, as it is at present.
pub(crate) fn stretched(bound: Duration) -> Duration {
    bound.mul_f64(stretch())
}
