//! What the demonstration shows: a picture that is drawn anew in a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

/// A moment of the demonstration.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Moment {
    /// How long it runs.
    pub(crate) elapsed: Duration,
    /// Records of ad-events that are stored.
    pub(crate) sent: u64,
    /// Records of ad-events in a second.
    pub(crate) sent_rate: u64,
    /// Event time of what is sent.
    pub(crate) event_time: String,
    /// The pipelines.
    pub(crate) pipelines: Vec<PipelineMoment>,
    /// The campaigns that are seen most.
    pub(crate) campaigns: Vec<CampaignMoment>,
    /// The lowest balances.
    pub(crate) balances: Vec<(String, i64)>,
    /// Rows in the ledger, and the sum of all balances.
    pub(crate) ledger: (u64, i64),
}

/// A pipeline at a moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PipelineMoment {
    pub(crate) name: &'static str,
    /// Records committed in a second.
    pub(crate) rate: u64,
    /// Records sent and not yet committed.
    pub(crate) lag: u64,
    /// Its watermark, where it has one.
    pub(crate) watermark: Option<String>,
}

/// A campaign's newest window.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CampaignMoment {
    pub(crate) id: String,
    pub(crate) window: String,
    pub(crate) impressions: u64,
    pub(crate) clicks: u64,
    pub(crate) cost: i64,
}

/// A group of the ranking.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ranking {
    /// Placement and category.
    pub(crate) group: String,
    /// How many campaigns it has.
    pub(crate) count: u64,
    /// Its first campaigns with their scores.
    pub(crate) best: Vec<(String, f64)>,
}

impl CampaignMoment {
    fn ctr_percent(&self) -> f64 {
        let exact = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        if self.impressions == 0 {
            0.0
        } else {
            100.0 * exact(self.clicks) / exact(self.impressions)
        }
    }
}

/// Where moments are shown.
#[derive(Debug)]
pub(crate) struct View {
    is_terminal: bool,
}

impl View {
    /// Standard output.
    pub(crate) fn new() -> Self {
        Self { is_terminal: io::stdout().is_terminal() }
    }

    /// How often a moment is worth showing.
    pub(crate) fn interval(&self) -> Duration {
        if self.is_terminal { Duration::from_millis(500) } else { Duration::from_secs(2) }
    }

    /// Shows a moment. A terminal that is gone is no reason to stop.
    pub(crate) fn show(&self, moment: &Moment) {
        let text = if self.is_terminal {
            format!("\x1b[H\x1b[J{}", picture(moment))
        } else {
            line(moment)
        };
        self.say(&text);
    }

    /// Writes text as it is.
    pub(crate) fn say(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }
}

/// A number with a comma every three digits.
pub(crate) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

