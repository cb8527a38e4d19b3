//! What a process takes that has nothing to do.

use std::thread::sleep;
use std::time::Duration;

use crate::figures::Figures;
use crate::process::Process;
use crate::servers::Place;
use crate::{Answer, Run};

/// How long a process has until it has nothing to do any more: it is found idle after ten seconds.
const BEGUN: Duration = Duration::from_secs(15);

pub(crate) fn measure(run: &Run<'_>, place: &Place) -> Answer<Figures> {
    let program = run.options.binaries(run.build).join(run.pipeline);
    let process = Process::start(&program, &run.servers.arguments(place))?;
    sleep(BEGUN);
    let figures = watch(&process, run.options.watched())?;
    process.stop()?;
    Ok(figures)
}

/// What it takes in a time.
pub(crate) fn watch(process: &Process, time: Duration) -> Answer<Figures> {
    let before = process.running()?;
    sleep(time);
    let after = process.running()?;
    let cpu = after.cpu.saturating_sub(before.cpu);
    Ok(vec![
        ("share of a core, %", cpu.as_secs_f64() / time.as_secs_f64() * 100.0),
        ("memory, MB", after.rss_kib * 1_024.0 / 1e6),
        ("threads", after.threads),
    ])
}
