//! What a process holds that stays after a backlog.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use crate::figures::Figures;
use crate::idle::watch;
use crate::process::{Process, wait_until};
use crate::servers::Place;
use crate::{Answer, Run};

/// The time within which a process that has caught up does next to nothing.
const QUIET: Duration = Duration::from_secs(2);

pub(crate) fn measure(run: &Run<'_>, place: &Place) -> Answer<Figures> {
    let live = Live::start(run, place, &[])?;
    live.wait_until_caught_up()?;
    sleep(run.options.watched());
    let mut figures = watch(&live.process, run.options.watched())?;
    let peak = live.process.running()?.peak_rss_kib;
    figures.push(("peak memory, MB", peak * 1_024.0 / 1e6));
    live.process.stop()?;
    Ok(figures)
}

/// A process that stays, and where its metrics are.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) process: Process,
    metrics: SocketAddr,
}

impl Live {
    pub(crate) fn start(run: &Run<'_>, place: &Place, more: &[&str]) -> Answer<Self> {
        // Nobody else takes the port in between, as a rule.
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut arguments = run.servers.arguments(place);
        arguments.extend(["--metrics".to_owned(), metrics.to_string()]);
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let program = run.options.binaries(run.build).join(run.pipeline);
        Ok(Self { process: Process::start(&program, &arguments)?, metrics })
    }

    /// Records that are not read yet; `None` before the process knows.
    fn lag(&self) -> Option<f64> {
        let mut answer = String::new();
        let mut connection = TcpStream::connect(self.metrics).ok()?;
        write!(connection, "GET /metrics HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n")
            .ok()?;
        connection.read_to_string(&mut answer).ok()?;
        let lags = answer.lines().filter(|line| line.starts_with("rtbflow_lag{"));
        let lags: Vec<f64> =
            lags.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        (!lags.is_empty()).then(|| lags.iter().sum())
    }

    /// Waits until everything is read, and little is done.
    pub(crate) fn wait_until_caught_up(&self) -> Answer<()> {
        wait_until("catch up", Duration::from_millis(200), || {
            self.process.running()?;
            Ok(self.lag() == Some(0.0))
        })?;
        wait_until("do nothing", Duration::ZERO, || {
            let before = self.process.running()?.cpu;
            sleep(QUIET);
            Ok(self.process.running()?.cpu.saturating_sub(before) < QUIET / 8)
        })
    }
}