fn count(number: u64) -> String {
    grouped(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The end: rankings and click-through rates as tables with bars.
pub(crate) fn tables(campaigns: &[CampaignMoment], rankings: &[Ranking]) -> String {
    let mut text = String::from("\nclick-through rates, newest window\n");
    for campaign in campaigns {
        let percent = campaign.ctr_percent();
        let bar = bar(percent / FULL_PERCENT);
        let _ = writeln!(
            text,
            "  {:<14}{:>9} impressions{:>7} clicks   {bar} {percent:.1} %",
            campaign.id,
            count(campaign.impressions),
            count(campaign.clicks)
        );
    }
    text.push_str("\nrankings, expected won in a thousand impressions\n");
    for Ranking { group, count: campaigns, best } in rankings {
        let _ = writeln!(text, "  {group}, {} campaigns", count(*campaigns));
        let highest = best.first().map_or(1.0, |(_, score)| score.max(1.0));
        for (campaign, score) in best {
            let _ = writeln!(text, "    {campaign:<14}{score:>12.0}   {}", bar(score / highest));
        }
    }
    text
}

const BAR_CELLS: u32 = 20;
/// A bar is full here; a click-through rate beyond it is rare.
const FULL_PERCENT: f64 = 20.0;

/// A bar that is full at 1.
fn bar(share: f64) -> String {
    let full = |cell: u32| f64::from(cell + 1) / f64::from(BAR_CELLS) <= share;
    (0..BAR_CELLS).map(|cell| if full(cell) { '█' } else { '░' }).collect()
}

fn line(moment: &Moment) -> String {
    let mut text = format!(
        "{:>4} s  sent {} ({}/s)",
        moment.elapsed.as_secs(),
        count(moment.sent),
        count(moment.sent_rate)
    );
    for pipeline in &moment.pipelines {
        let PipelineMoment { name, rate, lag, watermark } = pipeline;
        let _ = write!(text, "  {name} {}/s lag {}", count(*rate), count(*lag));
        if let Some(watermark) = watermark {
            let _ = write!(text, " watermark {watermark}");
        }
    }
    if let Some(campaign) = moment.campaigns.first() {
        let _ = write!(text, "  {} CTR {:.1} %", campaign.id, campaign.ctr_percent());
    }
    let (rows, sum) = moment.ledger;
    let _ = writeln!(text, "  ledger {} rows, balances {} won", count(rows), grouped(sum));
    text
}

fn picture(moment: &Moment) -> String {
    let mut text = format!(
        "rtbflow demo   {} s   {} ad-events sent, {}/s   event time {}\n\n",
        moment.elapsed.as_secs(),
        count(moment.sent),
        count(moment.sent_rate),
        moment.event_time
    );
    let _ = writeln!(text, "  {:<18}{:>12}{:>10}   watermark", "pipeline", "committed/s", "lag");
    for PipelineMoment { name, rate, lag, watermark } in &moment.pipelines {
        let watermark = watermark.as_deref().unwrap_or("-");
        let _ = writeln!(text, "  {name:<18}{:>12}{:>10}   {watermark}", count(*rate), count(*lag));
    }
    let _ = writeln!(
        text,
        "\n  {:<14}{:<22}{:>12}{:>9}{:>13}   CTR",
        "campaign", "newest window", "impressions", "clicks", "cost"
    );
    for campaign in &moment.campaigns {
        let CampaignMoment { id, window, impressions, clicks, cost } = campaign;
        let percent = campaign.ctr_percent();
        let _ = writeln!(
            text,
            "  {id:<14}{window:<22}{:>12}{:>9}{:>13}   {} {percent:.1} %",
            count(*impressions),
            count(*clicks),
            grouped(*cost),
            bar(percent / FULL_PERCENT)
        );
    }
    let (rows, sum) = moment.ledger;
    let _ = writeln!(
        text,
        "\n  {:<18}{:>16}   all balances {} won, {} rows in the ledger",
        "advertiser",
        "balance",
        grouped(sum),
        count(rows)
    );
    for (advertiser, balance) in &moment.balances {
        let _ = writeln!(text, "  {advertiser:<18}{:>16}", grouped(*balance));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> Moment {
        Moment {
            elapsed: Duration::from_secs(7),
            sent: 12_345,
            sent_rate: 2_000,
            event_time: "2024-01-15T10:30:00Z".to_owned(),
            pipelines: vec![PipelineMoment {
                name: "performance",
                rate: 1_999,
                lag: 12,
                watermark: None,
            }],
            campaigns: vec![CampaignMoment {
                id: "campaign_3".to_owned(),
                window: "2024-01-15T10:30:00Z".to_owned(),
                impressions: 200,
                clicks: 20,
                cost: 24_000,
            }],
            balances: vec![("advertiser_3".to_owned(), -1_234_567)],
            ledger: (1_234, -9_876_543),
        }
    }

    #[test]
    fn a_line_is_one_line() {
        let line = line(&moment());
        assert_eq!(line.lines().count(), 1);
        for part in ["12,345", "performance 1,999/s lag 12", "campaign_3 CTR 10.0 %", "-9,876,543"]
        {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn a_picture_shows_bars_and_balances() {
        let picture = picture(&moment());
        assert!(picture.contains("██████████░░░░░░░░░░ 10.0 %"), "{picture}");
        assert!(picture.contains("-1,234,567"), "{picture}");
    }

    #[test]
    fn the_tables_show_who_leads() {
        let ranking = Ranking {
            group: "HOME:도서".to_owned(),
            count: 2,
            best: vec![("campaign_3".to_owned(), 40_000.0), ("campaign_4".to_owned(), 10_000.0)],
        };
        let text = tables(&moment().campaigns, &[ranking]);
        assert!(text.contains("HOME:도서, 2 campaigns"), "{text}");
        assert!(text.contains("campaign_4           10000   █████░░░"), "{text}");
    }

    #[test]
    fn digits_stand_in_groups_of_three() {
        for (number, text) in [(0, "0"), (-7, "-7"), (999, "999"), (-1_000, "-1,000")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(grouped(i64::MIN), "-9,223,372,036,854,775,808");
    }
}
