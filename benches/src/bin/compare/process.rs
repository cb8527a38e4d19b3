//! A process and what it takes, as `/proc` has it (proc_pid_stat(5), proc_pid_status(5)).

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Answer;

/// The pause between two looks at a process.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a process may take for all that is waited for.
const LONGEST: Duration = Duration::from_secs(1_800);
/// A tick of processor time, of which there are a hundred a second on Linux.
const TICK: Duration = Duration::from_millis(10);

/// What a process takes at the moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// User and system time since its start.
    pub(crate) cpu: Duration,
    pub(crate) rss_kib: f64,
    pub(crate) peak_rss_kib: f64,
    pub(crate) threads: f64,
    is_over: bool,
}

/// What a process that has ended has taken, and the last line that it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    pub(crate) peak_rss_kib: f64,
    pub(crate) most_threads: f64,
    pub(crate) said: serde_json::Value,
}

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    folder: PathBuf,
    started: Instant,
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is none.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

impl Process {
    pub(crate) fn start(program: &Path, arguments: &[String]) -> Answer<Self> {
        let started = instant();
        let child = Command::new(program)
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("start {}: {error}", program.display()))?;
        let folder = PathBuf::from(format!("/proc/{}", child.id()));
        Ok(Self { child, folder, started })
    }

    /// What it takes at the moment.
    pub(crate) fn sample(&self) -> Answer<Sample> {
        let stat = fs::read_to_string(self.folder.join("stat"))?;
        let fields = stat.rsplit_once(')').ok_or("read the stat of a process")?.1;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok());
        let ticks = number(11).zip(number(12)).map(|(user, system)| user + system);
        let status = fs::read_to_string(self.folder.join("status"))?;
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
        };
        Ok(Sample {
            cpu: TICK * ticks.ok_or("read the processor time of a process")?,
            rss_kib: line("VmRSS:"),
            peak_rss_kib: line("VmHWM:"),
            threads: line("Threads:"),
            // Until it is waited for, a process that has ended keeps its times.
            is_over: fields.first() == Some(&"Z") && line("Threads:") <= 1.0,
        })
    }

    /// As [`sample`](Self::sample), of a process that has to be running.
    pub(crate) fn running(&self) -> Answer<Sample> {
        let sample = self.sample()?;
        if sample.is_over { Err("the process has ended".into()) } else { Ok(sample) }
    }

    /// Waits for its end, which has to be a good one.
    pub(crate) fn wait(mut self) -> Answer<Ended> {
        let (mut peak_rss_kib, mut most_threads) = (0.0_f64, 0.0_f64);
        let last = loop {
            let sample = self.sample()?;
            peak_rss_kib = peak_rss_kib.max(sample.peak_rss_kib);
            most_threads = most_threads.max(sample.threads);
            if sample.is_over {
                break sample;
            }
            if self.started.elapsed() > LONGEST {
                return Err(format!("the process has not ended within {LONGEST:?}").into());
            }
            sleep(PAUSE);
        };
        let wall = self.started.elapsed();
        let mut said = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut said)?;
        }
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("the process ended with {status}: {said}").into());
        }
        let said = serde_json::from_str(said.lines().last().unwrap_or_default())?;
        Ok(Ended { cpu: last.cpu, wall, peak_rss_kib, most_threads, said })
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(self) -> Answer<Ended> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status()?;
        if status.success() { self.wait() } else { Err(format!("kill: {status}").into()) }
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) -> Answer<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// Waits until `is_done` says so.
pub(crate) fn wait_until(
    what: &str,
    pause: Duration,
    mut is_done: impl FnMut() -> Answer<bool>,
) -> Answer<()> {
    let since = instant();
    while !is_done()? {
        if since.elapsed() > LONGEST {
            return Err(format!("{what}: not within {LONGEST:?}").into());
        }
        sleep(pause);
    }
    Ok(())
}
