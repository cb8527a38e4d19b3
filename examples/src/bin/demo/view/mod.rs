//! What the demonstration shows: a picture on the other screen of a terminal, plain lines elsewhere, and at
//! the end a report.

mod moment;
mod number;
mod picture;
mod plain;
mod report;
mod row;
mod screen;
mod spark;

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

pub(crate) use moment::{CampaignMoment, Moment, PipelineMoment, Ranking};
pub(crate) use number::grouped;
pub(crate) use report::{accounts, conclusions, findings, survived};
pub(crate) use screen::{leave, leave_on_panic};

use crate::chaos::Kill;
use picture::{Size, picture};
use screen::Screen;

/// The terminal may change its size while it is drawn on: it is asked every few pictures.
const PICTURES_BETWEEN_SIZES: u32 = 4;

/// Where moments are shown.
#[derive(Debug)]
pub(crate) struct View {
    is_terminal: bool,
    /// From the first moment until the report.
    screen: Option<Screen>,
    size: Size,
    pictures: u32,
    /// The kills that were written as lines.
    written: Vec<Kill>,
}

impl View {
    /// Standard output.
    pub(crate) fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let size = Size::SMALLEST;
        Self { is_terminal, screen: None, size, pictures: 0, written: Vec::new() }
    }

    /// How often a moment is worth showing.
    pub(crate) fn interval(&self) -> Duration {
        if self.is_terminal { Duration::from_millis(500) } else { Duration::from_secs(2) }
    }

    /// Shows a moment.
    pub(crate) fn show(&mut self, moment: &Moment) {
        if !self.is_terminal {
            screen::write(&plain::news(&self.written, &moment.kills));
            self.written.clone_from(&moment.kills);
            return screen::write(&plain::line(moment));
        }
        if self.pictures.is_multiple_of(PICTURES_BETWEEN_SIZES) {
            self.size = size().unwrap_or(Size::SMALLEST);
        }
        self.pictures += 1;
        self.screen.get_or_insert_with(Screen::take).draw(&picture(moment, self.size));
    }

    /// Shows nothing any more but what is said.
    pub(crate) fn close(&mut self, kills: &[Kill]) {
        self.screen = None;
        if !self.is_terminal {
            screen::write(&plain::news(&self.written, kills));
        }
    }

    /// Writes text as it is.
    pub(crate) fn say(&self, text: &str) {
        screen::write(text);
    }
}

/// The size of the terminal that our standard output is: only the system knows it, and `stty` asks.
fn size() -> Option<Size> {
    let terminal = File::from(io::stdout().as_fd().try_clone_to_owned().ok()?);
    let asked = Command::new("stty").arg("size").stdin(terminal).stderr(Stdio::null()).output();
    let (rows, columns) = String::from_utf8(asked.ok()?.stdout).ok().and_then(|said| {
        let (rows, columns) = said.trim().split_once(' ')?;
        Some((rows.parse().ok()?, columns.parse().ok()?))
    })?;
    // A terminal that nobody looks at may have no size at all.
    (rows > 0 && columns > 0).then_some(Size { columns, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The widest that a run may come to.
    pub(super) fn moment() -> Moment {
        let pipeline = |name, lags: &[u64], behind_ms| PipelineMoment {
            name,
            rates: vec![0, 1_000, 1_999],
            lags: lags.to_vec(),
            behind_ms: vec![behind_ms],
            watermark: Some("2024-01-15T10:29:55Z".to_owned()),
        };
        let kill = |name, at, outage: Option<u64>| Kill {
            name,
            at: Duration::from_secs(at),
            outage: outage.map(Duration::from_millis),
        };
        let campaign = |number| CampaignMoment {
            id: format!("campaign_{number}"),
            window: "2024-01-15T10:30:00Z".to_owned(),
            impressions: 200,
            clicks: 20,
        };
        Moment {
            elapsed: Duration::from_secs(7),
            duration: Duration::from_secs(30),
            sent: 12_345,
            sent_rates: vec![100, 2_000],
            event_time: "2024-01-15T10:30:00Z".to_owned(),
            pipelines: vec![
                pipeline("performance", &[12, 1_200], 600),
                pipeline("balance-worker", &[0, 1_000, 100], 101),
                pipeline("rtb-ranking", &[0], 0),
                pipeline("conversion-matching", &[0], 0),
                pipeline("duplicate-clicks", &[0], 0),
                pipeline("budget-worker", &[0], 0),
                pipeline("compensation-worker", &[0], 0),
            ],
            kills: vec![
                kill("balance-worker", 2, Some(2_000)),
                kill("balance-worker", 4, Some(1_400)),
                kill("performance", 6, None),
            ],
            campaigns: (0..20).map(campaign).collect(),
            balances: (0..20).map(|n| (format!("advertiser_{n}"), -1_234_567)).collect(),
            ledger: (123_456, -98_765_432),
        }
    }

    /// What is seen of a row.
    pub(super) fn without_colours(row: &str) -> String {
        let mut pieces = row.split("\x1b[");
        let first = pieces.next().unwrap_or_default();
        let rest = pieces.map(|piece| piece.split_once('m').map_or("", |(_, text)| text));
        [first].into_iter().chain(rest).collect()
    }

    #[test]
    fn colours_are_not_seen() {
        assert_eq!(without_colours("a\x1b[1;31mb\x1b[0mc"), "abc");
    }
}
