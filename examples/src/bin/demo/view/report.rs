//! The report at the end: what the pipelines have found, and what became of every record.

use std::fmt::Write as _;
use std::time::Duration;

use super::moment::{CampaignMoment, Ranking};
use super::number::{bar, click_through, count, grouped, seconds};
use crate::chaos::Kill;
use crate::ledger::Conclusions;
use crate::worker::Account;

/// Click-through rates, and who is ranked first.
pub(crate) fn findings(campaigns: &[CampaignMoment], rankings: &[Ranking]) -> String {
    let mut text = String::from("\nclick-through rates, newest window\n");
    for campaign in campaigns {
        let _ = writeln!(
            text,
            "  {:<14}{:>9} seen{:>7} clicked   {}",
            campaign.id,
            count(campaign.impressions),
            count(campaign.clicks),
            click_through(campaign.ctr_percent())
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

/// Conversions and budgets.
pub(crate) fn conclusions(found: Conclusions) -> String {
    let Conclusions { conversions, attributed, delay_ms, warned, exhausted, paused } = found;
    format!(
        "\nconversions and budgets\n  \
         {} conversions; a click led to {} of them\n  \
         half of these within {} min of it\n  \
         {} budgets reached 80 %, {} were used up, {} campaigns paused\n",
        grouped(conversions),
        grouped(attributed),
        grouped(delay_ms / 60_000),
        grouped(warned),
        grouped(exhausted),
        grouped(paused)
    )
}

/// What each pipeline did with every record.
pub(crate) fn accounts(accounts: &[(&'static str, Account)], kills: &[Kill]) -> String {
    let mut text = format!(
        "\nwhat became of every record; of a pipeline that was killed, since then\n  \
         {:<20}{:>8}{:>8}{:>9}{:>8}{:>6}{:>6}{:>6}{:>7}\n",
        "", "read", "used", "filtered", "repeats", "late", "dead", "other", "kills"
    );
    for (name, account) in accounts {
        let killed = kills.iter().filter(|kill| kill.name == *name).count();
        let Account { records_in, decoded, filtered, duplicates, late, dead_lettered, .. } =
            account;
        let _ = writeln!(
            text,
            "  {name:<20}{records_in:>8}{decoded:>8}{filtered:>9}{duplicates:>8}{late:>6}\
             {dead_lettered:>6}{:>6}{killed:>7}",
            account.skipped + account.pending
        );
    }
    text
}

/// What was survived, as a line of the proof.
pub(crate) fn survived(kills: &[Kill]) -> String {
    let outages = || kills.iter().filter_map(|kill| kill.outage);
    let lost = kills.len() - outages().count();
    let shortest = outages().min().map_or_else(String::new, seconds);
    let longest = outages().max().unwrap_or(Duration::ZERO);
    let rest = match (kills.len(), lost) {
        (0, _) => "s: the traffic ended before one was due".to_owned(),
        (1, 0) => format!(" (SIGKILL) survived; commits again after {shortest}"),
        (_, 0) => {
            format!("s (SIGKILL) survived; commits again after {shortest} to {}", seconds(longest))
        }
        (_, lost) => format!("s (SIGKILL); {lost} OF THE PIPELINES DID NOT COME BACK"),
    };
    format!("{:>16}  kill{rest}\n", kills.len())
}

#[cfg(test)]
mod tests {
    use super::super::tests::moment;
    use super::*;

    /// Letters of Korean are two cells wide.
    fn width(line: &str) -> usize {
        line.chars().map(|letter| if ('가'..='힣').contains(&letter) { 2 } else { 1 }).sum()
    }

    fn assert_narrow(text: &str) {
        for line in text.lines() {
            assert!(width(line) <= 80, "{} columns: {line}", width(line));
        }
    }

    #[test]
    fn the_findings_show_who_leads() {
        let ranking = Ranking {
            group: "PRODUCT_DETAIL:전자제품/컴퓨터".to_owned(),
            count: 2,
            best: vec![("campaign_3".to_owned(), 40_000.0), ("campaign_4".to_owned(), 10_000.0)],
        };
        let text = findings(&moment().campaigns, &[ranking]);
        assert!(text.contains("PRODUCT_DETAIL:전자제품/컴퓨터, 2 campaigns"), "{text}");
        assert!(text.contains("campaign_4           10000   █████░░░"), "{text}");
        assert_narrow(&text);
    }

    #[test]
    fn conclusions_and_accounts_fit_into_eighty_columns() {
        let found = Conclusions {
            conversions: 123_456,
            attributed: 123_456,
            delay_ms: 60_000_000,
            warned: 1_000,
            exhausted: 1_000,
            paused: 1_000,
        };
        assert_narrow(&conclusions(found));
        let account = Account {
            records_in: 1_234_567,
            decoded: 1_234_567,
            filtered: 1_234_567,
            late: 12_345,
            duplicates: 1_234_567,
            dead_lettered: 12_345,
            skipped: 1,
            pending: 2,
        };
        let text = accounts(&[("conversion-matching", account)], &moment().kills);
        assert!(text.contains("3      0\n"), "{text}");
        assert_narrow(&text);
    }

    #[test]
    fn what_was_survived_is_counted() {
        let kill = |outage| Kill {
            name: "balance-worker",
            at: Duration::from_secs(3),
            outage: Some(Duration::from_millis(outage)),
        };
        let lost = Kill { outage: None, ..kill(0) };
        for (kills, expected) in [
            (vec![], " 0  kills: the traffic ended before one was due\n"),
            (vec![kill(1_200)], " 1  kill (SIGKILL) survived; commits again after 1.2 s\n"),
            (
                vec![kill(1_200), kill(900)],
                " 2  kills (SIGKILL) survived; commits again after 0.9 s to 1.2 s\n",
            ),
            (
                vec![kill(1_200), lost],
                " 2  kills (SIGKILL); 1 OF THE PIPELINES DID NOT COME BACK\n",
            ),
        ] {
            let text = survived(&kills);
            assert!(text.contains(expected), "{text}");
            // In the proof there are two blanks before it.
            assert!(width(text.trim_end()) <= 78, "{text}");
        }
    }
}
