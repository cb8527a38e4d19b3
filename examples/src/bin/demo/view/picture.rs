//! The picture of a moment, as it is drawn anew in a terminal again and again.

use std::time::Duration;

use super::moment::{CampaignMoment, Moment, PipelineMoment};
use super::number::{click_through, count, grouped, seconds};
use super::row::{Row, Style};
use super::spark::sparkline;

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Size {
    /// What every terminal has.
    pub(super) const SMALLEST: Self = Self { columns: 80, rows: 24 };
}

/// The widest name, with two blanks before it and one behind.
const NAME: usize = 22;
/// A number, with a blank before it and one behind.
const NUMBER: usize = 9;
const KILLS: usize = 6;
const WATERMARK: usize = 11;
/// From this width on there is room for the watermarks.
const WIDE: usize = 100;
const LONGEST_LINE: usize = 40;
/// Rows that are there whatever is listed: the head, the pipelines, and the headings with a blank row each.
const FIXED_ROWS: usize = 18;
const MOST_KILLS: usize = 6;
const MOST_CAMPAIGNS: usize = 8;
/// Lines over time are full at this, or at more.
const LEAST_RATE: u64 = 10;
const LEAST_LAG: u64 = 500;
const LEAST_BEHIND_MS: u64 = 1_000;

/// All rows, none wider or more than the terminal.
pub(super) fn picture(moment: &Moment, size: Size) -> Vec<String> {
    let lists = size.rows.saturating_sub(FIXED_ROWS);
    let kills = (lists / 3).clamp(1, MOST_KILLS);
    let campaigns = lists.saturating_sub(kills).div_ceil(2).clamp(1, MOST_CAMPAIGNS);
    let balances = lists.saturating_sub(kills + campaigns).max(1);
    let mut rows = head(moment, size.columns);
    rows.extend(pipelines(moment, size.columns));
    rows.extend(kills_panel(moment, kills));
    rows.extend(campaigns_panel(moment, campaigns));
    rows.extend(money_panel(moment, balances));
    rows.iter().take(size.rows).map(|row| row.drawn(size.columns)).collect()
}

fn heading(name: &str, explanation: impl Into<String>) -> [Row; 2] {
    let heading = Row::default().with(Style::Heading, format!("{name}  "));
    [Row::default(), heading.with(Style::Faint, explanation)]
}

fn head(moment: &Moment, columns: usize) -> Vec<Row> {
    let Moment { elapsed, duration, sent, sent_rates, event_time, .. } = moment;
    let what = if elapsed > duration { "reading the rest" } else { "" };
    let (elapsed, duration) = (elapsed.as_secs(), duration.as_secs());
    let title = Row::default().with(Style::Heading, "rtbflow demo").plain(format!(
        "   {elapsed} of {duration} s   {} ad-events   event time {event_time}   {what}",
        count(*sent)
    ));
    let rate = sent_rates.last().copied().unwrap_or(0);
    let sent = format!("  {:<20}{:>7} ", "sent a second", count(rate));
    let cells = columns.saturating_sub(sent.len() + 1).min(2 * LONGEST_LINE);
    let line = sparkline(sent_rates, cells, LEAST_RATE);
    vec![title, Row::default().plain(sent).with(Style::Line, line)]
}

/// How long a line over time is, of three in a row.
fn line_cells(columns: usize) -> usize {
    let more = if columns < WIDE { 0 } else { WATERMARK };
    (columns.saturating_sub(NAME + 3 * NUMBER + KILLS + more) / 3).min(LONGEST_LINE)
}

fn pipelines(moment: &Moment, columns: usize) -> Vec<Row> {
    let cells = line_cells(columns);
    let explanation = "a process each; records a second, not committed yet, for how long";
    let mut rows = heading("PIPELINES", explanation).to_vec();
    let group = NUMBER + cells;
    let watermark = if columns < WIDE { "" } else { "watermark" };
    let titles = format!(
        "{:NAME$}{:<group$}{:<group$}{:<group$}{:>KILLS$}  {watermark}",
        "", "    rate", "     lag", "  behind", "kills"
    );
    rows.push(Row::default().with(Style::Faint, titles));
    rows.extend(moment.pipelines.iter().map(|pipeline| {
        let row = pipeline_row(pipeline, moment, cells);
        match &pipeline.watermark {
            // The time of the day.
            Some(at) if columns >= WIDE => row.plain(format!("  {}", at.get(11..19).unwrap_or(at))),
            Some(_) | None => row,
        }
    }));
    rows
}

