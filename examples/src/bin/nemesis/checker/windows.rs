//! S2: each campaign's five minutes.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;

use super::ads::Ads;
use super::compare;
use super::log::Stored;
use crate::Fallible;
use crate::findings::Findings;
use crate::pipelines::{ALLOWED_LATENESS_MS, OUT_OF_ORDERNESS_MS};
use crate::traffic::at_text;

pub(super) const WINDOW_MS: i64 = 300_000;

/// The fields of a hash.
pub(super) type Hash = BTreeMap<String, String>;
/// All hashes, by key.
pub(super) type Hashes = BTreeMap<String, Hash>;

#[derive(Debug, Default, Clone)]
struct Counts {
    impressions: i64,
    clicks: i64,
    conversions: i64,
    cost: i64,
    revenue: i64,
}

/// A ratio with this many decimals, rounded half away from zero, as it is written.
pub(super) fn ratio(of: i64, by: i64, decimals: u32) -> String {
    if by == 0 {
        return format!("{:.*}", usize::try_from(decimals).unwrap_or(0), 0.0);
    }
    let scale = 10_i128.pow(decimals);
    let (of, by) = (i128::from(of), i128::from(by));
    let scaled = (2 * of * scale + by) / (2 * by);
    format!(
        "{}.{:0width$}",
        scaled / scale,
        scaled % scale,
        width = usize::try_from(decimals).unwrap_or(0)
    )
}

fn hash(counts: &Counts, start: i64) -> Hash {
    let number = |name: &str, value: i64| (name.to_owned(), value.to_string());
    let mut hash: Hash = [
        number("impressions", counts.impressions),
        number("clicks", counts.clicks),
        number("conversions", counts.conversions),
        number("cost", counts.cost),
        number("revenue", counts.revenue),
    ]
    .into();
    hash.insert("ctr".to_owned(), ratio(counts.clicks, counts.impressions, 6));
    hash.insert("cvr".to_owned(), ratio(counts.conversions, counts.clicks, 6));
    hash.insert("window_start".to_owned(), at_text(start * 1_000));
    hash.insert("window_end".to_owned(), at_text((start + WINDOW_MS) * 1_000));
    hash
}

/// The hashes that there have to be, and the records that are late.
pub(super) fn expected(ads: &Ads) -> (Hashes, Vec<Stored>) {
    let mut windows: BTreeMap<(String, i64), Counts> = BTreeMap::new();
    let mut late = Vec::new();
    for (ad, stored, highest) in ads.with_highest() {
        let start = ad.at.div_euclid(WINDOW_MS) * WINDOW_MS;
        let watermark = highest.saturating_sub(OUT_OF_ORDERNESS_MS);
        if start + WINDOW_MS + ALLOWED_LATENESS_MS <= watermark {
            late.push(stored.clone());
            continue;
        }
        let counts = windows.entry((ad.campaign.clone(), start)).or_default();
        match ad.kind.as_str() {
            "IMPRESSION" => counts.impressions += 1,
            "CLICK" => {
                counts.clicks += 1;
                counts.cost += ad.price;
            }
            _ => {
                counts.conversions += 1;
                counts.revenue += ad.revenue;
            }
        }
    }
    let mut hashes = Hashes::new();
    for ((campaign, start), counts) in &windows {
        let hash = hash(counts, *start);
        hashes.insert(format!("perf:{campaign}:{}", at_text(start * 1_000)), hash.clone());
        // In the order of time: the newest stays.
        hashes.insert(format!("perf:{campaign}"), hash);
    }
    (hashes, late)
}

/// All hashes whose keys begin like this.
pub(super) async fn hashes(redis: &mut MultiplexedConnection, pattern: &str) -> Fallible<Hashes> {
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(redis).await?;
    let mut found = Hashes::new();
    for some in keys.chunks(1_000) {
        let mut ask = redis::pipe();
        for key in some {
            ask.cmd("HGETALL").arg(key);
        }
        let answers: Vec<Hash> = ask.query_async(redis).await?;
        found.extend(some.iter().cloned().zip(answers));
    }
    Ok(found)
}

/// A ratio that stands on the border between two is right either way.
pub(super) fn forgive(found: &mut Hashes, expected: &Hashes, fields: &[&str]) {
    for (key, hash) in found {
        for field in fields {
            let (Some(value), Some(wanted)) =
                (hash.get_mut(*field), expected.get(key).and_then(|hash| hash.get(*field)))
            else {
                continue;
            };
            let digits = |text: &str| text.replace('.', "").parse::<i64>().unwrap_or(i64::MIN / 2);
            if value.len() == wanted.len() && (digits(value) - digits(wanted)).abs() <= 1 {
                value.clone_from(wanted);
            }
        }
    }
}

/// Compares.
pub(super) async fn check(
    findings: &Findings,
    redis: &mut MultiplexedConnection,
    expected: &Hashes,
) -> Fallible {
    let mut found = hashes(redis, "perf:*").await?;
    forgive(&mut found, expected, &["ctr", "cvr"]);
    compare(findings, "S2 Redis", &found, expected);
    let mut without = 0;
    for key in found.keys() {
        let left: i64 = redis::cmd("TTL").arg(key).query_async(redis).await?;
        without += u64::from(!(1..=48 * 3_600).contains(&left));
    }
    if without > 0 {
        findings.violation(&format!("S2 Redis: {without} keys do not expire within 48 h"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_their_decimals() {
        assert_eq!(ratio(1, 3, 6), "0.333333");
        assert_eq!(ratio(2, 3, 6), "0.666667");
        assert_eq!(ratio(5, 4, 4), "1.2500");
        assert_eq!(ratio(1, 0, 6), "0.000000");
    }
}
