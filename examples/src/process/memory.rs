//! Gives memory that is free back to the system: what lies free between pieces that are in use, glibc keeps for good.
//!
//! After a backlog that would be most of what the process has. Looking for it takes some milliseconds, so it is done
//! when there is little else to do, and only where something may be found.

use std::fs;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::sleep;

const PAUSE: Duration = Duration::from_secs(5);
/// Ticks of processor time, of which there are a hundred a second, below which a pause is a quiet one.
const QUIET_TICKS: u64 = 50;
/// The pages by which the process has to have grown: 4 MiB on most systems.
const GROWTH_PAGES: u64 = 1_024;

/// Gives back what is free, again and again, for as long as the runtime runs.
pub(super) fn give_back_free(runtime: &Runtime) {
    // Nobody waits for it: it ends with the runtime.
    drop(runtime.spawn(async {
        let (mut ticks, mut kept) = (0, 0);
        loop {
            sleep(PAUSE).await;
            // Without a /proc nothing is known, and nothing given back.
            let (Some(now), Some(pages)) = (ticks_used(), resident_pages()) else { return };
            let is_quiet = now.saturating_sub(ticks) < QUIET_TICKS;
            ticks = now;
            if is_quiet && pages > kept + GROWTH_PAGES {
                native::malloc_trim(0);
                kept = resident_pages().unwrap_or(pages);
            }
            kept = kept.min(pages);
        }
    }));
}

/// User and system time of this process (proc_pid_stat(5)).
fn ticks_used() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ticks: Option<Vec<u64>> = fields.skip(11).take(2).map(|field| field.parse().ok()).collect();
    Some(ticks?.iter().sum())
}

fn resident_pages() -> Option<u64> {
    fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod native {
    #![expect(
        unsafe_code,
        reason = "a function of glibc's own (malloc_trim(3)) has to be declared"
    )]

    use std::ffi::c_int;

    // SAFETY: declared as in malloc.h; it takes the allocator's own locks.
    unsafe extern "C" {
        pub(super) safe fn malloc_trim(pad: usize) -> c_int;
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod native {
    /// Other allocators give back by themselves.
    pub(super) fn malloc_trim(_pad: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn what_lies_free_between_what_is_in_use_is_given_back() {
        const PIECES: usize = 20_000;
        let mut pieces: Vec<_> = (0..PIECES).map(|_| vec![1_u8; 16_000]).collect();
        let most = resident_pages().unwrap();
        let mut number = 0;
        pieces.retain(|_| {
            number += 1;
            number % 100 == 0
        });
        native::malloc_trim(0);
        let left = resident_pages().unwrap();
        // 320 MB, of which one in a hundred is in use.
        assert!(left < most / 2, "{left} of {most} pages");
        assert_eq!(pieces.len(), PIECES / 100);
    }

    #[test]
    fn what_the_process_takes_is_read() {
        assert!(ticks_used().is_some() && resident_pages() > Some(0));
    }
}
