//! What is written where there is no terminal: lines, each once.

use std::time::Duration;

use super::moment::Moment;
use super::number::{count, seconds};
use crate::chaos::Kill;

/// A moment in a line.
pub(super) fn line(moment: &Moment) -> String {
    let rate = moment.sent_rates.last().copied().unwrap_or(0);
    let last = moment.pipelines.iter().max_by_key(|pipeline| pipeline.lag());
    let last = last.map_or_else(String::new, |last| {
        let behind = last.behind_ms.last().copied().unwrap_or(0);
        let behind = seconds(Duration::from_millis(behind));
        format!("; slowest {}, lag {}, {behind}", last.name, count(last.lag()))
    });
    format!(
        "{:>4} s  {} sent, {}/s{last}\n",
        moment.elapsed.as_secs(),
        count(moment.sent),
        count(rate)
    )
}

/// Who was killed, and who is back, since the kills were these.
pub(super) fn news(before: &[Kill], now: &[Kill]) -> String {
    let mut news = Vec::new();
    for (number, kill) in now.iter().enumerate() {
        let before = before.get(number);
        if before.is_none() {
            news.push((kill.at, format!("killed {} (SIGKILL)", kill.name)));
        }
        let was_back = before.is_some_and(|before| before.outage.is_some());
        if let Some(outage) = kill.outage.filter(|_| !was_back) {
            let again = format!("{} commits again, after {}", kill.name, seconds(outage));
            news.push((kill.at + outage, again));
        }
    }
    news.sort();
    news.iter().map(|(at, what)| format!("{:>4} s  {what}\n", at.as_secs())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::moment;
    use super::*;

    #[test]
    fn a_moment_is_one_line_of_eighty_columns() {
        let line = super::line(&moment());
        let expected = "   7 s  12,345 sent, 2,000/s; slowest performance, lag 1,200, 0.6 s\n";
        assert_eq!(line, expected);
        let mut widest = moment();
        widest.elapsed = Duration::from_secs(9_999);
        widest.sent = 9_999_999;
        widest.pipelines[0].name = "conversion-matching";
        widest.pipelines[0].lags = vec![30_000];
        let line = super::line(&widest);
        assert!(line.trim_end().chars().count() <= 80, "{line}");
    }

    #[test]
    fn each_kill_and_each_return_is_said_once() {
        let kill = |name, at, outage: Option<u64>| Kill {
            name,
            at: Duration::from_secs(at),
            outage: outage.map(Duration::from_millis),
        };
        let steps = [
            vec![],
            vec![kill("one", 3, None)],
            vec![kill("one", 3, None)],
            vec![kill("one", 3, Some(1_200)), kill("other", 5, Some(900))],
            vec![kill("one", 3, Some(1_200)), kill("other", 5, Some(900))],
        ];
        let said: Vec<String> = steps.windows(2).map(|pair| news(&pair[0], &pair[1])).collect();
        assert_eq!(
            said,
            [
                "   3 s  killed one (SIGKILL)\n",
                "",
                "   4 s  one commits again, after 1.2 s\n   5 s  killed other (SIGKILL)\n   \
                 5 s  other commits again, after 0.9 s\n",
                ""
            ]
        );
    }
}
