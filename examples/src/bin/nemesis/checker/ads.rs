//! ad-events, read without the strictness that is to be checked: what is spoilt says so in a header.

use serde::Deserialize;

use super::log::Stored;
use super::time::Time;
use super::{At, Classes};
use crate::Fallible;

/// What a record says.
#[derive(Debug, Deserialize)]
struct Fields {
    event_type: String,
    timestamp: Time,
    device_id: String,
    ad_id: String,
    campaign_id: String,
    advertiser_id: String,
    product_id: String,
    actual_price: Option<i64>,
    revenue_amount: Option<i64>,
}

/// An ad-event.
#[derive(Debug, Clone)]
pub(crate) struct Ad {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) kind: String,
    /// In milliseconds since 1970; further digits are cut off.
    pub(crate) at: i64,
    pub(crate) device: String,
    pub(crate) ad: String,
    pub(crate) campaign: String,
    pub(crate) advertiser: String,
    pub(crate) product: String,
    pub(crate) price: i64,
    pub(crate) revenue: i64,
}

impl Ad {
    pub(crate) fn is_click(&self) -> bool {
        self.kind == "CLICK"
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Ads {
    /// In order of partition and offset.
    pub(crate) all: Vec<Ad>,
    pub(crate) spoilt: Vec<Stored>,
    pub(crate) tombstones: i64,
    /// As they are stored, in the order of `all`.
    pub(crate) stored: Vec<Stored>,
}

pub(crate) fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

impl Ads {
    /// In which classes a pipeline has them that uses some, and to which some of those are late.
    pub(crate) fn classes(&self, uses: impl Fn(&Ad) -> bool, late: &[Stored]) -> Classes {
        let used = count(self.all.iter().filter(|ad| uses(ad)).count());
        let late = count(late.len());
        Classes {
            decoded: used - late,
            filtered: count(self.all.len()) - used,
            late,
            duplicates: 0,
            dead_lettered: count(self.spoilt.len()),
            skipped: self.tombstones,
        }
    }

    /// Of each partition by itself, its records with the highest time before each.
    pub(crate) fn with_highest(&self) -> impl Iterator<Item = (&Ad, &Stored, i64)> {
        let (mut of, mut highest) = (-1, i64::MIN);
        self.all.iter().zip(&self.stored).map(move |(ad, stored)| {
            if ad.partition != of {
                (of, highest) = (ad.partition, i64::MIN);
            }
            let before = highest;
            highest = highest.max(ad.at);
            (ad, stored, before)
        })
    }

    /// Where a record is.
    pub(crate) fn at(ad: &Ad) -> At {
        ("ad-events".to_owned(), ad.partition, ad.offset)
    }
}

/// Reads them.
pub(crate) fn parse(records: &[Stored]) -> Fallible<Ads> {
    let mut ads = Ads::default();
    for record in records {
        let Some(value) = &record.value else {
            ads.tombstones += 1;
            continue;
        };
        if record.is_poison() {
            ads.spoilt.push(record.clone());
            continue;
        }
        let fields: Fields = serde_json::from_slice(value)?;
        ads.all.push(Ad {
            partition: record.partition,
            offset: record.offset,
            kind: fields.event_type,
            at: fields.timestamp.0,
            device: fields.device_id,
            ad: fields.ad_id,
            campaign: fields.campaign_id,
            advertiser: fields.advertiser_id,
            product: fields.product_id,
            price: fields.actual_price.unwrap_or(0),
            revenue: fields.revenue_amount.unwrap_or(0),
        });
        ads.stored.push(record.clone());
    }
    Ok(ads)
}