fn pipeline_row(pipeline: &PipelineMoment, moment: &Moment, cells: usize) -> Row {
    let PipelineMoment { name, rates, lags, behind_ms, .. } = pipeline;
    let last = |numbers: &[u64]| numbers.last().copied().unwrap_or(0);
    let kills = moment.kills.iter().filter(|kill| kill.name == *name);
    let is_down = kills.clone().any(|kill| kill.outage.is_none());
    let (style, rate) = if is_down {
        (Style::Bad, "KILLED".to_owned())
    } else {
        (Style::Plain, count(last(rates)))
    };
    let behind = seconds(Duration::from_millis(last(behind_ms)));
    let killed = match kills.count() {
        0 => String::new(),
        killed => killed.to_string(),
    };
    let line =
        |row: Row, numbers: &[u64], least| row.with(Style::Line, sparkline(numbers, cells, least));
    let row = Row::default().with(style, format!("  {name:<20}{rate:>8} "));
    let row = line(row, rates, LEAST_RATE).plain(format!("{:>8} ", count(last(lags))));
    let row = line(row, lags, LEAST_LAG).plain(format!("{behind:>8} "));
    line(row, behind_ms, LEAST_BEHIND_MS).plain(format!("{killed:>KILLS$}"))
}

fn kills_panel(moment: &Moment, most: usize) -> Vec<Row> {
    let explanation = "SIGKILL in the middle of the work; how long until the next commit";
    let mut rows = heading("KILLS", explanation).to_vec();
    rows.extend(moment.kills.iter().rev().take(most).map(|kill| {
        let killed = format!("  at {:>6}  {:<20}", seconds(kill.at), kill.name);
        let row = Row::default().plain(killed);
        match kill.outage {
            Some(outage) => row.with(Style::Good, format!("back after {}", seconds(outage))),
            None => row.with(Style::Bad, "KILLED"),
        }
    }));
    rows.resize_with(most + 2, Row::default);
    rows
}

fn campaigns_panel(moment: &Moment, most: usize) -> Vec<Row> {
    let explanation = "seen most in their newest five minutes of event time, in Redis";
    let mut rows = heading("CAMPAIGNS", explanation).to_vec();
    rows.extend(moment.campaigns.iter().take(most).map(|campaign| {
        let CampaignMoment { id, window, impressions, clicks, .. } = campaign;
        let (seen, clicks) = (count(*impressions), count(*clicks));
        let window = window.get(11..16).unwrap_or(window);
        Row::default()
            .plain(format!("  {id:<13} {window}{seen:>8} seen{clicks:>7} clicked  "))
            .with(Style::Line, click_through(campaign.ctr_percent()))
    }));
    rows.resize_with(most + 2, Row::default);
    rows
}

fn money_panel(moment: &Moment, most: usize) -> Vec<Row> {
    let (entries, sum) = moment.ledger;
    let explanation = format!(
        "lowest balances in Postgres; all: {} won by {} entries",
        grouped(sum),
        count(entries)
    );
    let mut rows = heading("MONEY", explanation).to_vec();
    rows.extend(moment.balances.iter().take(most).map(|(advertiser, balance)| {
        Row::default().plain(format!("  {advertiser:<20}{:>16} won", grouped(*balance)))
    }));
    rows
}

#[cfg(test)]
mod tests {
    use super::super::tests::{moment, without_colours};
    use super::*;

    const SIZES: [Size; 4] = [
        Size::SMALLEST,
        Size { columns: 120, rows: 40 },
        Size { columns: 300, rows: 100 },
        Size { columns: 40, rows: 10 },
    ];

    fn drawn(size: Size) -> Vec<String> {
        picture(&moment(), size).iter().map(|row| without_colours(row)).collect()
    }

    #[test]
    fn no_row_is_wider_than_the_terminal_and_no_row_too_many() {
        for size in SIZES {
            let rows = drawn(size);
            let widest = rows.iter().map(|row| row.chars().count()).max().unwrap();
            assert!(widest <= size.columns, "{widest} of {}:\n{}", size.columns, rows.join("\n"));
            assert!(rows.len() <= size.rows, "{} of {}", rows.len(), size.rows);
        }
    }

    #[test]
    fn nothing_is_cut_off_where_there_are_eighty_columns() {
        let whole = drawn(Size { columns: 300, rows: 24 });
        let rows = drawn(Size::SMALLEST);
        for ending in [
            "event time 2024-01-15T10:30:00Z",
            "records a second, not committed yet, for how long",
            "how long until the next commit",
            "of event time, in Redis",
            "all: -98,765,432 won by 123,456 entries",
            "back after 1.4 s",
            "██████████░░░░░░░░░░ 10.0 %",
        ] {
            for rows in [&whole, &rows] {
                let found = rows.iter().any(|row| row.trim_end().ends_with(ending));
                assert!(found, "{ending} in\n{}", rows.join("\n"));
            }
        }
        let last = rows.last().unwrap();
        assert!(rows.len() == 24 && last.contains("advertiser_"), "{}", rows.join("\n"));
    }

    #[test]
    fn who_was_killed_is_seen_until_it_is_back() {
        let rows = drawn(Size { columns: 120, rows: 40 });
        let row = |name: &str| rows.iter().find(|row| row.trim_start().starts_with(name)).unwrap();
        assert!(row("performance").contains("KILLED"), "{rows:#?}");
        assert!(!row("balance-worker").contains("KILLED"), "{rows:#?}");
        assert!(row("balance-worker").ends_with("2  10:29:55"), "{rows:#?}");
        assert!(row("balance-worker").contains("▁█▂  "), "its lag: {rows:#?}");
    }
}
