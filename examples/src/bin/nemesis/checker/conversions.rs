//! S3: each conversion and the last click before it, by trying all.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use tokio_postgres::Client;

use super::ads::{Ad, Ads, count};
use super::log::Stored;
use super::time::Time;
use super::{Classes, compare};
use crate::Fallible;
use crate::findings::Findings;
use crate::traffic::at_text;

const HOUR_MS: i64 = 3_600_000;
const LONGEST_HOURS: i64 = 24;

#[derive(Debug, Deserialize)]
struct Fields {
    timestamp: Time,
    device_id: String,
    session_id: String,
    order_id: Option<String>,
    product_id: String,
    revenue_amount: i64,
    conversion_type: String,
    attribution_window: Option<i64>,
}

/// All conversions.
#[derive(Debug, Default)]
pub(super) struct Conversions {
    once: Vec<(String, Fields)>,
    repeats: i64,
    tombstones: i64,
    pub(super) spoilt: Vec<Stored>,
}

impl Conversions {
    /// In which classes S3 has what it reads.
    pub(super) fn classes(&self, ads: &Ads) -> Classes {
        let of_ads = ads.classes(Ad::is_click, &[]);
        Classes {
            decoded: of_ads.decoded + count(self.once.len()),
            duplicates: self.repeats,
            dead_lettered: of_ads.dead_lettered + count(self.spoilt.len()),
            skipped: of_ads.skipped + self.tombstones,
            ..of_ads
        }
    }
}

fn id(record: &Stored, fields: &Fields) -> String {
    let part = |text: &str| text.replace('%', "%25").replace('/', "%2F");
    match fields.order_id.as_deref().filter(|order| !order.is_empty()) {
        Some(order) => [order, &fields.product_id, &fields.conversion_type].map(part).join("/"),
        None => format!("{}-{}-{}", record.topic, record.partition, record.offset),
    }
}

/// Reads them.
pub(super) fn parse(records: &[Stored]) -> Fallible<Conversions> {
    let mut conversions = Conversions::default();
    let mut seen = BTreeSet::new();
    for record in records {
        let Some(value) = &record.value else {
            conversions.tombstones += 1;
            continue;
        };
        if record.is_poison() {
            conversions.spoilt.push(record.clone());
            continue;
        }
        let fields: Fields = serde_json::from_slice(value)?;
        let id = id(record, &fields);
        if seen.insert(id.clone()) {
            conversions.once.push((id, fields));
        } else {
            conversions.repeats += 1;
        }
    }
    Ok(conversions)
}

/// A row, with every column as text.
type Row = Vec<Option<String>>;

fn row(fields: &Fields, click: Option<&Ad>) -> Row {
    let at = fields.timestamp.0;
    let of = |part: fn(&Ad) -> String| click.map(part);
    vec![
        fields.order_id.clone().filter(|order| !order.is_empty()),
        Some(fields.device_id.clone()),
        Some(fields.session_id.clone()),
        Some(fields.product_id.clone()),
        Some(fields.conversion_type.clone()),
        Some(fields.revenue_amount.to_string()),
        Some(at_text(at * 1_000)),
        Some(click.is_some().to_string()),
        of(|click| click.campaign.clone()),
        of(|click| click.ad.clone()),
        of(|click| click.advertiser.clone()),
        of(|click| at_text(click.at * 1_000)),
        of(|click| click.price.to_string()),
        click.map(|click| (at - click.at).to_string()),
    ]
}

const ROWS: &str = "select conversion_id, order_id, device_id, session_id, product_id, conversion_type, \
     revenue_amount::text, (extract(epoch from converted_at) * 1000000)::bigint, attributed::text, campaign_id, \
     ad_id, advertiser_id, (extract(epoch from clicked_at) * 1000000)::bigint, click_price::text, delay_ms::text \
     from conversion_results";

async fn found(postgres: &Client) -> Fallible<BTreeMap<String, Row>> {
    let mut found = BTreeMap::new();
    for row in postgres.query(ROWS, &[]).await? {
        let mut columns = Row::new();
        for at in 1..15 {
            columns.push(match at {
                7 | 12 => row.try_get::<_, Option<i64>>(at)?.map(at_text),
                _ => row.try_get(at)?,
            });
        }
        found.insert(row.try_get(0)?, columns);
    }
    Ok(found)
}

/// Compares.
pub(super) async fn check(
    findings: &Findings,
    postgres: &Client,
    ads: &Ads,
    conversions: &Conversions,
) -> Fallible {
    let mut clicks: BTreeMap<(&str, &str), Vec<&Ad>> = BTreeMap::new();
    for ad in ads.all.iter().filter(|ad| ad.is_click()) {
        clicks.entry((&ad.device, &ad.product)).or_default().push(ad);
    }
    let mut expected = BTreeMap::new();
    for (id, fields) in &conversions.once {
        let at = fields.timestamp.0;
        let hours = fields.attribution_window.unwrap_or(LONGEST_HOURS).min(LONGEST_HOURS);
        let own = clicks.get(&(fields.device_id.as_str(), fields.product_id.as_str()));
        let own = own
            .into_iter()
            .flatten()
            .filter(|click| (at - hours * HOUR_MS..=at).contains(&click.at));
        let last = own.max_by_key(|click| (click.at, click.partition, click.offset));
        expected.insert(id.clone(), row(fields, last.copied()));
    }
    compare(findings, "S3 conversion_results", &found(postgres).await?, &expected);
    Ok(())
}
