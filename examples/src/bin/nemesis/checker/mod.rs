//! What the pipelines must have left, by brute force: from the records as they are read back from Kafka, without a
//! line of the pipelines' own code.

mod accounts;
mod ads;
mod conversions;
mod letters;
mod log;
mod money;
mod ranking;
mod refunds;
mod spends;
mod time;
mod windows;

use std::collections::BTreeMap;
use std::fmt::Debug;

use rtbflow_examples::topics::SystemTopic;

use crate::Fallible;
use crate::findings::Findings;
use crate::fleet::Fleet;
use crate::pipelines::{Keeps, Kind};
use crate::servers::{connect_postgres, connect_redis};
use crate::traffic::Budget;

pub(crate) use log::read;

/// What is compared of one pipeline: at most this many differences are shown.
const MOST_SHOWN: usize = 5;

/// How many records of a pipeline's input are to end in each class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Classes {
    pub(crate) decoded: i64,
    pub(crate) filtered: i64,
    pub(crate) late: i64,
    pub(crate) duplicates: i64,
    pub(crate) dead_lettered: i64,
    pub(crate) skipped: i64,
}

/// A record of an input, by topic, partition and offset.
type At = (String, i32, i64);

/// Compares what was found with what was expected, key by key.
fn compare<K: Ord + Debug, V: PartialEq + Debug>(
    findings: &Findings,
    what: &str,
    found: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) {
    let mut differences = Vec::new();
    for (key, wanted) in expected {
        match found.get(key) {
            Some(value) if value == wanted => {}
            Some(value) => differences.push(format!("{key:?} is {value:?}, expected {wanted:?}")),
            None => differences.push(format!("{key:?} is missing, expected {wanted:?}")),
        }
    }
    for (key, value) in found.iter().filter(|(key, _)| !expected.contains_key(key)) {
        differences.push(format!("{key:?} should not be there: {value:?}"));
    }
    findings
        .count("contents compared", u64::try_from(expected.len().max(found.len())).unwrap_or(0));
    let count = differences.len();
    for difference in differences.into_iter().take(MOST_SHOWN) {
        findings.violation(&format!("{what}: {difference}"));
    }
    if count > MOST_SHOWN {
        findings.violation(&format!("{what}: {count} differences"));
    }
}

/// Where all contents are, and what the nemesis itself has put there.
pub(crate) struct Contents<'a> {
    pub(crate) brokers: &'a str,
    pub(crate) postgres: String,
    pub(crate) redis: String,
    pub(crate) budgets: &'a [Budget],
    /// The place that may have lost what was committed last.
    pub(crate) forgets: Option<Keeps>,
    pub(crate) findings: &'a Findings,
}

/// Compares all that the pipelines have left.
pub(crate) async fn check(contents: &Contents<'_>, fleet: &Fleet) -> Fallible {
    let findings = contents.findings;
    let read_topic = |topic: SystemTopic| read(contents.brokers, topic.name());
    let ads = ads::parse(&read_topic(SystemTopic::AdEvents).await?)?;
    let sales = read_topic(SystemTopic::ConversionEvents).await?;
    let campaigns = read_topic(SystemTopic::CampaignEvents).await?;
    let events = read_topic(SystemTopic::CompensationEvents).await?;
    let postgres = connect_postgres(&contents.postgres).await?;
    let mut redis = connect_redis(&contents.redis).await?;
    let mut expected = BTreeMap::new();
    let mut letters = letters::Expected::default();

    let (hashes, late) = windows::expected(&ads);
    windows::check(findings, &mut redis, &hashes).await?;
    letters.add(Kind::Performance, &ads.spoilt, &late);
    expected.insert(Kind::Performance, ads.classes(|_| true, &late));

    let (refunds, late) = refunds::expected(&ads);
    refunds::check(findings, &events, &refunds);
    letters.add(Kind::Duplicates, &ads.spoilt, &late);
    expected.insert(Kind::Duplicates, ads.classes(|ad| ad.is_click(), &late));

    let payments = refunds::payments(&events)?;
    letters.add(Kind::Compensation, &payments.spoilt, &[]);
    expected.insert(Kind::Compensation, payments.classes);
    money::check(findings, &postgres, &ads, &payments).await?;
    letters.add(Kind::Balance, &ads.spoilt, &[]);
    expected.insert(Kind::Balance, ads.classes(|ad| ad.is_click(), &[]));

    spends::check(findings, (&postgres, &mut redis), &ads, contents.budgets).await?;
    letters.add(Kind::Budget, &ads.spoilt, &[]);
    expected.insert(Kind::Budget, ads.classes(|ad| ad.is_click(), &[]));

    let conversions = conversions::parse(&sales)?;
    conversions::check(findings, &postgres, &ads, &conversions).await?;
    letters.add(Kind::Matching, &ads.spoilt, &[]);
    letters.add(Kind::Matching, &conversions.spoilt, &[]);
    expected.insert(Kind::Matching, conversions.classes(&ads));

    let ranked = ranking::parse(&campaigns)?;
    ranking::check(findings, &mut redis, &ranked, &hashes).await?;
    letters.add(Kind::Ranking, &ranked.spoilt, &[]);
    expected.insert(Kind::Ranking, ranked.classes);

    letters.check(findings, contents.brokers).await?;
    for kind in Kind::ALL {
        let classes = expected.get(&kind).copied().unwrap_or_default();
        accounts::check(
            findings,
            (kind, contents.forgets == Some(kind.keeps())),
            &fleet.accounts(kind),
            &classes,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
